use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corten_tests::engine::Engine;
use corten_tests::namespace;
use serde_json::{Value, json};

use crate::case::{array, cases, encode, output, shell, with};

cases![
    Both link_local_addresses_are_given,
    Both the_three_networks_are_there,
    Both a_published_port_is_reached_from_loopback_and_from_the_hosts_address,
    Both udp_is_published,
    Both a_port_that_is_taken_is_refused,
    Both names_and_aliases_resolve_on_a_users_network,
    Both a_container_joins_and_leaves_a_network,
    Both networks_are_apart,
    Both a_fixed_address_is_given,
    Both host_and_none,
    Both generated_files_hold_names_and_resolvers,
    Both a_network_in_use_is_not_removed,
    Both pools_do_not_overlap,
    Both list_filters_and_prune,
];

const SERVER: &str = "mkdir -p /srv; echo it runs > /srv/index.html; exec httpd -f -p 80 -h /srv";

fn get_page(address: SocketAddr) -> Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).with_context(|| address.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn inspect(e: &Engine, id: &str) -> Result<Value> {
    e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()
}

fn network(e: &Engine, body: Value) -> Result<String> {
    let answer = e.post_json("/networks/create", body)?.expect(201)?.json()?;
    Ok(answer["Id"].as_str().context("no Id")?.to_owned())
}

fn the_three_networks_are_there(e: &mut Engine) -> Result<()> {
    for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
        let network = e.get(&format!("/networks/{name}"))?.expect(200)?.json()?;
        ensure!(
            network["Driver"] == driver && network["Scope"] == "local" && network["Name"] == name,
            "{network}"
        );
        e.delete(&format!("/networks/{name}"))?
            .refuses(403, &format!("{name} is a pre-defined network and cannot be removed"))?;
    }
    Ok(())
}

fn a_published_port_is_reached_from_loopback_and_from_the_hosts_address(e: &mut Engine) -> Result<()> {
    let id = e.run("", with(shell(SERVER), json!({ "ExposedPorts": { "80/tcp": {} }, "HostConfig": { "PortBindings": { "80/tcp": [{ "HostPort": "" }] } } })))?;
    let port: u16 = inspect(e, &id)?["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
        .as_str()
        .context("no port")?
        .parse()?;
    let gateway = e.get("/networks/bridge")?.json()?["IPAM"]["Config"][0]["Gateway"]
        .as_str()
        .context("no gateway")?
        .to_owned();
    for host in ["127.0.0.1", gateway.as_str()] {
        let address: SocketAddr = format!("{host}:{port}").parse()?;
        let page = e.until(host, || e.within(|| get_page(address)).map(Result::ok))?;
        ensure!(page.contains("it runs"), "{host}: {page:?}");
    }
    // From another container, by the host's address.
    let (_, out, err) = output(e, shell(&format!("wget -q -O - http://{gateway}:{port}/")))?;
    ensure!(out == "it runs\n", "{out:?} {err:?}");
    e.remove(&id)
}

fn udp_is_published(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("exec sleep 100"),
        json!({ "ExposedPorts": { "53/udp": {} }, "HostConfig": { "PortBindings": { "53/udp": [{ "HostIp": "127.0.0.1", "HostPort": "" }] } } }),
    );
    let id = e.run("", body)?;
    let container = inspect(e, &id)?;
    let port = &container["NetworkSettings"]["Ports"]["53/udp"][0]["HostPort"];
    let port: u16 = port.as_str().context("no port")?.parse()?;
    let inside = format!("/proc/{}/ns/net", container["State"]["Pid"]);
    let bind = |address: &str| -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(socket)
    };
    let server = namespace::within(inside.as_ref(), || bind("0.0.0.0:53"))?;
    let client = e.within(|| bind("127.0.0.1:0"))??;
    client.send_to(b"ping", ("127.0.0.1", port))?;
    let mut buffer = [0; 16];
    let (n, from) = server.recv_from(&mut buffer).context("the container received nothing")?;
    server.send_to(&buffer[..n], from)?;
    let n = client.recv(&mut buffer).context("no echo")?;
    ensure!(&buffer[..n] == b"ping");
    e.remove(&id)
}

fn a_port_that_is_taken_is_refused(e: &mut Engine) -> Result<()> {
    let publish = |port: &str| {
        with(
            shell("exec sleep 100"),
            json!({ "ExposedPorts": { "80/tcp": {} }, "HostConfig": { "PortBindings": { "80/tcp": [{ "HostPort": port }] } } }),
        )
    };
    let first = e.run("", publish("18099"))?;
    let second = e.create("", publish("18099"))?;
    let answer = e.post(&format!("/containers/{second}/start"))?;
    ensure!(
        answer.status >= 400 && answer.message().contains(":18099 failed: port is already allocated"),
        "{}",
        answer.message()
    );
    e.remove(&first)?;
    e.post(&format!("/containers/{second}/start"))?.expect(204)?;
    e.remove(&second)
}

