use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// A subnet as somebody asks for it, unparsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetRequest<'a> {
    /// CIDR.
    pub subnet: &'a str,
    /// CIDR within the subnet, or empty.
    pub ip_range: &'a str,
    /// Address within the subnet, or empty.
    pub gateway: &'a str,
    /// Addresses within the subnet that are not given out, by a name.
    pub auxiliary: BTreeMap<&'a str, &'a str>,
}

/// Fixed addresses as somebody asks for them, unparsed; empty for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointAddresses<'a> {
    /// IPv4.
    pub ipv4: &'a str,
    /// IPv6.
    pub ipv6: &'a str,
}

/// Several mistakes in one text: one stands alone, more become a list.
pub fn join_errors(errors: &[String]) -> Option<String> {
    match errors {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.iter().map(|error| format!("* {error}")).collect::<Vec<_>>().join("\n")),
    }
}

fn family(ip: &IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// All that is wrong with the subnets of a new network. IPv6 ones are looked at only on networks with IPv6.
pub fn check_config(subnets: &[SubnetRequest<'_>], ipv6: bool) -> Result<(), String> {
    let mut errors = Vec::new();
    for request in subnets {
        let text = request.subnet;
        let Ok(subnet) = text.parse::<IpNet>() else {
            errors.push(format!("invalid subnet {text}: invalid CIDR block notation"));
            continue;
        };
        if matches!(subnet, IpNet::V6(_)) && !ipv6 {
            continue;
        }
        if subnet != subnet.trunc() {
            errors.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
        }
        check_range(request.ip_range, &subnet, &mut errors);
        if let Err(error) = check_address(request.gateway, &subnet) {
            errors.push(format!("invalid gateway {}: {error}", request.gateway));
        }
        for (name, address) in &request.auxiliary {
            if let Err(error) = check_address(address, &subnet) {
                errors.push(format!("invalid auxiliary address {name}: {error}"));
            }
        }
    }
    join_errors(&errors).map_or(Ok(()), |errors| Err(format!("invalid network config:\n{errors}")))
}

fn check_range(text: &str, subnet: &IpNet, errors: &mut Vec<String>) {
    if text.is_empty() {
        return;
    }
    let Ok(range) = text.parse::<IpNet>() else {
        errors.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return;
    };
    if matches!(range, IpNet::V4(_)) != matches!(subnet, IpNet::V4(_)) {
        errors.push(format!("invalid ip-range {text}: parent subnet is an {} block", family(&subnet.addr())));
        return;
    }
    if range.prefix_len() < subnet.prefix_len() {
        errors.push(format!("invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.trunc() {
        errors.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
    }
    if !(range.contains(subnet) || subnet.contains(&range)) {
        errors.push(format!("invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"));
    }
}

fn check_address(text: &str, subnet: &IpNet) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let address: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if address.is_ipv4() != subnet.addr().is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(&subnet.addr())));
    }
    if !subnet.contains(&address) {
        return Err(format!("parent subnet {subnet} doesn't contain this address"));
    }
    Ok(())
}

/// All that is wrong with the fixed addresses of an endpoint on a network whose configured subnets are these (none for
/// a network that took them from the pools).
pub fn check_endpoint(wanted: EndpointAddresses<'_>, configured: &[IpNet]) -> Vec<String> {
    let mut errors = Vec::new();
    let parsed = |text: &str| text.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
    let (v4, v6) = (parsed(wanted.ipv4), parsed(wanted.ipv6));
    if !wanted.ipv4.is_empty() && !v4.is_some_and(|address| address.is_ipv4()) {
        errors.push(format!("invalid IPv4 address: {}", wanted.ipv4));
    }
    if !wanted.ipv6.is_empty() && !v6.is_some_and(|address| address.is_ipv6()) {
        errors.push(format!("invalid IPv6 address: {}", wanted.ipv6));
    }
    for (text, address, is_v4) in [(wanted.ipv4, v4, true), (wanted.ipv6, v6, false)] {
        if text.is_empty() {
            continue;
        }
        let mut of_family = configured.iter().filter(|net| net.addr().is_ipv4() == is_v4).peekable();
        if of_family.peek().is_none() {
            let text = "user specified IP address is supported only when connecting to networks with user configured subnets";
            errors.push(text.into());
        } else if !address.is_some_and(|address| of_family.any(|net| net.contains(&address))) {
            errors.push(format!("no configured subnet or ip-range contain the IP address {text}"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_dockers_words() {
        let request =
            |subnet, ip_range, gateway| SubnetRequest { subnet, ip_range, gateway, ..Default::default() };
        let cases = [
            (request("10.9.0.7/33", "", ""), "invalid subnet 10.9.0.7/33: invalid CIDR block notation"),
            (request("10.8.0.7/24", "", ""), "invalid subnet 10.8.0.7/24: it should be 10.8.0.0/24"),
            (
                request("10.8.0.0/24", "", "10.7.0.1"),
                "invalid gateway 10.7.0.1: parent subnet 10.8.0.0/24 doesn't contain this address",
            ),
            (
                request("10.8.0.0/24", "10.7.0.0/25", ""),
                "invalid ip-range 10.7.0.0/25: parent subnet 10.8.0.0/24 doesn't contain ip-range",
            ),
            (
                request("10.8.0.0/24", "10.8.0.0/16", ""),
                "invalid ip-range 10.8.0.0/16: CIDR block is bigger than its parent subnet 10.8.0.0/24",
            ),
            (request("", "", "10.8.0.1"), "invalid subnet : invalid CIDR block notation"),
            (request("10.7.0.0/24", "", "bad"), "invalid gateway bad: invalid address"),
        ];
        for (case, expected) in cases {
            assert_eq!(check_config(&[case], false), Err(format!("invalid network config:\n{expected}")));
        }
        assert_eq!(check_config(&[request("fd00:1::5/64", "", "")], false), Ok(()));
    }

    #[test]
    fn endpoint_addresses_need_a_configured_subnet() {
        let net: IpNet = "10.9.0.0/24".parse().unwrap();
        let check =
            |ipv4, nets: &[IpNet]| join_errors(&check_endpoint(EndpointAddresses { ipv4, ipv6: "" }, nets));
        assert_eq!(check("10.9.0.3", &[net]), None);
        assert_eq!(
            check("bad", &[net]).unwrap(),
            "* invalid IPv4 address: bad\n* no configured subnet or ip-range contain the IP address bad"
        );
        assert!(
            check("10.9.0.3", &[]).unwrap().starts_with("user specified IP address is supported only when")
        );
    }
}
