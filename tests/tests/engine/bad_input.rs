use anyhow::{Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::http::{self, Body};
use serde_json::{Value, json};

use crate::case::{array, cases, shell, with};

cases![
    Both what_a_network_mode_leaves_no_choice_of_is_refused,
    Both a_malformed_body_is_a_clients_mistake,
    Both wrong_fields_are_refused_by_name,
    Both what_only_a_start_finds_is_refused_by_name,
    Both a_name_that_is_none_is_not_given,
    Both two_subnets_of_a_kind_are_refused,
    Both hostile_names_are_refused,
    CortenOnly a_refused_create_leaves_nothing,
    CortenOnly no_mistake_is_a_5xx,
];

fn a_malformed_body_is_a_clients_mistake(e: &mut Engine) -> Result<()> {
    for body in ["{", "[]", "\"x\"", "{\"Cmd\": 5}", "{\"HostConfig\": 3}"] {
        let answer = http::request(
            &e.socket(),
            "POST",
            "/containers/create",
            Body::Bytes("application/json", body.as_bytes()),
        )?;
        ensure!(answer.status == 400, "{body}: {} {}", answer.status, answer.text());
    }
    http::request(&e.socket(), "POST", "/containers/create", Body::Bytes("text/plain", b"{}"))?
        .expect(400)?;
    Ok(())
}

/// Requests that name something wrong, and the words of the answer.
fn wrong() -> Vec<(Value, &'static str)> {
    let host = |config: Value| json!({ "HostConfig": config });
    vec![
        (host(json!({ "Binds": ["relative:rel"] })), "invalid mount path: 'rel' mount path must be absolute"),
        (host(json!({ "Binds": ["a:/x:bogus"] })), "bogus"),
        (host(json!({ "Binds": ["/tmp:/x", "/tmp:/x"] })), "Duplicate mount point: /x"),
        (host(json!({ "Memory": 1024 })), "Minimum memory limit allowed is 6MB"),
        (host(json!({ "NanoCpus": 1_000_000_000_000_i64 })), "range of CPUs is from 0.01 to"),
        (host(json!({ "RestartPolicy": { "Name": "sometimes" } })), "unknown policy 'sometimes'"),
        (host(json!({ "CapAdd": ["FLY"] })), "unknown capability: \"CAP_FLY\""),
        (host(json!({ "PortBindings": { "http/tcp": [{}] } })), "http"),
        (host(json!({ "Mounts": [{ "Type": "flying", "Target": "/x" }] })), "mount type unknown"),
        (host(json!({ "LogConfig": { "Type": "carrier-pigeon" } })), "carrier-pigeon"),
        (json!({ "StopSignal": "SIGNOTHING" }), "SIGNOTHING"),
        (
            json!({ "WorkingDir": "relative" }),
            "the working directory 'relative' is invalid, it needs to be an absolute path",
        ),
        (json!({ "Healthcheck": { "Test": ["CMD", "x"], "Interval": 5 } }), "Interval"),
    ]
}

fn wrong_fields_are_refused_by_name(e: &mut Engine) -> Result<()> {
    for (more, text) in wrong() {
        let answer = e.post_json("/containers/create", with(shell("true"), more.clone()))?;
        ensure!((400..=500).contains(&answer.status), "{more}: {} {}", answer.status, answer.text());
        ensure!(answer.message().contains(text), "{more}: {:?} lacks {text:?}", answer.message());
    }
    Ok(())
}

fn hostile_names_are_refused(e: &mut Engine) -> Result<()> {
    for name in ["..%2F..%2Fetc", "a%20b", "%2e%2e", "-x", "a%00b"] {
        let answer = e.post_json(&format!("/containers/create?name={name}"), shell("true"))?;
        ensure!(answer.status == 400, "{name}: {} {}", answer.status, answer.text());
    }
    e.post_json("/containers/create?name=a/b", shell("true"))?
        .refuses(400, "Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")?;
    e.post_json("/volumes/create", json!({ "Name": "../x" }))?.refuses(400, "../x")?;
    e.post_json("/networks/create", json!({ "Name": "" }))?.expect(400)?;
    e.post("/images/busybox/tag?repo=a%2F..%2Fb&tag=x")?.expect(400)?;
    Ok(())
}

fn a_refused_create_leaves_nothing(e: &mut Engine) -> Result<()> {
    let count = |e: &Engine| -> Result<(usize, usize)> {
        let containers = array(e.get("/containers/json?all=1")?.json()?).len();
        let volumes = array(e.get("/volumes")?.json()?["Volumes"].clone()).len();
        Ok((containers, volumes))
    };
    let before = count(e)?;
    let body = with(
        shell("true"),
        json!({ "Volumes": { "/anonymous": {} }, "HostConfig": { "Binds": ["made-up:/x", "/tmp:/y:bogus"] } }),
    );
    ensure!(e.post_json("/containers/create?name=never", body)?.status >= 400);
    ensure!(count(e)? == before);
    e.get("/containers/never/json")?.expect(404)?;
    Ok(())
}

fn no_mistake_is_a_5xx(e: &mut Engine) -> Result<()> {
    for (more, _) in wrong() {
        let answer = e.post_json("/containers/create", with(shell("true"), more.clone()))?;
        ensure!(answer.status < 500, "{more}: {} {}", answer.status, answer.text());
    }
    let id = e.run("", shell("exec sleep 100"))?;
    e.post(&format!("/containers/{id}/unpause"))?.refuses(409, "is not paused")?;
    e.post(&format!("/containers/{id}/kill?signal=NOTHING"))?.expect(400)?;
    e.remove(&id)
}

fn what_a_network_mode_leaves_no_choice_of_is_refused(e: &mut Engine) -> Result<()> {
    let other = e.create("other", shell("true"))?;
    let cases = [
        (json!({ "Hostname": "h" }), "conflicting options: hostname and the network mode"),
        (
            json!({ "HostConfig": { "Links": ["other"] } }),
            "conflicting options: container type network can't be used with links. This would result in undefined behavior",
        ),
        (json!({ "HostConfig": { "Dns": ["1.1.1.1"] } }), "conflicting options: dns and the network mode"),
        (
            json!({ "HostConfig": { "ExtraHosts": ["a:1.2.3.4"] } }),
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (
            json!({ "HostConfig": { "PublishAllPorts": true } }),
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            json!({ "ExposedPorts": { "80/tcp": {} } }),
            "conflicting options: port exposing and the container type network mode",
        ),
    ];
    let joined = json!({ "HostConfig": { "NetworkMode": "container:other" } });
    for (more, text) in cases {
        let body = with(with(shell("true"), joined.clone()), more);
        e.post_json("/containers/create", body)?.refuses(400, text)?;
    }
    let nobody = with(shell("true"), json!({ "HostConfig": { "NetworkMode": "container:" } }));
    e.post_json("/containers/create", nobody)?
        .refuses(400, "invalid network mode: invalid container format container:<name|id>")?;
    let uts = with(shell("true"), json!({ "Hostname": "h", "HostConfig": { "UTSMode": "host" } }));
    e.post_json("/containers/create", uts)?.refuses(400, "conflicting options: hostname and the UTS mode")?;
    e.remove(&other)
}

fn what_only_a_start_finds_is_refused_by_name(e: &mut Engine) -> Result<()> {
    let device =
        json!({ "PathOnHost": "/dev/nosuch", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm" });
    for (host, text) in [
        (
            json!({ "Devices": [device] }),
            "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
        ),
        (
            json!({ "NetworkMode": "container:nosuch" }),
            "joining network namespace of container: No such container: nosuch",
        ),
        (json!({ "Tmpfs": { "/t": "size=1m,sloppy" } }), "invalid tmpfs option \"sloppy\""),
    ] {
        let body = with(shell("true"), json!({ "HostConfig": host }));
        let created = e.post_json("/containers/create", body)?;
        if created.status != 201 {
            created.refuses(400, text)?;
            continue;
        }
        let id = created.json()?["Id"].as_str().unwrap_or_default().to_owned();
        let started = e.post(&format!("/containers/{id}/start"))?;
        ensure!(started.message() == text, "{}", started.text());
        e.remove(&id)?;
    }
    Ok(())
}

fn a_name_that_is_none_is_not_given(e: &mut Engine) -> Result<()> {
    let id = e.create("", shell("true"))?;
    e.post(&format!("/containers/{id}/rename?name=bad%20name"))?.refuses(
        400,
        "Error when allocating new name: Invalid container name (/bad name), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    )?;
    e.remove(&id)
}

fn two_subnets_of_a_kind_are_refused(e: &mut Engine) -> Result<()> {
    let subnets = json!([{ "Subnet": "10.177.0.0/16" }, { "Subnet": "10.178.0.0/16" }]);
    e.post_json("/networks/create", json!({ "Name": "two", "IPAM": { "Config": subnets } }))?
        .refuses(403, "bridge driver doesn't support multiple subnets")
}