fn names_and_aliases_resolve_on_a_users_network(e: &mut Engine) -> Result<()> {
    network(e, json!({ "Name": "names" }))?;
    let on = |script: &str, aliases: Value| {
        with(
            shell(script),
            json!({ "HostConfig": { "NetworkMode": "names" }, "NetworkingConfig": { "EndpointsConfig": { "names": { "Aliases": aliases } } } }),
        )
    };
    let server = e.run("server", on(SERVER, json!(["web", "www"])))?;
    let (code, out, err) = output(
        e,
        on(
            "for n in server web www; do a=$(nslookup $n 127.0.0.11 | grep -A1 ^Name: | sed -n \"s/Address: //p\" | head -n 1); wget -q -O - http://$a/; done; cat /etc/resolv.conf",
            json!([]),
        ),
    )?;
    ensure!(code == 0 && out.starts_with("it runs\nit runs\nit runs\n"), "{out:?} {err:?}");
    ensure!(out.contains("nameserver 127.0.0.11\n"), "{out:?}");
    let (code, _, _) = output(e, on("nslookup none-such.invalid 127.0.0.11 > /dev/null 2>&1", json!([])))?;
    ensure!(code != 0);
    e.remove(&server)?;
    e.delete("/networks/names")?.expect(204)?;
    Ok(())
}

fn a_container_joins_and_leaves_a_network(e: &mut Engine) -> Result<()> {
    network(e, json!({ "Name": "later", "IPAM": { "Config": [{ "Subnet": "10.77.0.0/24" }] } }))?;
    let id = e.run("joiner", shell("exec sleep 100"))?;
    e.post_json(
        "/networks/later/connect",
        json!({ "Container": id, "EndpointConfig": { "Aliases": ["extra"] } }),
    )?
    .expect(200)?;
    let settings = inspect(e, &id)?["NetworkSettings"]["Networks"]["later"].clone();
    ensure!(
        settings["IPAddress"] == "10.77.0.2"
            && settings["IPPrefixLen"] == 24
            && settings["Gateway"] == "10.77.0.1",
        "{settings}"
    );
    ensure!(
        settings["DNSNames"]
            .as_array()
            .is_some_and(|n| n.contains(&json!("extra")) && n.contains(&json!("joiner"))),
        "{settings}"
    );
    let seen = e.get("/networks/later")?.json()?["Containers"][&id].clone();
    ensure!(seen["IPv4Address"] == "10.77.0.2/24" && seen["Name"] == "joiner", "{seen}");
    e.post_json("/networks/later/connect", json!({ "Container": id }))?
        .refuses(403, "endpoint with name joiner already exists in network later")?;
    e.post_json("/networks/later/disconnect", json!({ "Container": id }))?.expect(200)?;
    ensure!(inspect(e, &id)?["NetworkSettings"]["Networks"]["later"].is_null());
    e.remove(&id)?;
    e.delete("/networks/later")?.expect(204)?;
    Ok(())
}

fn networks_are_apart(e: &mut Engine) -> Result<()> {
    network(e, json!({ "Name": "apart" }))?;
    let server = e.run("", shell(SERVER))?;
    let address =
        inspect(e, &server)?["NetworkSettings"]["IPAddress"].as_str().context("no address")?.to_owned();
    let ask = format!("timeout 2 wget -q -O - http://{address}/; exit $?");
    let same = output(e, shell(&ask))?;
    ensure!(same.1 == "it runs\n", "{same:?}");
    let other = output(e, with(shell(&ask), json!({ "HostConfig": { "NetworkMode": "apart" } })))?;
    ensure!(other.0 != 0 && other.1.is_empty(), "{other:?}");
    e.remove(&server)?;
    e.delete("/networks/apart")?.expect(204)?;
    Ok(())
}

fn a_fixed_address_is_given(e: &mut Engine) -> Result<()> {
    network(
        e,
        json!({ "Name": "fixed", "IPAM": { "Config": [{ "Subnet": "10.78.0.0/24", "Gateway": "10.78.0.9" }] } }),
    )?;
    let at = |address: &str| {
        with(
            shell("ip -o -4 addr show eth0 | tr -s ' ' | cut -d' ' -f4; ip route | head -n 1"),
            json!({ "HostConfig": { "NetworkMode": "fixed" }, "NetworkingConfig": { "EndpointsConfig": { "fixed": { "IPAMConfig": { "IPv4Address": address } } } } }),
        )
    };
    let id = e.run("", at("10.78.0.50"))?;
    e.wait(&id)?;
    let (out, err) = e.logs(&id)?;
    ensure!(out.contains("default via 10.78.0.9 dev eth0"), "{out:?} {err:?}");
    e.remove(&id)?;
    let wrong = e.create("", at("10.99.0.1"));
    if let Ok(id) = wrong {
        let answer = e.post(&format!("/containers/{id}/start"))?;
        ensure!(answer.status >= 400, "an address outside the subnet was taken: {}", answer.status);
        e.remove(&id)?;
    }
    e.delete("/networks/fixed")?.expect(204)?;
    Ok(())
}

