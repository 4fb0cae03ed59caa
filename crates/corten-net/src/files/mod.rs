//! The texts a container finds at `/etc/hosts` and `/etc/resolv.conf`. Pure, byte for byte as Docker writes them.

mod hosts;
mod resolv_conf;

pub use hosts::{HostRecord, hosts_file, own_names};
pub use resolv_conf::{ResolvConf, ResolvOverrides, host_resolv_conf_path};
