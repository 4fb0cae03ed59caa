//! What each command is for and takes, as `--help` prints it: in runc's form, which tools and suites read.

use std::fmt::Write as _;

/// One command.
struct Topic {
    name: &'static str,
    purpose: &'static str,
    arguments: &'static str,
    flags: &'static [(&'static str, &'static str)],
}

const ID: &str = "<container-id>";

const BUNDLE: (&str, &str) =
    ("--bundle value, -b value", "directory of the bundle, the current one when absent");
const CONSOLE: (&str, &str) =
    ("--console-socket value", "socket that receives the master of the container's terminal");
const PID_FILE: (&str, &str) = ("--pid-file value", "file that the process's number is written to");
const FDS: (&str, &str) = ("--preserve-fds value", "how many descriptors from 3 on the process inherits");
const NO_PIVOT: (&str, &str) = ("--no-pivot", "enter the root without pivot_root, for roots on a ramdisk");
const NO_KEYRING: (&str, &str) = ("--no-new-keyring", "keep the caller's session keyring");
const FORMAT: (&str, &str) = ("--format value, -f value", "table or json");

/// Every command, in the order in which they are listed.
const TOPICS: [Topic; 17] = [
    Topic {
        name: "checkpoint",
        purpose: "save a running container's state (not supported)",
        arguments: ID,
        flags: &[],
    },
    Topic {
        name: "create",
        purpose: "make a container from a bundle",
        arguments: ID,
        flags: &[BUNDLE, CONSOLE, PID_FILE, NO_PIVOT, NO_KEYRING, FDS],
    },
    Topic {
        name: "delete",
        purpose: "remove what a stopped container holds",
        arguments: ID,
        flags: &[("--force, -f", "kill the container first when it still runs")],
    },
    Topic {
        name: "events",
        purpose: "show figures and out-of-memory events of a container",
        arguments: ID,
        flags: &[
            ("--interval value", "time between two figures (default: 5s)"),
            ("--stats", "show the figures once"),
        ],
    },
    Topic {
        name: "exec",
        purpose: "run a further program in a running container",
        arguments: "<container-id> <command> [arguments]  || --process <file> <container-id>",
        flags: &[
            CONSOLE,
            ("--cwd value", "working directory in the container"),
            ("--env value, -e value", "a variable of the environment, NAME=value"),
            ("--tty, -t", "give the program a terminal"),
            ("--user value, -u value", "UID or UID:GID"),
            ("--additional-gids value, -g value", "a further group"),
            ("--process value, -p value", "file with the process as the specification writes it"),
            ("--detach, -d", "do not wait for the program's end"),
            PID_FILE,
            ("--process-label value", "SELinux label of the process"),
            ("--apparmor value", "AppArmor profile of the process"),
            ("--no-new-privs", "the program can gain no privileges"),
            ("--cap value, -c value", "a capability more"),
            FDS,
            ("--cgroup value", "[controllers:]path below the container's cgroup"),
            ("--ignore-paused", "also in a paused container"),
        ],
    },
    Topic { name: "features", purpose: "print what this runtime can do, as JSON", arguments: "", flags: &[] },
    Topic {
        name: "kill",
        purpose: "send a signal (SIGTERM) to a container's first process",
        arguments: "<container-id> [signal]",
        flags: &[("--all, -a", "to every process of the container")],
    },
    Topic {
        name: "list",
        purpose: "list the containers below the root",
        arguments: "",
        flags: &[FORMAT, ("--quiet, -q", "only the ids")],
    },
    Topic { name: "pause", purpose: "stop a container's processes", arguments: ID, flags: &[] },
    Topic {
        name: "ps",
        purpose: "list the processes of a container",
        arguments: "<container-id> [ps options]",
        flags: &[FORMAT],
    },
    Topic {
        name: "restore",
        purpose: "bring a saved container back (not supported)",
        arguments: ID,
        flags: &[],
    },
    Topic { name: "resume", purpose: "let a paused container's processes go on", arguments: ID, flags: &[] },
    Topic {
        name: "run",
        purpose: "create a container, start it and wait for it",
        arguments: ID,
        flags: &[
            BUNDLE,
            CONSOLE,
            ("--detach, -d", "do not wait for the container's end"),
            ("--keep", "do not remove the container at its end"),
            PID_FILE,
            ("--no-subreaper", "of no meaning: the caller is never made the reaper of others"),
            NO_PIVOT,
            NO_KEYRING,
            FDS,
        ],
    },
    Topic {
        name: "spec",
        purpose: "write a specification to start from",
        arguments: "",
        flags: &[BUNDLE, ("--rootless", "for a container without privileges on the host")],
    },
    Topic { name: "start", purpose: "run the program of a created container", arguments: ID, flags: &[] },
    Topic { name: "state", purpose: "print a container's state, as JSON", arguments: ID, flags: &[] },
    Topic {
        name: "update",
        purpose: "change a container's limits",
        arguments: ID,
        flags: &[
            (
                "--resources value, -r value",
                "file with limits as the specification writes them, - for standard input",
            ),
            ("--blkio-weight value", "weight of block I/O, 10 to 1000"),
            ("--cpu-period value", "microseconds of a CPU period"),
            ("--cpu-quota value", "microseconds of CPU time per period"),
            ("--cpu-burst value", "microseconds of unused time that may be used later"),
            ("--cpu-share value", "relative weight of CPU time"),
            ("--cpu-rt-period value", "microseconds of a realtime period"),
            ("--cpu-rt-runtime value", "microseconds of realtime scheduling per period"),
            ("--cpu-idle value", "1: run only when nothing else does"),
            ("--cpuset-cpus value", "CPUs, as a list of ranges"),
            ("--cpuset-mems value", "memory nodes, as a list of ranges"),
            ("--memory value", "most memory, in bytes"),
            ("--memory-reservation value", "what reclaim aims at under pressure"),
            ("--memory-swap value", "most memory and swap together; -1 for no limit of swap"),
            ("--pids-limit value", "most processes and threads"),
        ],
    },
];

