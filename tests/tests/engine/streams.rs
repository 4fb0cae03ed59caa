use anyhow::{Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::http::{self, Body};
use corten_tests::websocket::{Message, WebSocket};
use serde_json::json;

use crate::case::{cases, shell, with};

cases![
    Both attach_before_start_sees_everything,
    Both attached_input_ends_the_program,
    Both a_terminal_is_attached_raw,
    Both logs_are_cut_by_tail_and_since,
    Both logs_follow_until_the_end,
    Both long_lines_arrive_whole,
    Both attach_to_what_is_missing_is_refused,
    Both a_websocket_carries_both_directions,
    Both a_websocket_gets_the_log_first,
];

fn attach(e: &Engine, id: &str, query: &str) -> Result<http::Hijacked> {
    http::hijack(&e.socket(), &format!("/containers/{id}/attach?{query}"), Body::None, true)
}

fn attach_before_start_sees_everything(e: &mut Engine) -> Result<()> {
    let id = e.create(
        "",
        with(shell("echo first; echo second >&2"), json!({ "AttachStdout": true, "AttachStderr": true })),
    )?;
    let mut stream = attach(e, &id, "stream=1&stdout=1&stderr=1")?;
    ensure!(stream.status == 101);
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    let (out, err) = http::demultiplex(&stream.read_to_end()?)?;
    ensure!(out == b"first\n" && err == b"second\n", "{out:?} {err:?}");
    e.remove(&id)
}

fn attached_input_ends_the_program(e: &mut Engine) -> Result<()> {
    let body = json!({ "Image": "busybox", "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true, "AttachStdin": true, "AttachStdout": true });
    let id = e.create("", body)?;
    let mut stream = attach(e, &id, "stream=1&stdin=1&stdout=1&stderr=1")?;
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    let input: Vec<u8> = (0..100_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    stream.write(&input[..50_000])?;
    stream.write(&input[50_000..])?;
    stream.close_input()?;
    let (out, _) = http::demultiplex(&stream.read_to_end()?)?;
    ensure!(out == input, "{} of {} bytes came back", out.len(), input.len());
    ensure!(e.wait(&id)? == 0);
    e.remove(&id)
}

fn a_terminal_is_attached_raw(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("read x; echo got $x; stty size"),
        json!({ "Tty": true, "OpenStdin": true, "AttachStdin": true, "AttachStdout": true }),
    );
    let id = e.create("", body)?;
    let mut stream = attach(e, &id, "stream=1&stdin=1&stdout=1&stderr=1")?;
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    e.post(&format!("/containers/{id}/resize?h=20&w=90"))?.expect(200)?;
    stream.write(b"a line\n")?;
    let text = String::from_utf8_lossy(&stream.read_to_end()?).into_owned();
    ensure!(text == "a line\r\ngot a line\r\n20 90\r\n", "{text:?}");
    e.remove(&id)
}

fn logs_are_cut_by_tail_and_since(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("for i in $(seq 20); do echo line $i; done"))?;
    e.wait(&id)?;
    let get = |query: &str| -> Result<String> {
        let answer = e.get(&format!("/containers/{id}/logs?{query}"))?.expect(200)?;
        Ok(String::from_utf8_lossy(&http::demultiplex(&answer.body)?.0).into_owned())
    };
    ensure!(get("stdout=1&tail=2")? == "line 19\nline 20\n");
    ensure!(get("stdout=1")?.lines().count() == 20);
    ensure!(get("stderr=1")?.is_empty());
    ensure!(get("stdout=1&since=4000000000")?.is_empty());
    let stamped = get("stdout=1&tail=1&timestamps=1")?;
    ensure!(stamped.ends_with("Z line 20\n") && stamped.len() == 31 + 8, "{stamped:?}");
    e.get(&format!("/containers/{id}/logs"))?.refuses(400, "you must choose at least one stream")?;
    e.remove(&id)
}

fn logs_follow_until_the_end(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("for i in 1 2 3; do echo $i; sleep 0.2; done"))?;
    let answer = e.get(&format!("/containers/{id}/logs?stdout=1&follow=1"))?.expect(200)?;
    ensure!(http::demultiplex(&answer.body)?.0 == b"1\n2\n3\n");
    e.remove(&id)
}

fn long_lines_arrive_whole(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no end'"))?;
    e.wait(&id)?;
    let (out, _) = e.logs(&id)?;
    ensure!(out.len() == 100_007 && out.ends_with("x\nno end"), "{} bytes", out.len());
    e.remove(&id)
}

fn attach_to_what_is_missing_is_refused(e: &mut Engine) -> Result<()> {
    let stream = attach(e, "none-such", "stream=1&stdout=1")?;
    ensure!(stream.status == 404, "{}", stream.status);
    Ok(())
}

fn a_websocket_carries_both_directions(e: &mut Engine) -> Result<()> {
    let body = json!({ "Image": "busybox", "Cmd": ["sh", "-c", "read x; echo got $x; read y; echo $y >&2"], "OpenStdin": true, "StdinOnce": true });
    let id = e.create("", body)?;
    let path = format!("/v1.44/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1");
    let mut client = WebSocket::open(&e.socket(), &path)?;
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    client.send(b"a line\n")?;
    let first = client.receive()?;
    ensure!(first == Message::Data { binary: true, bytes: b"got a line\n".to_vec() }, "{first:?}");
    client.send(b"another\n")?;
    client.read_until("another\n")?;
    ensure!(client.receive()? == Message::Close);
    ensure!(e.wait(&id)? == 0);
    e.remove(&id)
}

fn a_websocket_gets_the_log_first(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("echo before; echo more >&2; sleep 600"))?;
    e.until("the log is there", || {
        Ok(Some(()).filter(|()| e.logs(&id).is_ok_and(|(_, err)| err == "more\n")))
    })?;
    let path = format!("/v1.44/containers/{id}/attach/ws?logs=1&stream=1&stdout=1&stderr=1");
    let mut client = WebSocket::open(&e.socket(), &path)?;
    client.read_until("more\n")?;
    client.close()?;
    e.get("/containers/none/attach/ws?stream=1")?.refuses(404, "No such container: none")?;
    e.get(&format!("/containers/{id}/attach/ws?stream=1&detachKeys=ctrl-nonsense"))?.expect(400)?;
    e.remove(&id)
}
