//! The engine's side of the shim: spawn, adopt, requests and events.
