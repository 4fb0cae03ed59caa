use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a daemon listens, as `-H` and `DOCKER_HOST` write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///path`
    Unix(PathBuf),
    /// `tcp://host:port[/base]`; with TLS where the options say so
    Tcp {
        /// `host:port`
        authority: String,
        /// A path before every request's path, without a slash at the end.
        base: String,
    },
    /// `ssh://[user@]host[:port]`: the remote `docker system dial-stdio` answers
    Ssh {
        /// Options and destination for the `ssh` program.
        arguments: Vec<String>,
        /// The socket at the far end, where the address names one.
        socket: Option<String>,
        /// The address as it was given.
        text: String,
    },
}

/// Why a text is not an [`Endpoint`]; Docker's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse docker host `{0}`")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        match scheme {
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.into())),
            "tcp" | "http" | "https" => {
                let (authority, base) = match rest.find('/') {
                    Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
                    None => (rest, ""),
                };
                if authority.is_empty() {
                    return Err(bad());
                }
                let authority = match authority.rsplit_once(':') {
                    Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
                    _ => format!("{authority}:2375"),
                };
                Ok(Self::Tcp { authority, base: base.to_owned() })
            }
            "ssh" => ssh(text, rest).ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

fn ssh(text: &str, rest: &str) -> Option<Endpoint> {
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, ""),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (host, None),
    };
    // A destination that starts with a dash would be an option of ssh.
    if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return None;
    }
    let mut arguments = Vec::new();
    if let Some(user) = user {
        arguments.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend([
        "-o".to_owned(),
        "ConnectTimeout=30".to_owned(),
        "-T".to_owned(),
        "--".to_owned(),
        host.to_owned(),
    ]);
    let socket = (!path.is_empty() && path != "/").then(|| path.to_owned());
    Some(Endpoint::Ssh { arguments, socket, text: text.to_owned() })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { authority, base } => write!(f, "tcp://{authority}{base}"),
            Self::Ssh { text, .. } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        assert_eq!("unix:///run/x.sock".parse(), Ok(Endpoint::Unix("/run/x.sock".into())));
        let tcp = |authority: &str, base: &str| {
            Ok(Endpoint::Tcp { authority: authority.into(), base: base.into() })
        };
        assert_eq!("tcp://127.0.0.1:2376".parse(), tcp("127.0.0.1:2376", ""));
        assert_eq!("tcp://h".parse(), tcp("h:2375", ""));
        assert_eq!("tcp://h:1/a/".parse(), tcp("h:1", "/a"));
        for bad in ["", "/run/x.sock", "unix://", "ftp://x", "tcp://", "ssh://-oProxyCommand=x"] {
            assert_eq!(bad.parse::<Endpoint>(), Err(EndpointError(bad.into())), "{bad}");
        }
    }

    #[test]
    fn ssh_addresses_become_arguments() {
        let Ok(Endpoint::Ssh { arguments, socket, .. }) = "ssh://me@host:22/run/c.sock".parse() else {
            panic!()
        };
        assert_eq!(arguments.join(" "), "-l me -p 22 -o ConnectTimeout=30 -T -- host");
        assert_eq!(socket.as_deref(), Some("/run/c.sock"));
    }
}
