//! Log drivers: what is kept, what goes elsewhere, and that `logs` reads the local copy of all of them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use corten_tests::engine::{Engine, Which};
use corten_tests::http;
use serde_json::{Value, json};

use crate::case::{cases, shell, with};

cases![
    Both the_local_driver_is_read,
    Both log_options_are_checked,
    Both tags_labels_and_variables_are_written,
    Both syslog_gets_lines_and_they_are_read_here_too,
    Both gelf_gets_lines,
    Both a_compressed_log_is_read_over_rotations,
    CortenOnly shipping_goes_on_where_it_was_after_a_death,
    CortenOnly a_removed_container_is_shipped_to_its_end,
];

const DEADLINE: Duration = Duration::from_secs(60);

fn logging(driver: &str, options: Value) -> Value {
    json!({ "HostConfig": { "LogConfig": { "Type": driver, "Config": options } } })
}

fn the_local_driver_is_read(e: &mut Engine) -> Result<()> {
    let options = json!({ "max-size": "1m", "max-file": "2", "compress": "false" });
    let script = "for n in 1 2 3; do echo out $n; done; echo err >&2";
    let id = e.run("", with(shell(script), logging("local", options)))?;
    e.wait(&id)?;
    let (out, err) = e.logs(&id)?;
    ensure!(out == "out 1\nout 2\nout 3\n" && err == "err\n", "{out:?} {err:?}");
    let tail = e.get(&format!("/containers/{id}/logs?stdout=1&tail=1&stderr=0"))?.expect(200)?;
    ensure!(tail.body.len() < 20, "{:?}", tail.text());
    let inspect = e.get(&format!("/containers/{id}/json"))?.json()?;
    ensure!(inspect["LogPath"] == "" && inspect["HostConfig"]["LogConfig"]["Type"] == "local");
    e.remove(&id)
}

fn log_options_are_checked(e: &mut Engine) -> Result<()> {
    for (driver, options, text) in [
        ("json-file", json!({ "mode": "odd" }), "logger: logging mode not supported: odd"),
        ("json-file", json!({ "odd": "x" }), "unknown log opt 'odd' for json-file log driver"),
        ("local", json!({ "tag": "x" }), "unknown log opt 'tag' for log driver local"),
        ("syslog", json!({ "syslog-facility": "odd" }), "invalid syslog facility"),
        ("syslog", json!({ "syslog-format": "odd" }), "Invalid syslog format"),
        ("gelf", json!({}), "gelf-address is a required parameter"),
        ("gelf", json!({ "gelf-address": "http://x:1" }), "gelf: endpoint needs to be TCP or UDP"),
        ("fluentd", json!({ "odd": "x" }), "unknown log opt 'odd' for fluentd log driver"),
        ("journald", json!({ "odd": "x" }), "unknown log opt 'odd' for journald log driver"),
        (
            "json-file",
            json!({ "max-buffer-size": "1m" }),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        ("odd", json!({}), "error looking up logging plugin odd: plugin \"odd\" not found"),
    ] {
        let answer = e.post_json("/containers/create", with(shell("true"), logging(driver, options)))?;
        ensure!(answer.status >= 400 && answer.message().contains(text), "{driver}: {}", answer.text());
    }
    Ok(())
}

fn tags_labels_and_variables_are_written(e: &mut Engine) -> Result<()> {
    let options = json!({ "labels": "one", "labels-regex": "^app", "env": "A", "env-regex": "^B", "tag": "{{.ImageName}}/{{.Name}}" });
    let more =
        json!({ "Labels": { "one": "1", "app.x": "2", "other": "3" }, "Env": ["A=4", "BC=5", "CB=6"] });
    let id = e.run("tagged", with(with(shell("echo x"), logging("json-file", options)), more))?;
    e.wait(&id)?;
    let answer = e.get(&format!("/containers/{id}/logs?stdout=1&details=1"))?.expect(200)?;
    let (out, _) = http::demultiplex(&answer.body)?;
    let text = String::from_utf8_lossy(&out);
    let mut details: Vec<&str> = text.split(' ').next().unwrap_or_default().split(',').collect();
    details.sort_unstable();
    ensure!(details == ["A=4", "BC=5", "app.x=2", "one=1", "tag=busybox%3Alatest%2Ftagged"], "{text}");
    e.remove(&id)
}

/// A socket in the engine's own network.
fn receiver(e: &Engine) -> Result<(UdpSocket, String)> {
    let socket = e.within(|| UdpSocket::bind("127.0.0.1:0"))??;
    socket.set_read_timeout(Some(DEADLINE))?;
    let address = format!("udp://{}", socket.local_addr()?);
    Ok((socket, address))
}

fn received(socket: &UdpSocket) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).context("a datagram")?;
    buffer.truncate(length);
    Ok(buffer)
}

