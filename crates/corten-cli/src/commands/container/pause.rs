//! `pause`, `unpause`

use corten_client::Request;

use crate::command::{Arity, Command};
use crate::each::{container, each};
use crate::parse::Order;

/// `pause`
pub static PAUSE: Command = Command {
    usage: "CONTAINER [CONTAINER...]",
    usage_also: None,
    about: "Pause all processes within one or more containers",
    spellings: &["container pause", "pause"],
    flags: &[],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(each(session, &m.args, |name| Request::post(container(name, "/pause")))),
};

/// `unpause`
pub static UNPAUSE: Command = Command {
    about: "Unpause all processes within one or more containers",
    spellings: &["container unpause", "unpause"],
    run: |session, m| Box::pin(each(session, &m.args, |name| Request::post(container(name, "/unpause")))),
    ..PAUSE
};
