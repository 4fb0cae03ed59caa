//! From an accepted socket to a handler's answer.

mod connection;
mod dispatch;
mod head;
mod origin;
mod socket;

pub use dispatch::Server;
pub use origin::Origins;
pub use socket::{Listener, Socket};

pub(crate) use connection::serve_connection;
