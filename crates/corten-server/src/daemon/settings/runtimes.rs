//! The OCI runtimes that were registered: `--add-runtime name=path`, `"runtimes": {"name": {…}}`, `default-runtime`.
//!
//! A path is looked up once, here; the file of a runtime may change under its name, but never which file it is.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use corten_engine::runtimes::{Drive, Program, RESERVED, Registered, Runtimes};
use serde_json::{Map, Value as Json};

use super::{Reader, bad};
use crate::daemon::values::{ConfigError, Value};

const NAME: &str = "runtimes";
/// The shim whose work is what runc's command line does.
const RUNC_SHIM: &str = "io.containerd.runc.v2";

/// Reads them.
pub(super) fn read(read: &Reader<'_>) -> Result<Runtimes, ConfigError> {
    let none = (Vec::new(), Json::Null);
    let (flags, file) = match read.0.get(NAME) {
        Some(Value::List(flags)) => (flags.clone(), Json::Null),
        Some(Value::Json(file)) => (Vec::new(), file.clone()),
        Some(Value::Both(flags, file)) => (flags.clone(), file.clone()),
        Some(_) | None => none,
    };
    let mut registered = BTreeMap::new();
    match file {
        Json::Null => {}
        Json::Object(file) => {
            for (name, runtime) in file {
                let given = of_file(&name, &runtime)?;
                registered.insert(name, given);
            }
        }
        other => return Err(bad(NAME, other, "it is not an object of runtimes")),
    }
    let mut seen = Vec::new();
    for text in &flags {
        let (name, runtime) = of_flag(text)?;
        if seen.contains(&name) {
            return Err(bad("--add-runtime", text, &format!("runtime '{name}' was already defined")));
        }
        seen.push(name.clone());
        registered.insert(name, runtime);
    }
    if registered.contains_key(RESERVED) {
        return Err(bad(NAME, RESERVED, &format!("runtime name '{RESERVED}' is reserved")));
    }
    let default = read.text("default-runtime").unwrap_or(RESERVED).to_owned();
    let runtimes = Runtimes { default, registered };
    if !runtimes.is_known(&runtimes.default) {
        let name = &runtimes.default;
        let reason = format!("specified default runtime '{name}' does not exist");
        return Err(bad("default-runtime", name, &reason));
    }
    Ok(runtimes)
}

/// `name=path`.
fn of_flag(text: &str) -> Result<(String, Registered), ConfigError> {
    let wrong = || bad("--add-runtime", text, &format!("invalid runtime argument: {text}"));
    let (name, path) = text.split_once('=').ok_or_else(wrong)?;
    let (name, path) = (name.trim().to_lowercase(), path.trim());
    if name.is_empty() || path.is_empty() {
        return Err(wrong());
    }
    Ok((name, by_path(path, Vec::new())))
}

/// `{"path": …, "runtimeArgs": […]}` or `{"runtimeType": …, "options": {…}}`.
fn of_file(name: &str, runtime: &Json) -> Result<Registered, ConfigError> {
    let refuse = |reason: &str| bad(NAME, name, &format!("runtime {name}: {reason}"));
    let object = runtime.as_object().ok_or_else(|| refuse("it is not an object"))?;
    if let Some(key) =
        object.keys().find(|key| !["path", "runtimeArgs", "runtimeType", "options"].contains(&key.as_str()))
    {
        return Err(refuse(&format!("{key} is none of path, runtimeArgs, runtimeType, options")));
    }
    let text = |key: &str| match object.get(key) {
        None | Some(Json::Null) => Ok(""),
        Some(Json::String(text)) => Ok(text.as_str()),
        Some(_) => Err(refuse(&format!("{key} is not a text"))),
    };
    let args = match object.get("runtimeArgs") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(list)) => {
            let list: Option<Vec<String>> = list.iter().map(|arg| Some(arg.as_str()?.to_owned())).collect();
            list.ok_or_else(|| refuse("runtimeArgs is not a list of texts"))?
        }
        Some(_) => return Err(refuse("runtimeArgs is not a list of texts")),
    };
    let empty = Map::new();
    let options = match object.get("options") {
        None | Some(Json::Null) => &empty,
        Some(Json::Object(options)) => options,
        Some(_) => return Err(refuse("options is not an object")),
    };
    match (text("path")?, text("runtimeType")?) {
        ("", "") => Err(refuse("either a runtimeType or a path must be configured")),
        (path, "") if options.is_empty() => Ok(by_path(path, args)),
        (_, "") => Err(refuse("options cannot be used with a path runtime")),
        ("", _) if !args.is_empty() => Err(refuse("args cannot be used with a runtimeType runtime")),
        ("", kind) => {
            let drive = by_type(kind, options).map_err(|reason| refuse(&reason))?;
            Ok(Registered { path: String::new(), args, drive })
        }
        _ => Err(refuse("cannot configure both path and runtimeType for the same runtime")),
    }
}

fn by_path(path: &str, args: Vec<String>) -> Registered {
    // A shell reads them on Docker: one text may be several words.
    let words = args.iter().flat_map(|arg| arg.split_whitespace()).map(str::to_owned).collect();
    let drive = Drive::Program(Program {
        path: look_up(path),
        args: words,
        root: None,
        systemd_cgroup: None,
        create_options: Vec::new(),
    });
    Registered { path: path.to_owned(), args, drive }
}

