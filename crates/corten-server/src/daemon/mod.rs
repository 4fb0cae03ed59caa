//! The daemon's life: arguments, configuration, lock, sockets, serving, reload, end.
//!
//! ```text
//!  arguments + daemon.json ─ Values ─ Settings      pure
//!        │ refuse, or --validate
//!        ▼
//!  log ─ lock on the data root ─ pid file ─ sockets  one thread
//!        ▼
//!  runtime ─ Engine::open ─ accept ─ READY=1
//!        │ SIGHUP: read the file again, change what can be changed
//!        ▼ SIGTERM, SIGINT
//!  STOPPING=1 ─ close sockets ─ stop containers (unless live-restore) ─ end
//! ```

mod listen;
mod lock;
mod log;
mod notify;
pub mod options;
mod run;
pub mod settings;
mod tls;
pub mod values;

pub use run::main;
