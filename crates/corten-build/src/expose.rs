//! `EXPOSE` words: `80`, `80/udp`, `8000-8010/tcp`, and the mapping forms whose host part means nothing here.

/// Why a port specification cannot be meant. The texts are those of Docker's `nat` package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExposeError {
    /// No port stands where one should.
    #[error("no port specified: {0}<empty>")]
    Empty(String),
    /// The port is no number, or out of range, or a range that runs backwards.
    #[error("Invalid containerPort: {0}")]
    Port(String),
    /// The protocol is none of tcp, udp and sctp.
    #[error("Invalid proto: {0}")]
    Protocol(String),
}

/// The ports that `spec` names, as `port/protocol`.
pub fn ports(spec: &str) -> Result<Vec<String>, ExposeError> {
    let (numbers, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    let numbers = numbers.rsplit(':').next().unwrap_or_default();
    if numbers.is_empty() {
        return Err(ExposeError::Empty(spec.into()));
    }
    let invalid = || ExposeError::Port(numbers.into());
    let port = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = match numbers.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(numbers)?, port(numbers)?),
    };
    if last < first {
        return Err(invalid());
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(ExposeError::Protocol(protocol));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_mappings() {
        assert_eq!(ports("80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(ports("53/UDP"), Ok(vec!["53/udp".into()]));
        assert_eq!(ports("127.0.0.1:8080:80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(ports("3-5"), Ok(vec!["3/tcp".into(), "4/tcp".into(), "5/tcp".into()]));
        for bad in ["", "x", "70000", "5-3", "80/icmp", "-1"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