/// The options of containerd's shim for runc. Their names are read without regard to case, unknown ones are left, as
/// Docker does; what would be needed and is not done is refused.
fn by_type(kind: &str, options: &Map<String, Json>) -> Result<Drive, String> {
    if kind != RUNC_SHIM {
        return Ok(Drive::Shim(kind.to_owned()));
    }
    let option = |name: &str| options.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    let text = |name: &str| match option(name) {
        None | Some(Json::Null) => Ok(""),
        Some(Json::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("option {name} is not a text")),
    };
    let flag = |name: &str| match option(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(format!("option {name} is neither true nor false")),
    };
    for (name, is_set) in [
        ("ShimCgroup", !text("ShimCgroup")?.is_empty()),
        ("IoUid", option("IoUid").is_some_and(|id| id.as_u64() != Some(0))),
        ("IoGid", option("IoGid").is_some_and(|id| id.as_u64() != Some(0))),
    ] {
        if is_set {
            return Err(format!("option {name} is not implemented"));
        }
    }
    let systemd_cgroup = flag("SystemdCgroup")?;
    let root = Some(PathBuf::from(text("Root")?)).filter(|root| !root.as_os_str().is_empty());
    let mut create_options = Vec::new();
    for (name, word) in [("NoPivotRoot", "--no-pivot"), ("NoNewKeyring", "--no-new-keyring")] {
        if flag(name)? == Some(true) {
            create_options.push(word.to_owned());
        }
    }
    let binary = text("BinaryName")?;
    if !binary.is_empty() {
        let path = look_up(binary);
        let program = Program { path, args: Vec::new(), root, systemd_cgroup, create_options };
        return Ok(Drive::Program(program));
    }
    // Our own runtime keeps no state that anybody names, and pivots; its cgroups are the daemon's.
    if root.is_some() || !create_options.is_empty() {
        return Err("the options Root, NoPivotRoot and NoNewKeyring need a BinaryName".into());
    }
    Ok(Drive::Own)
}

/// The absolute path of a program: as given, from here, or found in `PATH`. Only what is looked for can be missed; a
/// path may come to be later. The reason is worded as Go words it.
fn look_up(program: &str) -> Result<PathBuf, String> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| error.to_string());
    if program.contains('/') {
        return absolute(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(runs);
    let found = found.ok_or_else(|| format!("exec: {program:?}: executable file not found in $PATH"))?;
    absolute(&found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::from_file;
    use super::*;

    fn runtimes(text: &str) -> Result<Runtimes, String> {
        from_file(text).map(|settings| (*settings.engine.live.runtimes).clone())
    }

    #[test]
    fn by_path_and_by_type() {
        let read = runtimes(
            r#"{"default-runtime": "a", "runtimes": {
                "a": {"path": "/bin/sh", "runtimeArgs": ["--x --y", "--z"]},
                "b": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "/bin/sh", "root": "/r", "NoPivotRoot": true}},
                "c": {"runtimeType": "io.containerd.runc.v2", "options": {"SystemdCgroup": true}},
                "d": {"runtimeType": "io.containerd.kata.v2"}}}"#,
        )
        .unwrap();
        assert_eq!(read.default, "a");
        let Drive::Program(a) = &read.registered["a"].drive else { panic!("no program") };
        assert_eq!((a.path.as_deref(), a.args.len()), (Ok(Path::new("/bin/sh")), 3));
        assert_eq!(read.registered["a"].args, ["--x --y", "--z"]);
        let Drive::Program(b) = &read.registered["b"].drive else { panic!("no program") };
        assert_eq!(
            (b.root.as_deref(), &b.create_options[..]),
            (Some(Path::new("/r")), &["--no-pivot".into()][..])
        );
        assert_eq!(read.registered["c"].drive, Drive::Own);
        assert_eq!(read.registered["d"].drive, Drive::Shim("io.containerd.kata.v2".into()));
    }

    #[test]
    fn a_program_that_is_not_there_is_told_when_it_is_asked_for() {
        let read = runtimes(r#"{"runtimes": {"a": {"path": "no-such-program"}, "b": {"path": "/no/such"}}}"#)
            .unwrap();
        let path = |name: &str| match &read.registered[name].drive {
            Drive::Program(program) => program.path.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(path("a"), Err("exec: \"no-such-program\": executable file not found in $PATH".into()));
        assert_eq!(path("b"), Ok("/no/such".into()));
    }

    #[test]
    fn wrong_ones_are_refused_as_dockerd_does() {
        for (text, part) in [
            (r#"{"runtimes": {"runc": {"path": "/bin/sh"}}}"#, "runtime name 'runc' is reserved"),
            (r#"{"runtimes": {"a": {}}}"#, "runtime a: either a runtimeType or a path must be configured"),
            (
                r#"{"runtimes": {"a": {"path": "/a", "runtimeType": "b.c"}}}"#,
                "cannot configure both path and runtimeType",
            ),
            (r#"{"runtimes": {"a": {"path": "/a", "options": {"x": 1}}}}"#, "options cannot be used"),
            (r#"{"runtimes": {"a": {"runtimeType": "b.c", "runtimeArgs": ["x"]}}}"#, "args cannot be used"),
            (r#"{"default-runtime": "a"}"#, "specified default runtime 'a' does not exist"),
        ] {
            let error = runtimes(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["x", "=y", "x="] {
            assert!(of_flag(text).unwrap_err().to_string().contains("invalid runtime argument"), "{text}");
        }
    }
}
