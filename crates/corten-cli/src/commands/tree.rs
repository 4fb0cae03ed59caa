//! The names of commands and where they lead.

use super::container::{
    attach, commit, copy, create, diff, exec, export, kill, logs, ls, pause, port, prune, rename, restart,
    rm, run, start, stats, stop, top, update, wait,
};
use super::{completion, context, image, inspect, login, manifest, network, search, system, volume};
use crate::command::{Command, Entry, Group, Node};

const fn leaf(name: &'static str, command: &'static Command) -> Entry {
    Entry { name, also: &[], group: Group::Plain, node: Node::Leaf(command) }
}

const fn common(name: &'static str, command: &'static Command) -> Entry {
    Entry { group: Group::Common, ..leaf(name, command) }
}

const fn also(name: &'static str, also: &'static [&'static str], command: &'static Command) -> Entry {
    Entry { also, ..leaf(name, command) }
}

const fn branch(name: &'static str, about: &'static str, entries: &'static [Entry]) -> Entry {
    Entry { name, also: &[], group: Group::Management, node: Node::Branch(about, entries) }
}

const fn absent(name: &'static str) -> Entry {
    Entry { name, also: &[], group: Group::Hidden, node: Node::Absent }
}

/// Everything after the program's name.
pub static ROOT: &[Entry] = &[
    common("run", &run::RUN),
    common("exec", &exec::EXEC),
    common("ps", &ls::LS),
    common("build", &image::build::BUILD),
    common("pull", &image::pull::PULL),
    common("push", &image::push::PUSH),
    common("images", &image::ls::LS),
    common("login", &login::LOGIN),
    common("logout", &login::LOGOUT),
    common("search", &search::SEARCH),
    common("version", &system::version::VERSION),
    common("info", &system::info::INFO),
    branch("builder", "Manage builds", BUILDER),
    branch("container", "Manage containers", CONTAINER),
    branch("context", "Manage contexts", CONTEXT),
    branch("image", "Manage images", IMAGE),
    branch("manifest", "Manage image manifests and manifest lists", MANIFEST),
    branch("network", "Manage networks", NETWORK),
    branch("registry", "Run a registry", REGISTRY),
    branch("system", "Manage the engine", SYSTEM),
    branch("volume", "Manage volumes", VOLUME),
    leaf("attach", &attach::ATTACH),
    leaf("commit", &commit::COMMIT),
    leaf("completion", &completion::COMPLETION),
    leaf("cp", &copy::COPY),
    leaf("create", &create::CREATE_COMMAND),
    Entry { name: "daemon", also: &[], group: Group::Plain, node: Node::Elsewhere("Run the engine") },
    leaf("diff", &diff::DIFF),
    leaf("events", &system::events::EVENTS),
    leaf("export", &export::EXPORT),
    leaf("history", &image::history::HISTORY),
    leaf("import", &image::import::IMPORT),
    leaf("inspect", &inspect::INSPECT),
    leaf("kill", &kill::KILL),
    leaf("load", &image::load::LOAD),
    leaf("logs", &logs::LOGS),
    leaf("pause", &pause::PAUSE),
    leaf("port", &port::PORT),
    leaf("rename", &rename::RENAME),
    leaf("restart", &restart::RESTART),
    leaf("rm", &rm::RM),
    leaf("rmi", &image::rm::RM),
    leaf("save", &image::save::SAVE),
    leaf("start", &start::START),
    leaf("stats", &stats::STATS),
    leaf("stop", &stop::STOP),
    leaf("tag", &image::tag::TAG),
    leaf("top", &top::TOP),
    leaf("unpause", &pause::UNPAUSE),
    leaf("update", &update::UPDATE),
    leaf("wait", &wait::WAIT),
    absent("buildx"),
    absent("checkpoint"),
    absent("compose"),
    absent("config"),
    absent("node"),
    absent("plugin"),
    absent("secret"),
    absent("service"),
    absent("stack"),
    absent("swarm"),
    absent("trust"),
];

static BUILDER: &[Entry] = &[leaf("build", &image::build::BUILD), leaf("prune", &system::builder::PRUNE)];

static CONTAINER: &[Entry] = &[
    leaf("attach", &attach::ATTACH),
    leaf("commit", &commit::COMMIT),
    leaf("cp", &copy::COPY),
    leaf("create", &create::CREATE_COMMAND),
    leaf("diff", &diff::DIFF),
    leaf("exec", &exec::EXEC),
    leaf("export", &export::EXPORT),
    leaf("inspect", &inspect::CONTAINER_INSPECT),
    leaf("kill", &kill::KILL),
    leaf("logs", &logs::LOGS),
    also("ls", &["list", "ps"], &ls::LS),
    leaf("pause", &pause::PAUSE),
    leaf("port", &port::PORT),
    leaf("prune", &prune::PRUNE),
    leaf("rename", &rename::RENAME),
    leaf("restart", &restart::RESTART),
    also("rm", &["remove"], &rm::RM),
    leaf("run", &run::RUN),
    leaf("start", &start::START),
    leaf("stats", &stats::STATS),
    leaf("stop", &stop::STOP),
    leaf("top", &top::TOP),
    leaf("unpause", &pause::UNPAUSE),
    leaf("update", &update::UPDATE),
    leaf("wait", &wait::WAIT),
];

static CONTEXT: &[Entry] = &[
    leaf("create", &context::CREATE),
    leaf("inspect", &context::INSPECT),
    also("ls", &["list"], &context::LS),
    also("rm", &["remove"], &context::RM),
    leaf("show", &context::SHOW),
    leaf("update", &context::UPDATE),
    leaf("use", &context::USE),
    absent("export"),
    absent("import"),
];

static IMAGE: &[Entry] = &[
    leaf("build", &image::build::BUILD),
    leaf("copy", &image::copy::COPY),
    leaf("history", &image::history::HISTORY),
    leaf("import", &image::import::IMPORT),
    leaf("inspect", &inspect::IMAGE_INSPECT),
    leaf("load", &image::load::LOAD),
    also("ls", &["list"], &image::ls::LS),
    leaf("prune", &image::prune::PRUNE),
    leaf("pull", &image::pull::PULL),
    leaf("push", &image::push::PUSH),
    also("rm", &["remove"], &image::rm::RM),
    leaf("save", &image::save::SAVE),
    leaf("tag", &image::tag::TAG),
];

static MANIFEST: &[Entry] = &[
    leaf("annotate", &manifest::annotate::ANNOTATE),
    leaf("create", &manifest::create::CREATE),
    leaf("inspect", &manifest::inspect::INSPECT),
    leaf("push", &manifest::push::PUSH),
    leaf("rm", &manifest::rm::RM),
];

static NETWORK: &[Entry] = &[
    leaf("connect", &network::connect::CONNECT),
    leaf("create", &network::create::CREATE),
    leaf("disconnect", &network::connect::DISCONNECT),
    leaf("inspect", &inspect::NETWORK_INSPECT),
    also("ls", &["list"], &network::ls::LS),
    leaf("prune", &network::prune::PRUNE),
    also("rm", &["remove"], &network::rm::RM),
];

static REGISTRY: &[Entry] =
    &[Entry { name: "serve", also: &[], group: Group::Plain, node: Node::Elsewhere("Serve a registry") }];

static SYSTEM: &[Entry] = &[
    leaf("check", &system::check::CHECK),
    leaf("df", &system::df::DF),
    Entry { group: Group::Hidden, ..leaf("dial-stdio", &system::dial_stdio::DIAL_STDIO) },
    leaf("events", &system::events::EVENTS),
    leaf("info", &system::info::INFO),
    leaf("prune", &system::prune::PRUNE),
];

static VOLUME: &[Entry] = &[
    leaf("create", &volume::create::CREATE),
    leaf("inspect", &inspect::VOLUME_INSPECT),
    also("ls", &["list"], &volume::ls::LS),
    leaf("prune", &volume::prune::PRUNE),
    also("rm", &["remove"], &volume::rm::RM),
    absent("update"),
];
