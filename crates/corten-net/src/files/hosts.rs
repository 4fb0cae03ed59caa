use std::fmt::Write as _;
use std::net::IpAddr;

/// A line of a hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// The address.
    pub address: IpAddr,
    /// Its names, separated by blanks.
    pub names: String,
}

const IPV4: &str = "127.0.0.1\tlocalhost\n";
const IPV6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n";

/// The names of a container's own addresses: the full one first where there is a domain.
pub fn own_names(hostname: &str, domainname: &str) -> String {
    let full = if domainname.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domainname}") };
    match full.split_once('.') {
        Some((bare, _)) => format!("{full} {bare}"),
        None => full,
    }
}

/// A hosts file with these records after the usual ones; without IPv6 also without what only IPv6 needs.
pub fn hosts_file(records: &[HostRecord], ipv6: bool) -> String {
    let mut text = IPV4.to_owned();
    if ipv6 {
        text += IPV6;
    }
    for record in records.iter().filter(|record| ipv6 || record.address.is_ipv4()) {
        let _ = writeln!(text, "{}\t{}", record.address, record.names);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_dockers() {
        let record = |address: &str, names: &str| HostRecord {
            address: address.parse().unwrap(),
            names: names.into(),
        };
        let records =
            [record("1.2.3.4", "a"), record("::1", "v6"), record("172.17.0.4", &own_names("hh", "dd.com"))];
        let expected = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                        ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n\
                        1.2.3.4\ta\n::1\tv6\n172.17.0.4\thh.dd.com hh\n";
        assert_eq!(hosts_file(&records, true), expected);
        assert_eq!(
            hosts_file(&records, false),
            "127.0.0.1\tlocalhost\n1.2.3.4\ta\n172.17.0.4\thh.dd.com hh\n"
        );
        assert_eq!((own_names("h", ""), own_names("h.x", "")), ("h".to_owned(), "h.x h".to_owned()));
    }
}
