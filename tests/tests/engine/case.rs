//! One case: a name that says the behaviour, and a function that fails when it does not hold.

use anyhow::{Result, ensure};
use corten_tests::archive;
use corten_tests::engine::Engine;
use serde_json::{Value, json};

/// Which engines a case is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Docker defines the behaviour: it runs there first.
    Both,
    /// Docker does not have it, or does it worse on purpose.
    CortenOnly,
}

/// See the module.
pub struct Case {
    pub name: &'static str,
    pub on: On,
    pub run: fn(&mut Engine) -> Result<()>,
}

/// Makes the list of a module's cases from its functions.
macro_rules! cases {
    ($($on:ident $name:ident),* $(,)?) => {
        pub fn cases() -> Vec<crate::case::Case> {
            vec![$(crate::case::Case {
                name: concat!(module_path!(), "::", stringify!($name)),
                on: crate::case::On::$on,
                run: |engine| $name(engine),
            }),*]
        }
    };
}
pub(crate) use cases;

/// The image that all cases use.
pub const IMAGE: &str = "busybox:latest";

/// Imports the base image.
pub fn prepare(engine: &Engine) -> Result<()> {
    let answer = engine.post_tar(
        "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD%20%5B%22sh%22%5D",
        &archive::base()?,
    )?;
    let answer = answer.expect(200)?;
    ensure!(!answer.text().contains("error"), "import: {}", answer.text());
    engine.get("/images/busybox/json")?.expect(200)?;
    Ok(())
}

/// Removes every container, volume, network and image that is there.
pub fn remove_all(engine: &Engine) -> Result<()> {
    for container in array(engine.get("/containers/json?all=1")?.expect(200)?.json()?) {
        engine.remove(container["Id"].as_str().unwrap_or_default())?;
    }
    engine.post("/networks/prune")?.expect(200)?;
    engine.post("/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D")?.expect(200)?;
    Ok(())
}

/// A container of the base image that runs `script` in a shell.
pub fn shell(script: &str) -> Value {
    json!({ "Image": IMAGE, "Cmd": ["sh", "-c", script] })
}

/// `base` with the fields of `more` added, deeply.
pub fn with(mut base: Value, more: Value) -> Value {
    merge(&mut base, more);
    base
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// The elements of a JSON array; none where it is null.
pub fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

/// Runs `script` in a container, and gives its exit code, stdout and stderr.
pub fn output(engine: &Engine, body: Value) -> Result<(i64, String, String)> {
    let id = engine.run("", body)?;
    let code = engine.wait(&id)?;
    let (out, err) = engine.logs(&id)?;
    engine.remove(&id)?;
    Ok((code, out, err))
}

/// Percent-encodes a query value.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
