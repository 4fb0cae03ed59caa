//! From what the table should hold to the steps that make it so. Pure; a plan prints as nft's text.

use std::fmt;
use std::net::IpAddr;

use corten_sys::nft::{BaseChain, Element, Field, Hook, SetSpec, Transaction, Verdict};
use ipnet::IpNet;

use super::rule::{Action, Match, Membership, Rule};
use super::rules::{BridgeRules, PublishedPort, Rules};

const BRIDGES: &str = "bridges";
const PAIRS: &str = "pairs";
const OUTBOUND: &str = "outbound";
const INTERNAL: &str = "internal";
const QUIET: &str = "quiet";
const PORTS4: &str = "ports4";
const PORTS6: &str = "ports6";
const OWN4: &str = "own4";
const OWN6: &str = "own6";
const ANY4: &str = "any4";
const ANY6: &str = "any6";

/// Changes to our table that happen all or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    table: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Whatever was there under our name goes; the table is empty.
    Reset,
    Set(SetSpec),
    Chain(&'static str, Option<BaseChain>),
    Rule(&'static str, Rule),
    Add(&'static str, Vec<Entry>),
    Delete(&'static str, Vec<Entry>),
}

/// An element with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    element: Element,
}

fn sets() -> Vec<SetSpec> {
    const NAME: &[Field] = &[Field::INTERFACE];
    let set = |name, key| SetSpec { name, key, value: &[], ranges: false };
    let ranges = |name, key| SetSpec { name, key, value: &[], ranges: true };
    let map = |name, key, value| SetSpec { name, key, value, ranges: false };
    vec![
        set(BRIDGES, NAME),
        set(PAIRS, &[Field::INTERFACE, Field::INTERFACE]),
        set(OUTBOUND, NAME),
        set(INTERNAL, NAME),
        set(QUIET, NAME),
        ranges(OWN4, &[Field::IPV4, Field::INTERFACE]),
        ranges(OWN6, &[Field::IPV6, Field::INTERFACE]),
        map(PORTS4, &[Field::PROTOCOL, Field::IPV4, Field::PORT], &[Field::IPV4, Field::PORT]),
        map(PORTS6, &[Field::PROTOCOL, Field::IPV6, Field::PORT], &[Field::IPV6, Field::PORT]),
        map(ANY4, &[Field::PROTOCOL, Field::PORT], &[Field::IPV4, Field::PORT]),
        map(ANY6, &[Field::PROTOCOL, Field::PORT], &[Field::IPV6, Field::PORT]),
    ]
}

fn base(kind: &'static str, hook: Hook, priority: i32) -> Option<BaseChain> {
    Some(BaseChain { kind, hook, priority })
}

/// The chains with their rules; a chain comes before those that jump to it.
fn chains() -> Vec<(&'static str, Option<BaseChain>, Vec<Rule>)> {
    let when = |matches: &[Match], action: Action| Rule { matches: matches.to_vec(), action };
    let verdict = |matches: &[Match], verdict: Verdict| Rule {
        matches: matches.to_vec(),
        action: Action::Verdict(verdict),
    };
    let publish = |ipv6, map, address| Action::Publish { ipv6, map, address };
    let jump = || verdict(&[], Verdict::Jump("publish".into()));
    vec![
        (
            "within",
            None,
            vec![
                verdict(&[Match::Redirected], Verdict::Accept),
                verdict(&[Match::InterfaceIn(QUIET)], Verdict::Drop),
                verdict(&[], Verdict::Accept),
            ],
        ),
        (
            "publish",
            None,
            vec![
                when(&[], publish(false, PORTS4, true)),
                when(&[Match::ToThisHost], publish(false, ANY4, false)),
                when(&[], publish(true, PORTS6, true)),
                when(&[Match::ToThisHost, Match::NotLoopback6], publish(true, ANY6, false)),
            ],
        ),
        (
            "loopback",
            base("filter", Hook::Prerouting, -300),
            vec![
                verdict(&[Match::InterfaceIn(BRIDGES), Match::SourceLoopback], Verdict::Drop),
                verdict(&[Match::InterfaceIn(BRIDGES), Match::DestinationLoopback], Verdict::Drop),
            ],
        ),
        ("prerouting", base("nat", Hook::Prerouting, -100), vec![jump()]),
        ("output", base("nat", Hook::Output, -100), vec![jump()]),
        (
            "forward",
            base("filter", Hook::Forward, 0),
            vec![
                verdict(&[Match::Known], Verdict::Accept),
                verdict(&[Match::Interfaces(PAIRS, Membership::In)], Verdict::Goto("within".into())),
                verdict(&[Match::InterfaceIn(INTERNAL)], Verdict::Drop),
                verdict(&[Match::InterfaceOut(INTERNAL)], Verdict::Drop),
                verdict(&[Match::InterfaceOut(BRIDGES), Match::Redirected], Verdict::Accept),
                verdict(&[Match::InterfaceOut(BRIDGES)], Verdict::Drop),
            ],
        ),
        (
            "postrouting",
            base("nat", Hook::Postrouting, 100),
            vec![
                when(&[Match::SourceLoopback, Match::InterfaceOut(BRIDGES)], Action::Masquerade),
                when(
                    &[Match::Redirected, Match::SourceAndOut { ipv6: false, set: OWN4 }],
                    Action::Masquerade,
                ),
                when(&[Match::Redirected, Match::SourceAndOut { ipv6: true, set: OWN6 }], Action::Masquerade),
                when(
                    &[Match::InterfaceIn(OUTBOUND), Match::Interfaces(PAIRS, Membership::NotIn)],
                    Action::Masquerade,
                ),
            ],
        ),
    ]
}

/// The whole table, in place of whatever there was of it.
pub fn plan_all(table: &str, rules: &Rules) -> Plan {
    let mut steps = vec![Step::Reset];
    steps.extend(sets().into_iter().map(Step::Set));
    for (name, base, list) in chains() {
        steps.push(Step::Chain(name, base));
        steps.extend(list.into_iter().map(|rule| Step::Rule(name, rule)));
    }
    for (name, bridge) in &rules.bridges {
        steps.extend(bridge_steps(name, bridge));
    }
    steps.extend(port_steps(rules.ports.iter()));
    Plan { table: table.to_owned(), steps }
}

/// Adds a bridge.
pub fn plan_bridge(table: &str, name: &str, rules: &BridgeRules) -> Plan {
    Plan { table: table.to_owned(), steps: bridge_steps(name, rules) }
}

/// Adds published ports.
pub fn plan_ports(table: &str, ports: &[PublishedPort]) -> Plan {
    Plan { table: table.to_owned(), steps: port_steps(ports.iter()) }
}

fn bridge_steps(name: &str, rules: &BridgeRules) -> Vec<Step> {
    let mut key = name.as_bytes().to_vec();
    key.resize(16, 0);
    let entry = |key: Vec<u8>, text: String| Entry {
        text,
        element: Element { key, key_end: None, value: None, comment: String::new() },
    };
    let one = || vec![entry(key.clone(), format!("\"{name}\""))];
    let mut steps = vec![
        Step::Add(BRIDGES, one()),
        Step::Add(
            PAIRS,
            vec![entry([key.clone(), key.clone()].concat(), format!("\"{name}\" . \"{name}\""))],
        ),
    ];
    for (wanted, set) in [(rules.masquerade, OUTBOUND), (rules.internal, INTERNAL), (!rules.icc, QUIET)] {
        if wanted {
            steps.push(Step::Add(set, one()));
        }
    }
    for net in &rules.subnets {
        let set = if matches!(net, IpNet::V4(_)) { OWN4 } else { OWN6 };
        let bound = |address| [octets(address), key.clone()].concat();
        let mut own = entry(bound(net.network()), format!("{net} . \"{name}\""));
        own.element.key_end = Some(bound(net.broadcast()));
        steps.push(Step::Add(set, vec![own]));
    }
    steps
}

fn port_steps<'a>(ports: impl Iterator<Item = &'a PublishedPort>) -> Vec<Step> {
    let mut by_map: [(&'static str, Vec<Entry>); 4] =
        [(PORTS4, vec![]), (PORTS6, vec![]), (ANY4, vec![]), (ANY6, vec![])];
    for port in ports {
        let index = usize::from(port.host.is_ipv6()) + 2 * usize::from(port.host.is_unspecified());
        by_map[index].1.push(port_entry(port));
    }
    by_map.into_iter().filter(|(_, list)| !list.is_empty()).map(|(map, list)| Step::Add(map, list)).collect()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn port_bytes(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn port_entry(port: &PublishedPort) -> Entry {
    let mut key = vec![port.protocol.number(), 0, 0, 0];
    let mut text = format!("{} . ", port.protocol);
    if !port.host.is_unspecified() {
        key.extend(octets(port.host));
        text += &format!("{} . ", port.host);
    }
    key.extend(port_bytes(port.host_port));
    let mut value = octets(port.target.ip());
    value.extend(port_bytes(port.target.port()));
    text += &format!("{} : {} . {}", port.host_port, port.target.ip(), port.target.port());
    Entry { text, element: Element { key, key_end: None, value: Some(value), comment: String::new() } }
}

impl Plan {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan that takes back what this one added: its elements leave, last first.
    pub fn undo(&self) -> Self {
        let steps = self.steps.iter().rev().filter_map(|step| match step {
            Step::Add(set, list) => Some(Step::Delete(set, list.clone())),
            Step::Delete(set, list) => Some(Step::Add(set, list.clone())),
            _ => None,
        });
        Self { table: self.table.clone(), steps: steps.collect() }
    }

    pub(super) fn transaction(&self) -> Transaction {
        let mut transaction = Transaction::new(self.table.as_str());
        for step in &self.steps {
            match step {
                Step::Reset => {
                    // Only a table that is there can be deleted.
                    transaction.add_table();
                    transaction.delete_table();
                    transaction.add_table();
                }
                Step::Set(spec) => transaction.add_set(spec),
                Step::Chain(name, base) => transaction.add_chain(name, *base),
                Step::Rule(chain, rule) => transaction.add_rule(chain, &rule.expressions()),
                Step::Add(set, list) => transaction.add_elements(set, &elements(list)),
                Step::Delete(set, list) => transaction.delete_elements(set, &elements(list)),
            }
        }
        transaction
    }
}

fn elements(list: &[Entry]) -> Vec<Element> {
    list.iter().map(|entry| entry.element.clone()).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = format!("inet {}", self.table);
        let braces =
            |list: &[Entry]| list.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>().join(", ");
        for step in &self.steps {
            match step {
                Step::Reset => writeln!(f, "add table {table}\ndelete table {table}\nadd table {table}")?,
                Step::Set(spec) => {
                    let types =
                        |fields: &[Field]| fields.iter().map(type_name).collect::<Vec<_>>().join(" . ");
                    let (word, value) = if spec.value.is_empty() {
                        ("set", String::new())
                    } else {
                        ("map", format!(" : {}", types(spec.value)))
                    };
                    let flags = if spec.ranges { " flags interval;" } else { "" };
                    writeln!(
                        f,
                        "add {word} {table} {} {{ type {}{value};{flags} }}",
                        spec.name,
                        types(spec.key)
                    )?;
                }
                Step::Chain(name, None) => writeln!(f, "add chain {table} {name}")?,
                Step::Chain(name, Some(BaseChain { kind, hook, priority })) => {
                    let hook = format!("{hook:?}").to_lowercase();
                    writeln!(
                        f,
                        "add chain {table} {name} {{ type {kind} hook {hook} priority {priority}; policy accept; }}"
                    )?;
                }
                Step::Rule(chain, rule) => writeln!(f, "add rule {table} {chain} {rule}")?,
                Step::Add(set, list) => writeln!(f, "add element {table} {set} {{ {} }}", braces(list))?,
                Step::Delete(set, list) => {
                    writeln!(f, "delete element {table} {set} {{ {} }}", braces(list))?
                }
            }
        }
        Ok(())
    }
}

fn type_name(field: &Field) -> &'static str {
    match *field {
        Field::IPV4 => "ipv4_addr",
        Field::IPV6 => "ipv6_addr",
        Field::PROTOCOL => "inet_proto",
        Field::PORT => "inet_service",
        _ => "ifname",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::rules::Protocol;

    fn ports() -> Vec<PublishedPort> {
        let port = |host: &str, host_port, target: &str| PublishedPort {
            protocol: Protocol::Tcp,
            host: host.parse().unwrap(),
            host_port,
            target: target.parse().unwrap(),
        };
        vec![
            port("0.0.0.0", 8080, "172.17.0.2:80"),
            port("127.0.0.1", 8081, "172.17.0.2:81"),
            port("::", 8080, "[fd00::2]:80"),
            PublishedPort { protocol: Protocol::Udp, ..port("fd01::1", 53, "[fd00::2]:53") },
        ]
    }

    #[test]
    fn the_whole_table_prints_as_expected() {
        let mut rules = Rules::default();
        rules.bridges.insert(
            "corten0".into(),
            BridgeRules {
                masquerade: true,
                internal: false,
                icc: true,
                subnets: vec!["172.17.0.0/16".parse().unwrap()],
            },
        );
        rules.bridges.insert(
            "br-0".into(),
            BridgeRules {
                masquerade: false,
                internal: true,
                icc: false,
                subnets: vec!["fd00::/64".parse().unwrap()],
            },
        );
        rules.ports.extend(ports());
        let expected = include_str!("../../testdata/firewall/whole.nft");
        assert_eq!(plan_all("corten", &rules).to_string(), expected);
    }

    #[test]
    fn an_undone_plan_deletes_what_it_added_in_reverse() {
        let plan = plan_ports("corten", &ports()[..2]);
        assert_eq!(
            plan.undo().to_string(),
            "delete element inet corten any4 { tcp . 8080 : 172.17.0.2 . 80 }\n\
             delete element inet corten ports4 { tcp . 127.0.0.1 . 8081 : 172.17.0.2 . 81 }\n"
        );
        assert_eq!(plan.undo().undo(), plan);
        assert!(plan_ports("corten", &[]).is_empty());
    }
}