/// The page about `command`; `None` when there is no such command.
pub(super) fn about(program: &str, command: &str) -> Option<String> {
    let topic = TOPICS.iter().find(|topic| topic.name == command)?;
    let mut page = format!(
        "NAME:\n   {program} {} - {}\n\nUSAGE:\n   {program} {} [command options] {}\n",
        topic.name, topic.purpose, topic.name, topic.arguments
    );
    if !topic.flags.is_empty() {
        page.push_str("\nOPTIONS:\n");
        list(&mut page, topic.flags.iter().copied());
    }
    Some(page)
}

/// The page about the whole.
pub(super) fn overview(program: &str) -> String {
    let mut page = format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program} [global options] command [command options] [arguments...]\n\nVERSION:\n   {}\n   spec: {}\n\nCOMMANDS:\n",
        env!("CARGO_PKG_VERSION"),
        crate::spec::VERSION,
    );
    list(&mut page, TOPICS.iter().map(|topic| (topic.name, topic.purpose)));
    page.push_str("\nGLOBAL OPTIONS:\n");
    list(
        &mut page,
        [
            ("--debug", "log milestones"),
            ("--log value", "file of the log, standard error when absent"),
            ("--log-format value", "text or json"),
            ("--root value", "where containers are recorded"),
            ("--systemd-cgroup", "cgroupsPath is slice:prefix:name, and systemd makes the scope"),
            ("--rootless value", "true, false or auto"),
            ("--help, -h", "show this page, or a command's"),
            ("--version, -v", "print the version"),
        ]
        .into_iter(),
    );
    page
}

fn list(page: &mut String, rows: impl Iterator<Item = (&'static str, &'static str)> + Clone) {
    let width = rows.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in rows {
        let _ = writeln!(page, "   {name:width$}  {text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_with_name_and_purpose() {
        let page = about("runc", "list").unwrap();
        assert!(page.starts_with("NAME:\n   runc list - list the containers"));
        assert!(page.contains("   --quiet, -q               only the ids\n"));
        assert_eq!(about("runc", "foo"), None);
        assert!(
            overview("corten runtime").contains("   start       run the program of a created container\n")
        );
    }
}
