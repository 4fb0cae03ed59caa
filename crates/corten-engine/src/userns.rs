//! User namespaces of containers: which ids a container gets, and who has which.
//!
//! | `UsernsMode` | ids |
//! |---|---|
//! | empty | those of the daemon's `userns-remap`; without it, the host's own |
//! | `host` | the host's own |
//! | `auto`, `private`, `auto:size=N` | a range that no other container has, from the daemon's pool |
//!
//! A range belongs to a container from its start to its end; it is on record before anything is made with it. On the
//! disk ids are always those that the container sees: mounts are mapped, nothing is rewritten, and the next run may have
//! another range.
//!
//! Not here: making namespaces and mounts.

use std::collections::BTreeMap;

use corten_archive::{IdMap, IdRange};
use corten_runtime::spec::IdMapping;
use corten_types::{ErrorKind, Kind};
use serde::{Deserialize, Serialize};

/// How many ids a container gets that does not say.
pub const DEFAULT_SIZE: u32 = 65_536;
/// The name to which the pool's subordinate ids belong in `/etc/subuid` and `/etc/subgid`: the one that podman uses.
pub const POOL_OWNER: &str = "containers";

/// What a container asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsernsMode {
    /// Whatever the daemon gives to all.
    Default,
    /// The host's ids.
    Host,
    /// A range of its own, of this size.
    Own {
        /// How many ids.
        size: u32,
    },
}

impl UsernsMode {
    /// Reads `HostConfig.UsernsMode`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Default),
            "host" => Some(Self::Host),
            "auto" | "private" => Some(Self::Own { size: DEFAULT_SIZE }),
            _ => {
                let size = text.strip_prefix("auto:size=")?;
                let digits = !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit());
                let size = size.parse().ok().filter(|size| digits && *size > 0)?;
                Some(Self::Own { size })
            }
        }
    }
}

/// Ids of the host that stand for those of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// The user that stands for root.
    pub user: u32,
    /// How many users there are.
    pub users: u32,
    /// The group that stands for root's.
    pub group: u32,
    /// How many groups there are.
    pub groups: u32,
}

impl Ids {
    /// The same range for users and groups.
    pub const fn range(first: u32, size: u32) -> Self {
        Self { user: first, users: size, group: first, groups: size }
    }

    /// For archives.
    pub fn map(self) -> IdMap {
        IdMap {
            users: IdRange { first: self.user, size: self.users },
            groups: IdRange { first: self.group, size: self.groups },
        }
    }

    /// For the OCI spec: users, groups.
    pub fn mappings(self) -> [IdMapping; 2] {
        let of = |host_id, size| IdMapping { container_id: 0, host_id, size };
        [of(self.user, self.users), of(self.group, self.groups)]
    }

    /// For the kernel: `uid_map`, `gid_map`.
    pub fn texts(self) -> [String; 2] {
        [format!("0 {} {}\n", self.user, self.users), format!("0 {} {}\n", self.group, self.groups)]
    }
}

/// A container's user namespace while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Userns {
    /// Its ids.
    pub ids: Ids,
    /// Whether the range was given to this container, and goes back at its end.
    pub allocated: bool,
}

/// What the daemon was told about user namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsernsConfig {
    /// The ids of every container that does not say otherwise.
    pub remap: Option<Ids>,
    /// Ranges from which containers get their own: (first, size), the same for users and groups.
    pub pool: Vec<(u32, u32)>,
}

/// Why a container gets no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsernsError {
    /// The machine's administrator has given none to the daemon.
    #[error(
        "no ids for user namespaces: give {POOL_OWNER:?} the same range in /etc/subuid and /etc/subgid, such as {POOL_OWNER}:2147483648:268435456, and start the daemon again"
    )]
    NoPool,
    /// All are in use, or none is so long.
    #[error("no free range of {0} ids for a user namespace is left in /etc/subuid and /etc/subgid")]
    Exhausted(u32),
}

impl Kind for UsernsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPool => ErrorKind::InvalidArgument,
            Self::Exhausted(_) => ErrorKind::Conflict,
        }
    }
}

