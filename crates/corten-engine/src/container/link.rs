//! Legacy links of the default bridge: one container knows another by an alias, in its hosts file, in its environment and as the name
//! `/parent/alias` of the other. On networks with names of their own a link is an alias there, and nothing of this applies.
//!
//! A record holds `<id>:<alias>`, so that a rename breaks nothing; names are put in when they are shown. The link belongs to the parent,
//! the container that was created with it: who the other one is known as is found by asking the parents.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_api::container::{Config, HostConfig};

use super::owner::Owner;
use super::record::Record;
use super::validate::{Invalid, invalid, parse_port};
use super::{Container, ContainerError, Containers, Shared, View};

/// The network on which links are what this module says.
const NETWORK: &str = "bridge";

/// A link as a record holds it.
fn split(link: &str) -> (&str, &str) {
    link.split_once(':').unwrap_or((link, link))
}

/// Takes `container[:alias]`, or `/container:/parent/alias` as inspect shows it, apart.
pub fn parse(text: &str) -> Result<(&str, &str), Invalid> {
    if text.is_empty() {
        return invalid("empty string specified for links");
    }
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [name] => Ok((name, name)),
        [name, alias] => match name.strip_prefix('/') {
            Some(name) => Ok((name, alias.rsplit('/').next().unwrap_or(alias))),
            None => Ok((name, alias)),
        },
        _ => invalid(format!("bad format for links: {text}")),
    }
}

/// Puts the ids of the linked containers into a request.
pub(super) fn resolve(shared: &Shared, host: &mut HostConfig) -> Result<(), Invalid> {
    if !matches!(host.network_mode.as_str(), "bridge" | "none") {
        return Ok(());
    }
    for link in host.links.iter_mut().flatten() {
        let (name, alias) = parse(link)?;
        let missing =
            |name: &str| Invalid(format!("could not get container for {name}: No such container: {name}"));
        let mut other = shared.find(name).map_err(|_| missing(name))?;
        // The stack that is meant is that of whoever owns it.
        while let Some(owner) = other.view().record.host.network_mode.strip_prefix("container:") {
            other = shared.find(owner).map_err(|_| missing(owner))?;
        }
        if other.view().record.host.network_mode == "host" {
            return invalid(super::validate::HOST_NETWORK_AND_LINKS);
        }
        *link = format!("{}:{alias}", other.id());
    }
    Ok(())
}

/// The containers a record is linked to, with their aliases.
fn linked<'a>(shared: &'a Shared, record: &'a Record) -> impl Iterator<Item = (Arc<Container>, &'a str)> {
    let on_bridge = record.networks.contains_key(NETWORK);
    let links = record.host.links.iter().flatten().filter(move |_| on_bridge);
    // One that was removed since takes its link with it.
    links.map(|link| split(link)).filter_map(|(id, alias)| Some((shared.find(id).ok()?, alias)))
}

/// Refuses a start while a linked container does not run.
pub(super) fn check(shared: &Shared, record: &Record) -> Result<(), ContainerError> {
    for (other, alias) in linked(shared, record) {
        let view = other.view();
        let name = &view.record.name;
        if view.live.state.run().is_none() {
            let text = format!("Cannot link to a non running container: /{name} AS /{}/{alias}", record.name);
            return Err(ContainerError::Join(text));
        }
        if !view.live.network.endpoints.contains_key(NETWORK) {
            let text = format!("Cannot link to /{name}, as it does not belong to the default network");
            return Err(ContainerError::Join(text));
        }
    }
    Ok(())
}

/// The variables that tell a container of those it is linked to.
pub(super) fn environment(shared: &Shared, record: &Record) -> Vec<String> {
    let mut env = Vec::new();
    for (other, alias) in linked(shared, record) {
        let view = other.view();
        let address = view.live.network.endpoints.get(NETWORK).map(|one| one.ip_address.clone());
        env.extend(variables(&record.name, alias, &view.record.config, &address.unwrap_or_default()));
    }
    env
}

