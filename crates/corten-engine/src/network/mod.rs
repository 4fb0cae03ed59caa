//! Networks: bridge, host, none, and the sandboxes of containers.

mod config;
mod error;
mod request;

pub use config::NetworkConfig;
pub use error::NetworkError;
pub use request::{ContainerNetworkRequest, Netns, NetworkMode, Sandbox};

use corten_api::endpoint::EndpointSettings;
use corten_types::ErrorKind;

/// The networks of this engine.
pub struct Networks {}

impl Networks {
    /// Checks at a container's creation what can be known then: settings that its networks can never grant.
    pub fn check(&self, _request: &ContainerNetworkRequest) -> Result<(), NetworkError> {
        Ok(())
    }

    /// Gives a container that starts its stack: namespace, addresses, published ports, names, files. All or nothing.
    pub async fn attach(&self, _request: &ContainerNetworkRequest) -> Result<Sandbox, NetworkError> {
        Err(NetworkError::NotImplemented { what: "attaching a container".into() })
    }

    /// Takes everything back that [`Self::attach`] gave. Does nothing for a container that has no sandbox.
    pub async fn detach(&self, _container: &str) {}

    /// After a start of the daemon: `containers` run; their sandboxes are served again, all others are removed.
    /// Gives each one's sandbox back.
    pub async fn restore(
        &self,
        _containers: &[ContainerNetworkRequest],
    ) -> Result<Vec<Sandbox>, NetworkError> {
        Ok(Vec::new())
    }

    /// The container has another name now.
    pub async fn rename(&self, _container: &str, _name: &str) {}

    /// Checks a connect of `container` (its `endpoints` as they are now) to `network` and gives the network's name and
    /// the settings its record shall hold; when the container runs, the device is made first.
    pub async fn connect(
        &self,
        network: &str,
        _container: &ContainerNetworkRequest,
        _settings: EndpointSettings,
    ) -> Result<(String, EndpointSettings), NetworkError> {
        Err(NetworkError::refused(ErrorKind::NotFound, format!("network {network} not found")))
    }

    /// Takes `container` off `network`, running or not, and gives the network's name, whose entry leaves its record.
    pub async fn disconnect(
        &self,
        network: &str,
        _container: &ContainerNetworkRequest,
        _force: bool,
    ) -> Result<String, NetworkError> {
        Err(NetworkError::refused(ErrorKind::NotFound, format!("network {network} not found")))
    }
}
