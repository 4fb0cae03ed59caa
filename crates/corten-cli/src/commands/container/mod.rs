//! Commands on containers.

pub mod attach;
pub mod commit;
pub mod copy;
pub mod create;
pub mod diff;
pub mod exec;
pub mod export;
pub mod kill;
pub mod logs;
pub mod ls;
pub mod pause;
pub mod port;
pub mod prune;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod update;
pub mod wait;