/// Who has which range.
#[derive(Debug, Default)]
pub struct Ranges {
    /// First id → size and container.
    taken: BTreeMap<u32, (u32, String)>,
}

impl Ranges {
    /// Remembers what a container has since before this daemon.
    pub fn restore(&mut self, ids: Ids, container: &str) {
        self.taken.insert(ids.user, (ids.users, container.to_owned()));
    }

    /// Gives a container the lowest free range of the pool. One it still has is taken back first.
    pub fn allocate(&mut self, pool: &[(u32, u32)], size: u32, container: &str) -> Result<Ids, UsernsError> {
        self.release(container);
        if pool.is_empty() {
            return Err(UsernsError::NoPool);
        }
        for &(first, length) in pool {
            let mut candidate = first;
            for (&taken, &(taken_size, _)) in &self.taken {
                let meets =
                    taken < candidate.saturating_add(size) && candidate < taken.saturating_add(taken_size);
                if meets {
                    candidate = taken.saturating_add(taken_size);
                }
            }
            let used = candidate - first;
            if length.checked_sub(used).is_some_and(|left| left >= size) {
                self.taken.insert(candidate, (size, container.to_owned()));
                return Ok(Ids::range(candidate, size));
            }
        }
        Err(UsernsError::Exhausted(size))
    }

    /// Takes back what a container has.
    pub fn release(&mut self, container: &str) {
        self.taken.retain(|_, (_, owner)| owner != container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(UsernsMode::parse(""), Some(UsernsMode::Default));
        assert_eq!(UsernsMode::parse("private"), Some(UsernsMode::Own { size: 65_536 }));
        assert_eq!(UsernsMode::parse("auto:size=10"), Some(UsernsMode::Own { size: 10 }));
        for wrong in ["keep-id", "auto:", "auto:size=", "auto:size=0", "auto:size=+1", "container:x"] {
            assert_eq!(UsernsMode::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_id_is_given_twice() {
        let pool = [(1000, 30), (5000, 10)];
        let mut ranges = Ranges::default();
        let first =
            |ranges: &mut Ranges, size, name: &str| ranges.allocate(&pool, size, name).map(|ids| ids.user);
        assert_eq!(first(&mut ranges, 10, "a"), Ok(1000));
        assert_eq!(first(&mut ranges, 15, "b"), Ok(1010));
        assert_eq!(first(&mut ranges, 10, "c"), Ok(5000));
        assert_eq!(first(&mut ranges, 5, "d"), Ok(1025));
        assert_eq!(first(&mut ranges, 1, "e"), Err(UsernsError::Exhausted(1)));
        ranges.release("a");
        assert_eq!(first(&mut ranges, 11, "e"), Err(UsernsError::Exhausted(11)));
        assert_eq!(first(&mut ranges, 10, "e"), Ok(1000));
        // What it still has is its own to give.
        assert_eq!(first(&mut ranges, 9, "e"), Ok(1000));
        assert_eq!(ranges.allocate(&[], 1, "x"), Err(UsernsError::NoPool));
    }

    #[test]
    fn any_order_of_starts_and_ends_keeps_ranges_apart() {
        let pool = [(100, 64), (400, 32)];
        let mut ranges = Ranges::default();
        let mut held: BTreeMap<u32, Ids> = BTreeMap::new();
        let mut seed = 7_u32;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (who, size) = (seed >> 16 & 15, (seed >> 24 & 15) + 1);
            held.remove(&who);
            if seed & 0x8000 == 0 {
                ranges.release(&who.to_string());
            } else if let Ok(ids) = ranges.allocate(&pool, size, &who.to_string()) {
                let apart =
                    |other: &Ids| other.user + other.users <= ids.user || ids.user + ids.users <= other.user;
                assert!(held.values().all(apart), "{ids:?} {held:?}");
                let inside = |&(first, length): &(u32, u32)| {
                    ids.user >= first && ids.user + ids.users <= first + length
                };
                assert!(pool.iter().any(inside), "{ids:?}");
                held.insert(who, ids);
            }
        }
    }
}
