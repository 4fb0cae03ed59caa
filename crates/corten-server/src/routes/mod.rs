//! The Engine API's routes, one module per area.

pub mod absent;
pub mod attach;
pub mod build;
pub mod containers;
pub mod exec;
pub mod images;
pub mod logs;
pub mod networks;
pub mod registry;
pub mod system;
pub mod transfer;
pub mod volumes;

use crate::Router;

/// Every route of the API.
pub fn all() -> Router {
    let mut r = Router::default();
    attach::routes(&mut r);
    build::routes(&mut r);
    containers::routes(&mut r);
    exec::routes(&mut r);
    images::routes(&mut r);
    logs::routes(&mut r);
    networks::routes(&mut r);
    registry::routes(&mut r);
    system::routes(&mut r);
    transfer::routes(&mut r);
    volumes::routes(&mut r);
    // Last: a route that exists wins.
    absent::routes(&mut r);
    r
}
