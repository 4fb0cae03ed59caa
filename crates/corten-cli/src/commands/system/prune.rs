//! `system prune`

use crate::command::{Arity, Command};
use crate::commands::{container, image, network, volume};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::format::units::human_size;
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    switch("all", "Remove every unused image, not only those without a name").short('a'),
    flag("filter", Kind::Filter, "Keep or choose by condition (e.g. \"label=<key>=<value>\")"),
    switch("force", "Do not ask").short('f'),
    switch("volumes", "Remove anonymous volumes too"),
];

/// The command.
pub static PRUNE: Command = Command {
    usage: "[OPTIONS]",
    usage_also: None,
    about: "Remove unused data",
    spellings: &["system prune"],
    flags: &[FLAGS],
    arity: Arity::None,
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    if m.on("volumes") && m.list("filter").any(|filter| filter.starts_with("until=")) {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !m.on("force") && !output::confirm(&question(m)) {
        return Ok(());
    }
    let (text, mut space) = container::prune::prune(session, m).await?;
    output::put(&text);
    output::put(&network::prune::prune(session, m).await?);
    if m.on("volumes") {
        // Here "all" speaks of images.
        let (text, more) = volume::prune::prune_anonymous(session, m).await?;
        output::put(&text);
        space += more;
    }
    let (text, more) = image::prune::prune(session, m).await?;
    output::put(&text);
    space += more;
    match super::builder::prune(session, m).await {
        Ok((text, more)) => {
            output::put(&text);
            space += more;
        }
        // An engine without a build cache has none to prune.
        Err(failure) if failure.text.contains("not implemented") => {}
        Err(failure) => return Err(failure),
    }
    output::line(&format!("Total reclaimed space: {}", human_size(space as f64)));
    Ok(())
}

fn question(m: &Matches) -> String {
    let mut out = String::from(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
    );
    if m.on("volumes") {
        out.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    out.push_str(if m.on("all") {
        "  - all images without at least one container associated to them\n  - all build cache\n"
    } else {
        "  - all dangling images\n  - unused build cache\n"
    });
    if m.changed("filter") {
        out.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in m.list("filter") {
            out.push_str(&format!("  - {filter}\n"));
        }
    }
    out.push_str("\nAre you sure you want to continue? [y/N] ");
    out
}