fn syslog_gets_lines_and_they_are_read_here_too(e: &mut Engine) -> Result<()> {
    let (socket, address) = receiver(e)?;
    let options = json!({ "syslog-address": address, "syslog-facility": "local3", "syslog-format": "rfc5424", "tag": "{{.Name}}" });
    let id = e.run("logged", with(shell("echo to syslog; echo wrong >&2"), logging("syslog", options)))?;
    let mut lines =
        [received(&socket)?, received(&socket)?].map(|b| String::from_utf8_lossy(&b).into_owned());
    lines.sort();
    let [wrong, right] = &lines;
    ensure!(right.starts_with("<158>1 ") && right.ends_with(" logged - to syslog\n"), "{right}");
    ensure!(wrong.starts_with("<155>1 ") && wrong.ends_with(" logged - wrong\n"), "{wrong}");
    e.wait(&id)?;
    let (out, err) = e.logs(&id)?;
    ensure!(out == "to syslog\n" && err == "wrong\n", "{out:?} {err:?}");
    e.remove(&id)
}

fn gelf_gets_lines(e: &mut Engine) -> Result<()> {
    let (socket, address) = receiver(e)?;
    let options = json!({ "gelf-address": address, "gelf-compression-type": "none", "labels": "role" });
    let more = json!({ "Labels": { "role": "front" } });
    let id = e.run("gelfed", with(with(shell("echo a line"), logging("gelf", options)), more))?;
    let message: Value = serde_json::from_slice(&received(&socket)?)?;
    ensure!(message["short_message"] == "a line" && message["_container_name"] == "gelfed", "{message}");
    ensure!(
        message["_tag"] == id[..12] && message["_role"] == "front" && message["version"] == "1.1",
        "{message}"
    );
    ensure!(
        message["_container_id"] == id.as_str() && message["_image_name"] == "busybox:latest",
        "{message}"
    );
    e.wait(&id)?;
    e.remove(&id)
}

fn shipping_goes_on_where_it_was_after_a_death(e: &mut Engine) -> Result<()> {
    let listener = e.within(|| TcpListener::bind("127.0.0.1:0"))??;
    let options = json!({ "gelf-address": format!("tcp://{}", listener.local_addr()?) });
    let script = "n=0; while true; do n=$((n+1)); echo $n; sleep 0.02; done";
    let id = e.run("", with(shell(script), logging("gelf", options)))?;
    let read = |count: usize| -> Result<Vec<u64>> {
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut reader = BufReader::new(stream);
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let mut packet = Vec::new();
            reader.read_until(0, &mut packet)?;
            let message: Value =
                serde_json::from_slice(packet.strip_suffix(&[0]).context("a whole packet")?)?;
            numbers.push(message["short_message"].as_str().unwrap_or_default().parse()?);
        }
        Ok(numbers)
    };
    let before = read(20)?;
    ensure!(before == (1..=20).collect::<Vec<u64>>(), "{before:?}");
    e.kill_and_restart()?;
    let after = read(20)?;
    // At least once: the last batch before the death may come again, nothing is left out.
    ensure!(after[0] > 1 && after.windows(2).all(|pair| pair[1] == pair[0] + 1), "{after:?}");
    e.remove(&id)
}

fn a_removed_container_is_shipped_to_its_end(e: &mut Engine) -> Result<()> {
    let listener = e.within(|| TcpListener::bind("127.0.0.1:0"))??;
    let options = json!({ "gelf-address": format!("tcp://{}", listener.local_addr()?) });
    let body = with(
        with(shell("seq 1 1000"), logging("gelf", options)),
        json!({ "HostConfig": { "AutoRemove": true } }),
    );
    e.run("", body)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let count = all.iter().filter(|byte| **byte == 0).count();
    ensure!(count == 1000, "{count} of 1000 lines");
    Ok(())
}

fn a_compressed_log_is_read_over_rotations(e: &mut Engine) -> Result<()> {
    for driver in ["local", "json-file"] {
        let options = json!({ "max-size": "64k", "max-file": "50", "compress": "true" });
        let id = e.run("", with(shell("seq 1 20000"), logging(driver, options)))?;
        // From the beginning while it is written, and once it is whole. Docker's follower loses lines when files are rotated this fast.
        let followed = e.get(&format!("/containers/{id}/logs?stdout=1&follow=1"))?.expect(200)?;
        e.wait(&id)?;
        let later = e.get(&format!("/containers/{id}/logs?stdout=1"))?.expect(200)?;
        let all: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
        let exact = [followed, later].into_iter().skip(usize::from(e.which == Which::Docker));
        for answer in exact {
            let (out, _) = http::demultiplex(&answer.body)?;
            ensure!(out == all.as_bytes(), "{driver}: {} of {} bytes", out.len(), all.len());
        }
        let tail = e.get(&format!("/containers/{id}/logs?stdout=1&tail=15000"))?.expect(200)?;
        let (out, _) = http::demultiplex(&tail.body)?;
        ensure!(out.starts_with(b"5001\n"), "{driver}: {:?}", String::from_utf8_lossy(&out[..10]));
        e.remove(&id)?;
    }
    Ok(())
}