fn host_and_none(e: &mut Engine) -> Result<()> {
    let links = |mode: &str| {
        with(shell("ls /sys/class/net | tr '\\n' ' '"), json!({ "HostConfig": { "NetworkMode": mode } }))
    };
    let (_, out, _) = output(e, links("none"))?;
    ensure!(out == "lo ", "{out:?}");
    let id = e.run("", with(shell("exec sleep 100"), json!({ "HostConfig": { "NetworkMode": "host" } })))?;
    let pid = inspect(e, &id)?["State"]["Pid"].as_i64().context("no pid")?;
    ensure!(
        std::fs::read_link(format!("/proc/{pid}/ns/net"))?
            == std::fs::read_link(format!("/proc/{}/ns/net", e.pid()))?
    );
    e.remove(&id)
}

fn generated_files_hold_names_and_resolvers(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("cat /etc/hosts; cat /etc/resolv.conf; cat /etc/hostname"),
        json!({ "Hostname": "steel", "HostConfig": { "ExtraHosts": ["db:10.0.0.5"], "Dns": ["10.1.1.1"], "DnsSearch": ["example.test"], "DnsOptions": ["ndots:2"] } }),
    );
    let (_, out, _) = output(e, body)?;
    for line in [
        "127.0.0.1\tlocalhost\n",
        "10.0.0.5\tdb\n",
        "\tsteel\n",
        "nameserver 10.1.1.1\n",
        "search example.test\n",
        "options ndots:2\n",
    ] {
        ensure!(out.contains(line), "no {line:?} in {out}");
    }
    ensure!(out.ends_with("steel\n"));
    Ok(())
}

fn a_network_in_use_is_not_removed(e: &mut Engine) -> Result<()> {
    network(e, json!({ "Name": "busy" }))?;
    let id =
        e.run("user", with(shell("exec sleep 100"), json!({ "HostConfig": { "NetworkMode": "busy" } })))?;
    e.delete("/networks/busy")?.refuses(
        403,
        "error while removing network: network busy has active endpoints (name:\"user\" id:\"",
    )?;
    e.remove(&id)?;
    e.delete("/networks/busy")?.expect(204)?;
    e.get("/networks/busy")?.refuses(404, "network busy not found")
}

fn pools_do_not_overlap(e: &mut Engine) -> Result<()> {
    network(e, json!({ "Name": "pool-a", "IPAM": { "Config": [{ "Subnet": "10.79.0.0/16" }] } }))?;
    let overlapping = json!({ "Name": "pool-b", "IPAM": { "Config": [{ "Subnet": "10.79.1.0/24" }] } });
    e.post_json("/networks/create", overlapping)?
        .refuses(403, "Pool overlaps with other one on this address space")?;
    e.post_json("/networks/create", json!({ "Name": "pool-a" }))?
        .refuses(409, "network with name pool-a already exists")?;
    e.delete("/networks/pool-a")?.expect(204)?;
    Ok(())
}

fn list_filters_and_prune(e: &mut Engine) -> Result<()> {
    network(e, json!({ "Name": "pruned", "Labels": { "prune": "me" }, "Internal": true }))?;
    let list = array(
        e.get(&format!("/networks?filters={}", encode(r#"{"label":["prune=me"]}"#)))?.expect(200)?.json()?,
    );
    ensure!(list.len() == 1 && list[0]["Name"] == "pruned" && list[0]["Internal"] == true, "{list:?}");
    let pruned = e
        .post(&format!("/networks/prune?filters={}", encode(r#"{"label":["prune=me"]}"#)))?
        .expect(200)?
        .json()?;
    ensure!(pruned["NetworksDeleted"] == json!(["pruned"]), "{pruned}");
    Ok(())
}

fn link_local_addresses_are_given(e: &mut Engine) -> Result<()> {
    let endpoint = json!({ "IPAMConfig": { "LinkLocalIPs": ["169.254.8.8"] } });
    let body = with(
        shell("ip -4 addr show eth0 | grep -c 169.254.8.8/16"),
        json!({ "NetworkingConfig": { "EndpointsConfig": { "bridge": endpoint } }, "HostConfig": { "NetworkMode": "bridge" } }),
    );
    let id = e.run("", body)?;
    e.wait(&id)?;
    let (out, err) = e.logs(&id)?;
    ensure!(out == "1\n", "{out:?} {err:?}");
    let inspect = e.get(&format!("/containers/{id}/json"))?.json()?;
    let shown = &inspect["NetworkSettings"]["Networks"]["bridge"]["IPAMConfig"]["LinkLocalIPs"];
    ensure!(*shown == json!(["169.254.8.8"]), "{shown}");
    e.remove(&id)
}
