use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::netns::Namespace;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// A server that others' names are asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its address; port 53.
    pub address: SocketAddr,
    /// The namespace it is asked from; `None` is the daemon's.
    pub netns: Option<PathBuf>,
}

impl Upstream {
    /// Asks it, over UDP or TCP. The answer comes with the client's own id.
    pub(super) async fn ask(&self, question: &[u8], stream: bool) -> io::Result<Vec<u8>> {
        let work = async {
            if stream { self.ask_stream(question).await } else { self.ask_datagram(question).await }
        };
        timeout(PATIENCE, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Ids and ports are random each time, so that a forged answer has to guess both.
    async fn ask_datagram(&self, question: &[u8]) -> io::Result<Vec<u8>> {
        let any: IpAddr =
            if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = self
            .open(move || {
                let socket = std::net::UdpSocket::bind((any, 0))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .await?;
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(self.address).await?;
        let asked = with_random_id(question)?;
        socket.send(&asked).await?;
        let mut buffer = vec![0; 65535];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if answers(&asked, &buffer[..length]) {
                return Ok(with_id_of(question, &buffer[..length]));
            }
        }
    }

    async fn ask_stream(&self, question: &[u8]) -> io::Result<Vec<u8>> {
        let address = self.address;
        let mut stream = if self.netns.is_some() {
            let stream = self
                .open(move || {
                    let stream = std::net::TcpStream::connect_timeout(&address, PATIENCE)?;
                    stream.set_nonblocking(true)?;
                    Ok(stream)
                })
                .await?;
            TcpStream::from_std(stream)?
        } else {
            TcpStream::connect(address).await?
        };
        let asked = with_random_id(question)?;
        let length = u16::try_from(asked.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        stream.write_all(&[&length.to_be_bytes()[..], &asked].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        if !answers(&asked, &answer) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(with_id_of(question, &answer))
    }

    /// Opens a socket in the namespace this server is asked from.
    async fn open<T: Send + 'static>(
        &self,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(path) = self.netns.clone() else { return open() };
        let opened = tokio::task::spawn_blocking(move || Namespace::open(&path)?.enter(open)?).await;
        opened.map_err(io::Error::other)?
    }
}

fn with_random_id(question: &[u8]) -> io::Result<Vec<u8>> {
    let mut asked = question.to_vec();
    let id = asked.get_mut(..2).ok_or(io::ErrorKind::InvalidInput)?;
    let hex = corten_types::random_hex(2);
    id.copy_from_slice(&u16::from_str_radix(&hex, 16).unwrap_or(0).to_be_bytes());
    Ok(asked)
}

fn with_id_of(question: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    answer[..2].copy_from_slice(&question[..2]);
    answer
}

/// Whether `answer` is a response to what was asked: same id, response bit, and the question repeated if there is one.
fn answers(asked: &[u8], answer: &[u8]) -> bool {
    if answer.len() < 12 || answer[..2] != asked[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    let has_question = answer[4..6] != [0, 0];
    let question = question_bytes(asked);
    // Letters may differ in case only when the server changes them, which none should.
    !has_question || question.is_some_and(|question| answer[12..].to_ascii_lowercase().starts_with(&question))
}

/// The first question (name, type, class) in small letters; a question's name is never compressed.
fn question_bytes(message: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    loop {
        let length = usize::from(*message.get(end)?);
        end += 1 + length;
        match length {
            0 => break,
            1..=63 => {}
            _ => return None,
        }
    }
    message.get(12..end + 4).map(<[u8]>::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03Www\x00\x00\x01\x00\x01";
        let mut answer = asked.to_vec();
        assert!(!answers(asked, &answer));
        answer[2] = 0x81;
        answer.extend(b"more");
        assert!(answers(asked, &answer));
        answer[0] = 0;
        assert!(!answers(asked, &answer));
        answer[0] = 0x12;
        answer[13] = b'x';
        assert!(!answers(asked, &answer));
        assert!(!answers(asked, &answer[..11]));
    }
}
