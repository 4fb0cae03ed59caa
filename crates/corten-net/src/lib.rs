//! Container networks: addresses, bridges, published ports, the firewall, names.
pub mod firewall;
pub mod netns;
