//! Addresses: which subnets networks get, and which addresses of them containers get. Pure.
//!
//! [`Pools`] hands out subnets that overlap neither each other nor what the host can already reach; a [`Subnet`] hands
//! out the lowest free address of its range. [`check_config`] and [`check_endpoint`] refuse what cannot be granted, in
//! Docker's words. All is in memory: records of networks and endpoints say at start what is taken.

mod check;
mod pool;
mod subnet;

pub use check::{EndpointAddresses, SubnetRequest, check_config, check_endpoint, join_errors};
pub use pool::{AddressPool, PoolError, Pools, unique_local_pool};
pub use subnet::{AddressError, Subnet};
