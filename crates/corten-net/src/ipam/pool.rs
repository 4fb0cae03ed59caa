use std::net::{IpAddr, Ipv6Addr};

use corten_types::{ErrorKind, Kind};
use ipnet::{IpNet, Ipv6Net};

/// A block of addresses that subnets of one size are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The block.
    pub base: IpNet,
    /// Prefix length of each subnet, not shorter than the block's.
    pub size: u8,
}

/// Why there is no subnet. Texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The wanted subnet overlaps another network's.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap,
    /// Every subnet of the pools is taken or already reachable by another way.
    #[error("all predefined address pools have been fully subnetted")]
    Exhausted,
}

impl Kind for PoolError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Overlap => ErrorKind::Forbidden,
            Self::Exhausted => ErrorKind::Conflict,
        }
    }
}

/// The subnets of all networks, and where new ones come from.
#[derive(Debug, Clone)]
pub struct Pools {
    defaults: Vec<AddressPool>,
    taken: Vec<IpNet>,
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// The IPv6 pool of a host: a /48 of unique local addresses that differs from host to host, by `seed`.
pub fn unique_local_pool(seed: [u8; 5]) -> AddressPool {
    let [a, b, c, d, e] = seed;
    let segments = [0xfd00 | u16::from(a), u16::from_be_bytes([b, c]), u16::from_be_bytes([d, e])];
    let address = Ipv6Addr::new(segments[0], segments[1], segments[2], 0, 0, 0, 0, 0);
    AddressPool { base: IpNet::V6(Ipv6Net::new_assert(address, 48)), size: 64 }
}

impl Pools {
    /// Subnets come from `defaults`, or from Docker's own pools if there are none; IPv6 ones also from `ipv6`.
    pub fn new(defaults: Vec<AddressPool>, ipv6: AddressPool) -> Self {
        let mut defaults = if defaults.is_empty() { docker_pools() } else { defaults };
        if !defaults.iter().any(|pool| matches!(pool.base, IpNet::V6(_))) {
            defaults.push(ipv6);
        }
        Self { defaults, taken: Vec::new() }
    }

    /// Takes exactly `subnet`.
    pub fn take(&mut self, subnet: IpNet) -> Result<(), PoolError> {
        if self.taken.iter().any(|taken| overlap(taken, &subnet)) {
            return Err(PoolError::Overlap);
        }
        self.taken.push(subnet);
        Ok(())
    }

    /// Takes the first free subnet of the pools that overlaps nothing in `reachable`.
    pub fn take_any(&mut self, ipv6: bool, reachable: &[IpNet]) -> Result<IpNet, PoolError> {
        let found = self
            .defaults
            .iter()
            .filter(|pool| matches!(pool.base, IpNet::V6(_)) == ipv6)
            .find_map(|pool| first_free(*pool, &self.taken, reachable));
        let subnet = found.ok_or(PoolError::Exhausted)?;
        self.taken.push(subnet);
        Ok(subnet)
    }

    /// Gives a subnet back.
    pub fn release(&mut self, subnet: IpNet) {
        self.taken.retain(|taken| *taken != subnet);
    }
}

fn docker_pools() -> Vec<AddressPool> {
    let pool = |base: &str, size| AddressPool { base: base.parse().expect("a literal network"), size };
    let mut pools: Vec<_> = (17..=31).map(|n| pool(&format!("172.{n}.0.0/16"), 16)).collect();
    pools.push(pool("192.168.0.0/16", 20));
    pools
}

/// The lowest subnet of `pool` that overlaps none of the others. Steps over a whole obstacle at once, so that a big
/// pool with a big obstacle costs no more than a small one.
fn first_free(pool: AddressPool, taken: &[IpNet], reachable: &[IpNet]) -> Option<IpNet> {
    let mut next = pool.base.network();
    loop {
        let candidate = IpNet::new(next, pool.size).ok()?.trunc();
        if !pool.base.contains(&candidate) {
            return None;
        }
        let obstacle = taken.iter().chain(reachable).find(|other| overlap(other, &candidate));
        let Some(obstacle) = obstacle else { return Some(candidate) };
        let last = obstacle.broadcast().max(candidate.broadcast());
        next = successor(last)?;
    }
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| std::net::Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pools() -> Pools {
        Pools::new(vec![], unique_local_pool([0xa5, 0x4e, 0x48, 0xb3, 0xcf]))
    }

    #[test]
    fn subnets_come_in_dockers_order_and_skip_what_is_reachable() {
        let mut pools = pools();
        let reachable = [net("172.18.5.0/24"), net("10.0.0.0/8")];
        let mut take = || pools.take_any(false, &reachable).unwrap();
        assert_eq!(
            [take(), take(), take()],
            [net("172.17.0.0/16"), net("172.19.0.0/16"), net("172.20.0.0/16")]
        );
        assert_eq!(pools.take_any(true, &[]), Ok(net("fda5:4e48:b3cf::/64")));
        assert_eq!(pools.take_any(true, &[]), Ok(net("fda5:4e48:b3cf:1::/64")));
    }

    #[test]
    fn after_the_sixteens_come_twenties_and_then_an_error() {
        let mut pools = pools();
        let all: Vec<_> = std::iter::from_fn(|| pools.take_any(false, &[]).ok()).collect();
        assert_eq!((all.len(), all[15], all[30]), (31, net("192.168.0.0/20"), net("192.168.240.0/20")));
        assert_eq!(pools.take_any(false, &[]), Err(PoolError::Exhausted));
        pools.release(net("172.25.0.0/16"));
        assert_eq!(pools.take_any(false, &[]), Ok(net("172.25.0.0/16")));
    }

    #[test]
    fn a_wanted_subnet_overlaps_no_other() {
        let mut pools = pools();
        assert_eq!(pools.take(net("10.1.0.0/16")), Ok(()));
        assert_eq!(pools.take(net("10.0.0.0/8")), Err(PoolError::Overlap));
        assert_eq!(pools.take(net("10.1.2.0/24")), Err(PoolError::Overlap));
        assert_eq!(pools.take(net("10.2.0.0/16")), Ok(()));
    }
}
