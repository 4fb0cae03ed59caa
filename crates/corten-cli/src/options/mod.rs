//! What `run` and `create` are told, made into what the daemon is asked: every flag parsed once, here.

mod body;
mod create;
mod csv;
mod devices;
mod files;
mod mounts;
mod networks;
mod ports;
mod trust;
mod volumes;

pub use body::{CreateRequest, create_request};
pub use create::{CREATE, RUN_ONLY};
pub use devices::{extra_host, gpus, restart_policy, ulimit};
pub use files::{environment, key_values, label_map};
pub use mounts::mount;
pub use networks::attachment;
pub use trust::refuse_content_trust;
