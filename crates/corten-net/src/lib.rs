//! Container networks: addresses, bridges, published ports, the firewall, names.
pub mod bridge;
pub mod firewall;
pub mod ipam;
pub mod netns;
pub mod ports;
pub mod sandbox;