/// The variables for one link. Ports are sorted, TCP first; consecutive ones are told as a range too.
fn variables(parent: &str, alias: &str, other: &Config, address: &str) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let exposed = other.exposed_ports.iter().flatten().filter_map(|(port, _)| parse_port(port));
    let mut ports: Vec<(u16, &str)> = exposed.collect();
    ports.sort_by_key(|(port, protocol)| (*protocol != "tcp", *protocol, *port));
    let mut env = Vec::new();
    if let Some((port, protocol)) = ports.first() {
        env.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
    }
    let name = |(port, protocol): (u16, &str)| format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
    let follows = |a: &(u16, &str), b: &(u16, &str)| a.1 == b.1 && u32::from(a.0) + 1 == u32::from(b.0);
    for range in ports.chunk_by(follows) {
        for &(port, protocol) in range {
            let name = name((port, protocol));
            env.push(format!("{name}={protocol}://{address}:{port}"));
            env.push(format!("{name}_ADDR={address}"));
            env.push(format!("{name}_PORT={port}"));
            env.push(format!("{name}_PROTO={protocol}"));
        }
        if let [first, .., last] = range {
            let (name, protocol) = (name(*first), first.1);
            env.push(format!("{name}_START={protocol}://{address}:{}", first.0));
            env.push(format!("{name}_PORT_START={}", first.0));
            env.push(format!("{name}_END={protocol}://{address}:{}", last.0));
            env.push(format!("{name}_PORT_END={}", last.0));
        }
    }
    env.push(format!("{prefix}_NAME=/{parent}/{alias}"));
    for (key, value) in other.env.iter().flatten().filter_map(|variable| variable.split_once('=')) {
        if !matches!(key, "HOME" | "PATH") {
            env.push(format!("{prefix}_ENV_{key}={value}"));
        }
    }
    env
}

/// The links of a record as inspect shows them, `/container:/parent/alias`.
pub(super) fn shown(shared: &Shared, record: &Record) -> Option<Vec<String>> {
    let links = record.host.links.as_ref()?;
    if !record.networks.contains_key(NETWORK) {
        return Some(links.clone());
    }
    let show = |(other, alias): (Arc<Container>, &str)| {
        format!("/{}:/{}/{alias}", other.view().record.name, record.name)
    };
    Some(linked(shared, record).map(show).collect())
}

/// The names that links give to containers, `/parent/alias`, by the id of who is called so.
pub(super) fn names(views: &[Arc<View>]) -> BTreeMap<&str, Vec<String>> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for view in views.iter().filter(|view| view.record.networks.contains_key(NETWORK)) {
        for (id, alias) in view.record.host.links.iter().flatten().map(|link| split(link)) {
            names.entry(id).or_default().push(format!("/{}/{alias}", view.record.name));
        }
    }
    names
}

impl Shared {
    /// The parent and the alias of `parent/alias`, if that is a link.
    pub(super) fn find_link(&self, text: &str) -> Option<(Arc<Container>, String)> {
        let (parent, alias) = text.strip_prefix('/').unwrap_or(text).split_once('/')?;
        let parent = self.find(parent).ok()?;
        let view = parent.view();
        let mut links = view.record.host.links.iter().flatten().map(|link| split(link));
        let (id, _) = links.find(|(_, known)| *known == alias)?;
        Some((parent.clone(), id.to_owned()))
    }
}

impl Containers {
    /// The variables that tell a container of those it is linked to.
    pub(crate) fn link_environment(&self, container: &Container) -> Vec<String> {
        environment(&self.shared, &container.view().record)
    }

