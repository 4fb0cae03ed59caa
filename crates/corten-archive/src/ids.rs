//! Ids of trees whose mounts are mapped: what the kernel shows of them outside, and what they are inside.

/// What stands inside for an id that nothing stands for: nobody.
const NOBODY: u32 = 65_534;

/// Consecutive ids that stand for 0, 1, 2, … inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// What stands for 0.
    pub first: u32,
    /// How many there are.
    pub size: u32,
}

/// A mapping of users and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// Users.
    pub users: IdRange,
    /// Groups.
    pub groups: IdRange,
}

impl IdRange {
    /// What an id outside is inside.
    pub fn inside(self, id: u32) -> u32 {
        id.checked_sub(self.first).filter(|id| *id < self.size).unwrap_or(NOBODY)
    }

    /// What an id inside is outside; one that is not mapped is what the kernel refuses.
    pub fn outside(self, id: u32) -> u32 {
        if id < self.size { self.first.saturating_add(id) } else { u32::MAX - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_from_the_first() {
        let range = IdRange { first: 100_000, size: 10 };
        assert_eq!((range.inside(100_003), range.outside(3)), (3, 100_003));
        assert_eq!((range.inside(0), range.inside(100_010)), (NOBODY, NOBODY));
        assert_eq!(range.outside(10), u32::MAX - 1);
    }
}
