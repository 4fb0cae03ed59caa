//! `stop`

use corten_client::Request;

use crate::command::{Arity, Command};
use crate::each::{container, each};
use crate::flag::{Flag, Kind, flag, old_name};
use crate::parse::{Matches, Order};

static FLAGS: &[Flag] = &[
    flag("signal", Kind::Text, "Signal to send").short('s'),
    flag("timeout", Kind::Int, "Seconds to wait before killing the container").short('t'),
    old_name("time", Kind::Int, "timeout"),
];

/// The command.
pub static STOP: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Stop one or more running containers",
    spellings: &["container stop", "stop"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| {
        Box::pin(each(session, &m.args, |name| timed(Request::post(container(name, "/stop")), m)))
    },
};

/// A request with the flags that say how to stop.
pub fn timed(request: Request, m: &Matches) -> Request {
    request.query_some("signal", m.given("signal")).query_some("t", m.given("timeout"))
}
