use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_types::{ErrorKind, Kind};
use ipnet::IpNet;

/// Why there is no address. Texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Somebody has it.
    #[error("Address already in use")]
    InUse,
    /// The wanted address is not in the subnet.
    #[error("Requested address is out of range")]
    OutOfRange,
    /// The range is full.
    #[error("no available addresses")]
    Exhausted,
}

impl Kind for AddressError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse => ErrorKind::Forbidden,
            Self::OutOfRange => ErrorKind::InvalidArgument,
            Self::Exhausted => ErrorKind::Conflict,
        }
    }
}

/// A subnet and its taken addresses.
#[derive(Debug, Clone)]
pub struct Subnet {
    net: IpNet,
    range: IpNet,
    taken: BTreeSet<u128>,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Subnet {
    /// A subnet whose addresses are taken from `range`, all of it if there is none.
    pub fn new(net: IpNet, range: Option<IpNet>) -> Self {
        Self { net, range: range.unwrap_or(net), taken: BTreeSet::new() }
    }

    /// The subnet.
    pub fn net(&self) -> IpNet {
        self.net
    }

    /// Takes exactly `address`; it may lie outside the range, but not outside the subnet.
    pub fn take(&mut self, address: IpAddr) -> Result<(), AddressError> {
        if !self.net.contains(&address) {
            return Err(AddressError::OutOfRange);
        }
        if self.is_reserved(bits(address)) || !self.taken.insert(bits(address)) {
            return Err(AddressError::InUse);
        }
        Ok(())
    }

    /// Takes the lowest free address of the range.
    pub fn take_any(&mut self) -> Result<IpAddr, AddressError> {
        let (first, last) = (bits(self.range.network()), bits(self.range.broadcast()));
        let mut next = first;
        for &taken in self.taken.range(first..=last) {
            while next < taken && self.is_reserved(next) {
                next += 1;
            }
            if next < taken {
                break;
            }
            next = taken + 1;
        }
        while next <= last && self.is_reserved(next) {
            next += 1;
        }
        if next > last {
            return Err(AddressError::Exhausted);
        }
        self.taken.insert(next);
        Ok(match self.net {
            IpNet::V4(_) => {
                Ipv4Addr::from_bits(u32::try_from(next).map_err(|_| AddressError::Exhausted)?).into()
            }
            IpNet::V6(_) => Ipv6Addr::from_bits(next).into(),
        })
    }

    /// Gives an address back.
    pub fn release(&mut self, address: IpAddr) {
        self.taken.remove(&bits(address));
    }

    /// The subnet's own address, and for IPv4 its broadcast address; a point-to-point subnet has neither.
    fn is_reserved(&self, address: u128) -> bool {
        match self.net {
            IpNet::V4(net) => {
                net.prefix_len() < 31
                    && (address == u128::from(net.network().to_bits())
                        || address == u128::from(net.broadcast().to_bits()))
            }
            IpNet::V6(net) => net.prefix_len() < 127 && address == net.network().to_bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(net: &str, range: Option<&str>) -> Subnet {
        Subnet::new(net.parse().unwrap(), range.map(|range| range.parse().unwrap()))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_lowest_free_address_is_next() {
        let mut subnet = subnet("172.17.0.0/16", None);
        assert_eq!(subnet.take_any(), Ok(ip("172.17.0.1")));
        assert_eq!(subnet.take_any(), Ok(ip("172.17.0.2")));
        assert_eq!(subnet.take_any(), Ok(ip("172.17.0.3")));
        subnet.release(ip("172.17.0.2"));
        assert_eq!(subnet.take_any(), Ok(ip("172.17.0.2")));
        assert_eq!(subnet.take_any(), Ok(ip("172.17.0.4")));
    }

    #[test]
    fn a_range_starts_with_its_first_address_and_ends_before_broadcast() {
        let mut subnet = subnet("10.9.0.0/24", Some("10.9.0.252/30"));
        assert_eq!(subnet.take_any(), Ok(ip("10.9.0.252")));
        subnet.take(ip("10.9.0.253")).unwrap();
        assert_eq!(subnet.take_any(), Ok(ip("10.9.0.254")));
        assert_eq!(subnet.take_any(), Err(AddressError::Exhausted));
        assert_eq!(subnet.take(ip("10.9.0.9")), Ok(()));
        assert_eq!(subnet.take(ip("10.9.0.9")), Err(AddressError::InUse));
        assert_eq!(subnet.take(ip("10.9.0.255")), Err(AddressError::InUse));
        assert_eq!(subnet.take(ip("10.9.1.0")), Err(AddressError::OutOfRange));
    }

    #[test]
    fn the_smallest_subnets() {
        let mut two = subnet("10.0.0.4/31", None);
        assert_eq!((two.take_any(), two.take_any()), (Ok(ip("10.0.0.4")), Ok(ip("10.0.0.5"))));
        let mut six = subnet("fd00::/64", None);
        assert_eq!((six.take_any(), six.take_any()), (Ok(ip("fd00::1")), Ok(ip("fd00::2"))));
        let mut all = subnet("255.255.255.254/31", None);
        assert_eq!(
            (all.take_any(), all.take_any().is_ok(), all.take_any().is_err()),
            (Ok(ip("255.255.255.254")), true, true)
        );
    }

    proptest::proptest! {
        #[test]
        fn no_address_is_given_twice_and_none_is_lost(operations in proptest::collection::vec(0_u8..=3, 0..300)) {
            let mut subnet = subnet("10.0.0.0/27", None);
            let mut held = Vec::new();
            for operation in operations {
                if operation == 0 {
                    if let Some(address) = held.pop() {
                        subnet.release(address);
                    }
                } else {
                    match subnet.take_any() {
                        Ok(address) => {
                            proptest::prop_assert!(!held.contains(&address));
                            held.push(address);
                        }
                        Err(_) => proptest::prop_assert_eq!(held.len(), 30),
                    }
                }
            }
        }
    }
}
