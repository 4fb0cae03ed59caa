//! `volume rm`

use corten_client::{Request, encode_component};

use crate::command::{Arity, Command};
use crate::each::each;
use crate::flag::{Flag, switch};
use crate::parse::Order;

static FLAGS: &[Flag] = &[switch("force", "Remove them whatever the driver says").short('f')];

/// The command.
pub static RM: Command = Command {
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    usage_also: None,
    about: "Remove one or more volumes",
    spellings: &["volume rm", "volume remove"],
    flags: &[FLAGS],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| {
        Box::pin(each(session, &m.args, |name| {
            Request::delete(format!("/volumes/{}", encode_component(name))).query_if("force", m.on("force"))
        }))
    },
};
