//! `manifest annotate`

use corten_types::Platform;

use super::reference;
use super::shelf::Shelf;
use crate::command::{Arity, Command};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag};
use crate::parse::{Matches, Order};
use crate::session::Session;

static FLAGS: &[Flag] = &[
    flag("arch", Kind::Text, "Set architecture"),
    flag("os", Kind::Text, "Set operating system"),
    flag("os-features", Kind::Strings, "Set operating system feature"),
    flag("os-version", Kind::Text, "Set operating system version"),
    flag("variant", Kind::Text, "Set architecture variant"),
];

/// The command.
pub static ANNOTATE: Command = Command {
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    usage_also: None,
    about: "Add additional information to a local image manifest",
    spellings: &[],
    flags: &[FLAGS],
    arity: Arity::Exactly(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

/// The pairs of Go's names that docker takes.
const PAIRS: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64"]),
];

async fn run(session: &Session, m: &Matches) -> Outcome {
    let (list_name, name) = (&m.args[0], &m.args[1]);
    let wrong = |what: &str, name: &str, error: &Failure| {
        Failure::new(format!("annotate: error parsing name for {what} {name}: {error}"))
    };
    let list = reference(list_name).map_err(|error| wrong("manifest list", list_name, &error))?;
    let member = reference(name).map_err(|error| wrong("manifest", name, &error))?;
    let shelf = Shelf::of(session);
    let Some(mut entry) = shelf.get(&list, &member)? else {
        return Err(Failure::new(format!("manifest for image {name} does not exist in {list_name}")));
    };
    let mut platform = entry.descriptor.platform.take().unwrap_or_else(|| Platform {
        architecture: String::new(),
        os: String::new(),
        os_version: String::new(),
        os_features: Vec::new(),
        variant: String::new(),
    });
    for (flag, field) in [
        ("os", &mut platform.os),
        ("arch", &mut platform.architecture),
        ("variant", &mut platform.variant),
        ("os-version", &mut platform.os_version),
    ] {
        if let Some(value) = m.given(flag).filter(|value| !value.is_empty()) {
            value.clone_into(field);
        }
    }
    for feature in m.texts("os-features") {
        if !platform.os_features.contains(&feature) {
            platform.os_features.push(feature);
        }
    }
    if !is_known(&platform.os, &platform.architecture) {
        let (os, arch) = (m.text("os"), m.text("arch"));
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {os}/{arch}"
        )));
    }
    entry.descriptor.platform = Some(platform);
    shelf.put(&list, &member, &entry)
}

fn is_known(os: &str, architecture: &str) -> bool {
    PAIRS.iter().any(|(name, architectures)| *name == os && architectures.contains(&architecture))
}