    /// Takes the link `parent/alias` away; both containers stay.
    pub(super) async fn remove_link(&self, name: &str) -> Result<(), ContainerError> {
        let text = name.strip_prefix('/').unwrap_or(name);
        let Some((parent, alias)) = text.split_once('/') else {
            self.find(name)?;
            let text = "Conflict, cannot remove the default link name of the container";
            return Err(ContainerError::Join(text.into()));
        };
        let Some((parent, _)) = self.shared.find_link(&format!("{parent}/{alias}")) else {
            return Err(ContainerError::NotFound(name.to_owned()));
        };
        let alias = alias.to_owned();
        parent.ask(move |owner| Box::pin(owner.unlink(alias))).await?
    }
}

impl Owner {
    async fn unlink(&mut self, alias: String) -> Result<(), ContainerError> {
        let record = Arc::make_mut(&mut self.view.record);
        if let Some(links) = &mut record.host.links {
            links.retain(|link| split(link).1 != alias);
        }
        let links = record.host.links.clone().unwrap_or_default();
        self.persist_record().await?;
        self.publish();
        self.shared.networks.set_links(self.id(), links);
        Ok(())
    }

    /// Tells those that are linked to this container where it is now.
    pub(super) fn tell_parents(&self) {
        let views = Containers { shared: self.shared.clone() }.views();
        for view in views.iter().filter(|view| view.live.state.run().is_some()) {
            let links = view.record.host.links.clone().unwrap_or_default();
            if links.iter().any(|link| split(link).0 == self.id()) {
                self.shared.networks.set_links(&view.record.id, links);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_taken_apart_as_docker_does() {
        assert_eq!(parse("db"), Ok(("db", "db")));
        assert_eq!(parse("db:store"), Ok(("db", "store")));
        assert_eq!(parse("/db:/web/store"), Ok(("db", "store")));
        assert_eq!(parse("").unwrap_err().to_string(), "empty string specified for links");
        assert_eq!(parse("a:b:c").unwrap_err().to_string(), "bad format for links: a:b:c");
    }

    #[test]
    fn variables_tell_of_ports_ranges_and_the_others_environment() {
        let ports = ["6379/tcp", "6381/tcp", "6380/tcp", "53/udp"];
        let other = Config {
            env: Some(vec!["PASSWORD=gordon".into(), "PATH=/bin".into(), "ODD".into()]),
            exposed_ports: Some(ports.map(|port| (port.to_owned(), Default::default())).into()),
            ..Config::default()
        };
        let expected = "\
            MY_DB_PORT=tcp://172.0.17.2:6379
            MY_DB_PORT_6379_TCP=tcp://172.0.17.2:6379
            MY_DB_PORT_6379_TCP_ADDR=172.0.17.2
            MY_DB_PORT_6379_TCP_PORT=6379
            MY_DB_PORT_6379_TCP_PROTO=tcp
            MY_DB_PORT_6380_TCP=tcp://172.0.17.2:6380
            MY_DB_PORT_6380_TCP_ADDR=172.0.17.2
            MY_DB_PORT_6380_TCP_PORT=6380
            MY_DB_PORT_6380_TCP_PROTO=tcp
            MY_DB_PORT_6381_TCP=tcp://172.0.17.2:6381
            MY_DB_PORT_6381_TCP_ADDR=172.0.17.2
            MY_DB_PORT_6381_TCP_PORT=6381
            MY_DB_PORT_6381_TCP_PROTO=tcp
            MY_DB_PORT_6379_TCP_START=tcp://172.0.17.2:6379
            MY_DB_PORT_6379_TCP_PORT_START=6379
            MY_DB_PORT_6379_TCP_END=tcp://172.0.17.2:6381
            MY_DB_PORT_6379_TCP_PORT_END=6381
            MY_DB_PORT_53_UDP=udp://172.0.17.2:53
            MY_DB_PORT_53_UDP_ADDR=172.0.17.2
            MY_DB_PORT_53_UDP_PORT=53
            MY_DB_PORT_53_UDP_PROTO=udp
            MY_DB_NAME=/web/my-db
            MY_DB_ENV_PASSWORD=gordon";
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        assert_eq!(variables("web", "my-db", &other, "172.0.17.2"), expected);
    }
}
