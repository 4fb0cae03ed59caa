//! What a build asks of whoever hosts it: images to begin with, and containers to run commands in.

use std::future::Future;
use std::os::fd::OwnedFd;

use corten_dockerfile::NetworkMode;
use corten_store::Image;
use corten_store::oci::RunConfig;
use corten_types::{ContainerId, Platform};
use tokio_util::sync::CancellationToken;

use crate::error::HostError;
use crate::progress::Output;

/// A command that is run in a container of its own.
#[derive(Debug)]
pub struct RunStep {
    /// The container's id; also the key of its snapshot.
    pub id: ContainerId,
    /// Its root file system, a detached mount, writable.
    pub rootfs: OwnedFd,
    /// User, working directory, environment (build arguments included) and labels.
    pub config: RunConfig,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The network that the instruction asks for; the build's own where it asks for none.
    pub network: Option<NetworkMode>,
}

/// Runs the commands of a build.
pub trait Executor: Send + Sync {
    /// Runs `step` to its end and gives its exit code. Output goes to `output` as it comes. When `cancel` fires, the
    /// command is killed. When this returns, nothing of the container is left and its root file system is not in use.
    fn run(
        &self,
        step: RunStep,
        output: &dyn Output,
        cancel: &CancellationToken,
    ) -> impl Future<Output = Result<i64, HostError>> + Send;
}

/// Brings the images that stages begin with or copy from.
pub trait ImageSource: Send + Sync {
    /// The image `name` for `platform`, pulled if need be, its layers unpacked. Progress of a pull goes to `output`.
    fn image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        output: &dyn Output,
    ) -> impl Future<Output = Result<Image, HostError>> + Send;
}
