//! `kill`

use corten_client::Request;

use crate::command::{Arity, Command};
use crate::each::{container, each};
use crate::flag::{Flag, Kind, flag};
use crate::parse::Order;

static FLAGS: &[Flag] = &[flag("signal", Kind::Text, "Signal to send").short('s')];

/// The command.
pub static KILL: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Kill one or more running containers",
    spellings: &["container kill", "kill"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| {
        Box::pin(each(session, &m.args, |name| {
            Request::post(container(name, "/kill")).query_some("signal", m.given("signal"))
        }))
    },
};
