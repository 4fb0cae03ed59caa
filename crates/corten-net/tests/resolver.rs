//! The resolver inside a container's network namespace, over UDP and TCP; needs root.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use corten_net::dns::{Directory, Server, Upstream, View};
use corten_net::sandbox::{RESOLVER, Sandbox};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn addresses(reply: &[u8]) -> Vec<String> {
    Message::from_vec(reply).unwrap().answers.iter().map(|record| record.data.to_string()).collect()
}

fn ask(sandbox: &Sandbox, name: &str) -> Vec<String> {
    sandbox
        .namespace()
        .enter(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket.send_to(&question(name), RESOLVER).unwrap();
            let mut buffer = [0; 1500];
            let length = socket.recv(&mut buffer).unwrap();
            addresses(&buffer[..length])
        })
        .unwrap()
}

/// A server of others' names inside the sandbox; whatever is asked is at 203.0.113.7.
fn start_upstream(sandbox: &Sandbox) -> Upstream {
    let socket = sandbox.namespace().enter(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
            let name = asked.queries[0].name.clone();
            reply.add_queries(asked.queries);
            let data = hickory_proto::rr::RData::A("203.0.113.7".parse().unwrap());
            reply.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
            socket.send_to(&reply.to_vec().unwrap(), from).unwrap();
        }
    });
    Upstream { address, netns: Some(sandbox.path().to_owned()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_answered_inside_and_others_are_asked_for() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::create(&folder.path().join("c"), &BTreeMap::new(), None).unwrap();
    let directory = Arc::new(Directory::default());
    directory.add_network("n", "net");
    directory.add_endpoint("n", "e", &["web".into()], &["10.0.0.2".parse().unwrap()]);
    let view = View { networks: vec!["n".into()], forward: true, ..View::default() };
    let upstream = vec![start_upstream(&sandbox)];
    let server = Server::start(sandbox.open_resolver().unwrap(), directory, view.clone(), upstream).unwrap();
    tokio::task::block_in_place(|| {
        assert_eq!(ask(&sandbox, "web."), ["10.0.0.2"]);
        assert_eq!(ask(&sandbox, "example.com."), ["203.0.113.7"]);
        server.set_view(View { forward: false, ..view });
        assert_eq!(ask(&sandbox, "example.com."), [""; 0]);
        // Two questions over one connection, while a silent client holds another.
        let answers = sandbox.namespace().enter(|| {
            let _silent = TcpStream::connect(RESOLVER).unwrap();
            let mut stream = TcpStream::connect(RESOLVER).unwrap();
            [(); 2].map(|()| {
                let question = question("web.net.");
                let length = u16::try_from(question.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &question].concat()).unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut reply = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut reply).unwrap();
                addresses(&reply)
            })
        });
        assert_eq!(answers.unwrap(), [["10.0.0.2"]; 2]);
    });
    drop(server);
    // The port is free again once the aborted tasks have let go of their sockets.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while sandbox.open_resolver().is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    sandbox.close().unwrap();
}
