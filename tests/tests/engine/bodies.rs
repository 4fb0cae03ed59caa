//! Bodies of requests, read as Go's decoder reads them: every member with a value of a wrong type, keys of any case, and
//! requests whose end two readers could see at two places.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use corten_tests::engine::Engine;
use serde_json::{Value, json};

use crate::case::{cases, shell};

cases![
    Both a_member_of_a_wrong_type_is_refused_in_dockers_words,
    Both keys_are_read_in_any_case,
    CortenOnly a_request_with_two_lengths_is_refused,
];

/// Body, member, kind, Go type: what the daemon itself goes by, checked here on the real Docker first.
const TABLE: &str = include_str!("../../../crates/corten-server/src/http/go_json/bodies.tsv");

/// Where a body goes, what Go calls it, and what else it needs.
fn target(body: &str, container: &str) -> (String, &'static str, Value) {
    let (path, name, base) = match body {
        "create" => ("/containers/create".to_owned(), "", json!({ "Image": "busybox" })),
        "update" => (format!("/containers/{container}/update"), "UpdateConfig", json!({})),
        "exec" => (format!("/containers/{container}/exec"), "ExecOptions", json!({ "Cmd": ["true"] })),
        "exec-start" => ("/exec/none/start".to_owned(), "ExecStartOptions", json!({})),
        "network" => ("/networks/create".to_owned(), "CreateRequest", json!({})),
        "connect" => ("/networks/bridge/connect".to_owned(), "ConnectOptions", json!({})),
        "disconnect" => ("/networks/bridge/disconnect".to_owned(), "DisconnectOptions", json!({})),
        _ => ("/volumes/create".to_owned(), "CreateOptions", json!({})),
    };
    (path, name, base)
}

/// A body in which only the member at `path` is given, and the place as a refusal names it.
fn wrong(path: &str, value: Value) -> (Value, String, bool) {
    let mut steps: Vec<(char, &str)> = Vec::new();
    for part in path.split('.') {
        let end = part.find(['[', '{']).unwrap_or(part.len());
        steps.push(('.', &part[..end]));
        steps.extend(part[end..].chars().filter(|c| matches!(c, '[' | '{')).map(|c| (c, "")));
    }
    let place: String = steps
        .iter()
        .map(|(kind, name)| match kind {
            '[' => ".0".to_owned(),
            '{' => ".a".to_owned(),
            _ => format!(".{name}"),
        })
        .collect();
    let in_list = steps.last().is_some_and(|(kind, _)| *kind == '[');
    let body = steps.iter().rev().fold(value, |inner, (kind, name)| match kind {
        '[' => json!([inner]),
        '{' => json!({ "a": inner }),
        _ => json!({ *name: inner }),
    });
    (body, place, in_list)
}

fn a_member_of_a_wrong_type_is_refused_in_dockers_words(e: &mut Engine) -> Result<()> {
    let container = e.run("", shell("exec sleep 1000"))?;
    let mut asked = 0;
    for row in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let [body, path, kind, go] = row.split('\t').collect::<Vec<_>>()[..] else { continue };
        let (found, value) = match kind {
            "string" => ("number", json!(5)),
            "words" => ("object", json!({ "a": 1 })),
            _ => ("string", json!("x")),
        };
        let (target, root, base) = target(body, &container);
        let (member, place, in_list) = wrong(path, value);
        let of = if in_list { "" } else { "Go struct field " };
        let expected = match kind {
            "words" => format!("invalid JSON: json: cannot unmarshal {found} into Go value of type {go}"),
            _ => format!("invalid JSON: json: cannot unmarshal {found} into {of}{root}{place} of type {go}"),
        };
        let answer = e.post_json(&target, crate::case::with(base, member))?;
        // What is not there at all is refused before its members are looked at.
        if answer.status == 501 && path == "ClusterVolumeSpec" {
            continue;
        }
        ensure!(answer.status == 400, "{row}: {} {}", answer.status, answer.text());
        ensure!(answer.json()?["message"] == expected, "{row}: {}\nwanted: {expected}", answer.text());
        asked += 1;
    }
    ensure!(asked > 300, "only {asked} members were asked for");
    e.remove(&container)
}

fn keys_are_read_in_any_case(e: &mut Engine) -> Result<()> {
    let body = json!({
        "image": "busybox",
        "CMD": ["true"],
        "labels": { "Image": "kept" },
        "hostconfig": { "memory": 64 << 20, "portBindings": { "80/tcp": [{ "hostport": "8080" }] }, "INIT": false },
    });
    let id = e.create("", body)?;
    let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(shown["HostConfig"]["Memory"] == 64 << 20, "{}", shown["HostConfig"]["Memory"]);
    ensure!(shown["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == "8080");
    ensure!(shown["HostConfig"]["Init"] == false && shown["Config"]["Labels"]["Image"] == "kept");
    e.post_json(&format!("/containers/{id}/update"), json!({ "memory": 32 << 20 }))?.expect(200)?;
    let shown = e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?;
    ensure!(shown["HostConfig"]["Memory"] == 32 << 20, "{}", shown["HostConfig"]["Memory"]);
    e.remove(&id)
}

fn a_request_with_two_lengths_is_refused(e: &mut Engine) -> Result<()> {
    let ask = |headers: &str| -> Result<String> {
        let mut socket = UnixStream::connect(e.socket())?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let head = "POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
        socket.write_all(format!("{head}{headers}\r\nd\r\n{{\"Name\":\"v9\"}}\r\n0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    for headers in [
        "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "Transfer-Encoding: chunked\r\nX-Folded: a\r\n b\r\n",
    ] {
        let answer = ask(headers)?;
        ensure!(answer.starts_with("HTTP/1.1 400 "), "{headers}: {answer}");
    }
    ensure!(e.get("/volumes/v9")?.status == 404, "a refused request was done");
    let answer = ask("Transfer-Encoding: chunked\r\n")?;
    ensure!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    e.delete("/volumes/v9")?.expect(204)?;
    Ok(())
}
