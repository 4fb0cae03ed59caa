//! Legacy links, on the default bridge and on a user's own.

use anyhow::{Result, ensure};
use corten_tests::engine::{Engine, Which};
use serde_json::{Value, json};

use crate::case::{array, cases, output, shell, with};

cases![
    Both a_link_gives_names_addresses_and_variables,
    Both links_follow_the_linked_container,
    Both a_link_is_a_name_and_can_be_removed,
    Both links_are_aliases_on_a_users_network,
    Both links_that_cannot_be_are_refused,
];

fn linked(e: &Engine, name: &str) -> Result<String> {
    let body = json!({
        "Hostname": "dbhost", "Env": ["PASSWORD=gordon"],
        "ExposedPorts": { "6379/tcp": {}, "6380/tcp": {}, "53/udp": {} },
    });
    e.run(name, with(shell("sleep 600"), body))
}

fn address(e: &Engine, id: &str) -> Result<String> {
    let inspect = e.get(&format!("/containers/{id}/json"))?.json()?;
    Ok(inspect["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap_or_default().to_owned())
}

fn with_link(script: &str, link: &str) -> Value {
    with(shell(script), json!({ "HostConfig": { "Links": [link] } }))
}

fn a_link_gives_names_addresses_and_variables(e: &mut Engine) -> Result<()> {
    let db = linked(e, "db")?;
    let ip = address(e, &db)?;
    let (_, out, err) =
        output(e, with_link("env | grep '^MY_DB' | sort; grep my-db /etc/hosts", "db:my-db"))?;
    let lines: Vec<&str> = out.lines().filter(|line| !line.starts_with("MY_DB_NAME=")).collect();
    let expected = [
        "MY_DB_ENV_PASSWORD=gordon".to_owned(),
        format!("MY_DB_PORT=tcp://{ip}:6379"),
        format!("MY_DB_PORT_53_UDP=udp://{ip}:53"),
        format!("MY_DB_PORT_53_UDP_ADDR={ip}"),
        "MY_DB_PORT_53_UDP_PORT=53".to_owned(),
        "MY_DB_PORT_53_UDP_PROTO=udp".to_owned(),
        format!("MY_DB_PORT_6379_TCP=tcp://{ip}:6379"),
        format!("MY_DB_PORT_6379_TCP_ADDR={ip}"),
        format!("MY_DB_PORT_6379_TCP_END=tcp://{ip}:6380"),
        "MY_DB_PORT_6379_TCP_PORT=6379".to_owned(),
        "MY_DB_PORT_6379_TCP_PORT_END=6380".to_owned(),
        "MY_DB_PORT_6379_TCP_PORT_START=6379".to_owned(),
        "MY_DB_PORT_6379_TCP_PROTO=tcp".to_owned(),
        format!("MY_DB_PORT_6379_TCP_START=tcp://{ip}:6379"),
        format!("MY_DB_PORT_6380_TCP=tcp://{ip}:6380"),
        format!("MY_DB_PORT_6380_TCP_ADDR={ip}"),
        "MY_DB_PORT_6380_TCP_PORT=6380".to_owned(),
        "MY_DB_PORT_6380_TCP_PROTO=tcp".to_owned(),
        format!("{ip}\tmy-db dbhost db"),
    ];
    ensure!(lines == expected, "{out} {err}");
    e.remove(&db)
}

fn links_follow_the_linked_container(e: &mut Engine) -> Result<()> {
    let db = linked(e, "db")?;
    let web = e.run("web", with_link("sleep 600", "db"))?;
    // Another one takes the address while the linked container is away.
    e.post(&format!("/containers/{db}/stop?t=0"))?.expect(204)?;
    let other = e.run("other", shell("sleep 600"))?;
    e.post(&format!("/containers/{db}/start"))?.expect(204)?;
    let now = address(e, &db)?;
    let path =
        e.get(&format!("/containers/{web}/json"))?.json()?["HostsPath"].as_str().unwrap_or("").to_owned();
    let hosts = std::fs::read_to_string(path)?;
    ensure!(hosts.contains(&format!("{now}\tdb dbhost")), "{now}: {hosts}");
    for id in [web, other, db] {
        e.remove(&id)?;
    }
    Ok(())
}

fn a_link_is_a_name_and_can_be_removed(e: &mut Engine) -> Result<()> {
    let db = linked(e, "db")?;
    let web = e.run("web", with_link("sleep 600", "db:store"))?;
    let names = |e: &Engine| -> Result<Value> {
        let rows = array(e.get("/containers/json")?.json()?);
        Ok(rows.into_iter().find(|row| row["Id"] == db.as_str()).unwrap_or_default()["Names"].clone())
    };
    ensure!(names(e)? == json!(["/db", "/web/store"]), "{}", names(e)?);
    let inspect = e.get(&format!("/containers/{web}/json"))?.json()?;
    ensure!(
        inspect["HostConfig"]["Links"] == json!(["/db:/web/store"]),
        "{}",
        inspect["HostConfig"]["Links"]
    );
    let status = if e.which == Which::Docker { 500 } else { 409 };
    let text = "Conflict, cannot remove the default link name of the container";
    e.delete("/containers/db?link=1")?.refuses(status, text)?;
    e.delete("/containers/web/store?link=1")?.expect(204)?;
    ensure!(names(e)? == json!(["/db"]));
    e.get(&format!("/containers/{db}/json"))?.expect(200)?;
    e.remove(&web)?;
    e.remove(&db)
}

fn links_are_aliases_on_a_users_network(e: &mut Engine) -> Result<()> {
    e.post_json("/networks/create", json!({ "Name": "links" }))?.expect(201)?;
    let network = json!({ "HostConfig": { "NetworkMode": "links" } });
    let db = e.run("db", with(shell("sleep 600"), network.clone()))?;
    let endpoint =
        json!({ "NetworkingConfig": { "EndpointsConfig": { "links": { "Links": ["db:store"] } } } });
    let body =
        with(with(shell("nslookup store | grep -c 'Name:.*store'; env | grep STORE"), network), endpoint);
    let (_, out, err) = output(e, body)?;
    ensure!(out == "1\n", "{out:?} {err:?}");
    e.remove(&db)?;
    e.delete("/networks/links")?.expect(204)?;
    Ok(())
}

fn links_that_cannot_be_are_refused(e: &mut Engine) -> Result<()> {
    let create = |body: Value| e.post_json("/containers/create", body);
    create(with_link("true", "none:x"))?
        .refuses(400, "could not get container for none: No such container: none")?;
    // Docker calls some of these its own fault.
    let own_fault = if e.which == Which::Docker { 500 } else { 400 };
    create(with_link("true", "a:b:c"))?.refuses(own_fault, "bad format for links: a:b:c")?;
    let host = json!({ "HostConfig": { "NetworkMode": "host" } });
    let text = "conflicting options: host type networking can't be used with links. This would result in undefined behavior";
    create(with(with_link("true", "x"), host.clone()))?.refuses(400, text)?;
    let on_host = e.create("onhost", with(shell("true"), host))?;
    create(with_link("true", "onhost:x"))?.refuses(400, text)?;
    e.remove(&on_host)?;
    let idle = e.create("idle", shell("true"))?;
    let web = e.create("web", with_link("true", "idle:x"))?;
    let answer = e.post(&format!("/containers/{web}/start"))?;
    ensure!(
        answer.message() == "Cannot link to a non running container: /idle AS /web/x",
        "{}",
        answer.text()
    );
    e.remove(&web)?;
    e.remove(&idle)
}
