//! Tests from outside: an engine is started, asked over its socket, and looked at from the host.
//!
//! Every case is a function of an [`engine::Engine`]. Where a real Docker is found, a case runs on it first: a case that
//! Docker fails is a wrong case. Nothing here is shared with the code under test but system calls.

pub mod archive;
pub mod engine;
pub mod execs;
pub mod http;
pub mod leak;
pub mod namespace;
pub mod websocket;
