//! `restart`

use corten_client::Request;

use super::stop::{self, timed};
use crate::command::Command;
use crate::each::{container, each};

/// The command.
pub static RESTART: Command = Command {
    about: "Restart one or more containers",
    spellings: &["container restart", "restart"],
    run: |session, m| {
        Box::pin(each(session, &m.args, |name| timed(Request::post(container(name, "/restart")), m)))
    },
    ..stop::STOP
};
