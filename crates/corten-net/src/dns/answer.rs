use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

use super::directory::{Directory, Found, View};

/// Seconds that an answer about a neighbour may be kept: it may be gone, or another one, right afterwards.
const TTL: u32 = 1;

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This answer.
    Reply(Box<Message>),
    /// It goes outside, unchanged.
    Forward,
    /// It is no question; silence.
    Ignore,
}

/// Answers `question` as `view` sees the world. `turn` rotates several addresses of one name.
pub fn answer(directory: &Directory, view: &View, question: &[u8], turn: usize) -> Answer {
    let Ok(message) = Message::from_vec(question) else {
        return match question.get(..3) {
            // A header that can be read gets an answer; a response never does.
            Some(&[high, low, flags]) if flags & 0x80 == 0 => {
                let id = u16::from_be_bytes([high, low]);
                Answer::Reply(Box::new(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)))
            }
            _ => Answer::Ignore,
        };
    };
    if message.metadata.message_type != MessageType::Query {
        return Answer::Ignore;
    }
    let refuse = |code| {
        let mut reply = Message::error_msg(message.metadata.id, message.metadata.op_code, code);
        reply.add_queries(message.queries.clone());
        Answer::Reply(Box::new(reply))
    };
    if message.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [query] = &message.queries[..] else { return refuse(ResponseCode::FormErr) };
    let outside = || if view.forward { Answer::Forward } else { refuse(ResponseCode::ServFail) };
    if query.query_class != DNSClass::IN {
        return outside();
    }
    let mut name = query.name.to_lowercase().to_ascii();
    if name.ends_with('.') {
        name.pop();
    }
    let reply = |answers: Vec<RData>| {
        let mut reply = Message::response(message.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        reply.add_answers(answers.into_iter().map(|data| Record::from_rdata(query.name.clone(), TTL, data)));
        if message.edns.is_some() {
            let mut edns = hickory_proto::op::Edns::new();
            edns.set_max_payload(1232);
            reply.set_edns(edns);
        }
        Answer::Reply(Box::new(reply))
    };
    match query.query_type {
        RecordType::PTR => match query.name.parse_arpa_name() {
            Ok(net) if net.prefix_len() == net.max_prefix_len() => {
                match directory
                    .reverse(view, net.addr())
                    .and_then(|name| Name::from_ascii(format!("{name}.")).ok())
                {
                    Some(name) => reply(vec![RData::PTR(PTR(name))]),
                    None => outside(),
                }
            }
            _ => outside(),
        },
        wanted => match directory.lookup(view, &name) {
            Found::Addresses(mut addresses) => {
                let shift = turn % addresses.len();
                addresses.rotate_left(shift);
                let data = addresses.into_iter().filter_map(|address| match (wanted, address) {
                    (RecordType::A, IpAddr::V4(v4)) => Some(RData::A(A(v4))),
                    (RecordType::AAAA, IpAddr::V6(v6)) => Some(RData::AAAA(AAAA(v6))),
                    _ => None,
                });
                // A neighbour without what was asked for still exists: no records, and nobody outside is asked.
                reply(data.collect())
            }
            Found::Nobody if view.ndots_set && !name.contains('.') && is_address(wanted) => {
                refuse(ResponseCode::NXDomain)
            }
            Found::Nobody => outside(),
        },
    }
}

fn is_address(kind: RecordType) -> bool {
    matches!(kind, RecordType::A | RecordType::AAAA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;

    fn world() -> (Directory, View) {
        let directory = Directory::default();
        directory.add_network("n1", "Front");
        directory.add_network("n2", "back");
        let add = |network, endpoint, names: &[&str], addresses: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            directory.add_endpoint(network, endpoint, &names, &addresses);
        };
        add("n1", "e1", &["Web", "app", "d4b0e75b0237"], &["10.0.0.2", "fd00::2"]);
        add("n1", "e2", &["web2", "app"], &["10.0.0.3"]);
        add("n2", "e3", &["db"], &["10.1.0.2"]);
        let links = vec![("lnk".into(), "n1".into(), "web2".into())];
        (directory, View { networks: vec!["n1".into()], links, forward: true, ndots_set: false })
    }

    fn ask(directory: &Directory, view: &View, name: &str, kind: RecordType) -> Answer {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        answer(directory, view, &message.to_vec().unwrap(), 0)
    }

    fn data(answer: Answer) -> Vec<String> {
        let Answer::Reply(message) = answer else { panic!("{answer:?}") };
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        message.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn neighbours_are_found_by_all_their_names() {
        let (directory, view) = world();
        let a = |name| data(ask(&directory, &view, name, RecordType::A));
        for name in ["web.", "WEB.", "d4b0e75b0237.", "web.front."] {
            assert_eq!(a(name), ["10.0.0.2"], "{name}");
        }
        assert_eq!(a("app."), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(a("lnk."), ["10.0.0.3"]);
        assert_eq!(data(ask(&directory, &view, "web.", RecordType::AAAA)), ["fd00::2"]);
        assert_eq!(data(ask(&directory, &view, "web2.", RecordType::AAAA)), [""; 0]);
        assert_eq!(data(ask(&directory, &view, "web2.", RecordType::MX)), [""; 0]);
        assert_eq!(data(ask(&directory, &view, "3.0.0.10.in-addr.arpa.", RecordType::PTR)), ["web2.front."]);
    }

    #[test]
    fn others_are_asked_outside_or_nowhere() {
        let (directory, mut view) = world();
        for name in ["db.", "example.com.", "web.back."] {
            assert_eq!(ask(&directory, &view, name, RecordType::A), Answer::Forward, "{name}");
        }
        assert_eq!(ask(&directory, &view, "2.0.1.10.in-addr.arpa.", RecordType::PTR), Answer::Forward);
        view.forward = false;
        let Answer::Reply(reply) = ask(&directory, &view, "example.com.", RecordType::A) else { panic!() };
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        view.networks.push("n2".into());
        assert_eq!(data(ask(&directory, &view, "db.", RecordType::A)), ["10.1.0.2"]);
        directory.remove_endpoint("n2", "e3");
        assert!(matches!(directory.lookup(&view, "db"), Found::Nobody));
    }

    #[test]
    fn what_is_no_question_gets_no_harm() {
        let (directory, view) = world();
        assert_eq!(answer(&directory, &view, &[], 0), Answer::Ignore);
        assert_eq!(answer(&directory, &view, &[1, 2, 0x80, 0, 0], 0), Answer::Ignore);
        assert!(matches!(answer(&directory, &view, &[1, 2, 0, 0, 0], 0), Answer::Reply(_)));
        let empty = Message::query().to_vec().unwrap();
        assert!(matches!(answer(&directory, &view, &empty, 0), Answer::Reply(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
            let (directory, view) = world();
            answer(&directory, &view, &bytes, 0);
        }
    }
}
