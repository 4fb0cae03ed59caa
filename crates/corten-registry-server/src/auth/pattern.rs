use std::fmt;

/// A pattern of names: `*` stands for anything within a path component, `**` for anything.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; every text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether a name fits.
    pub fn matches(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }
}

/// Matches with one point of return for each kind of star: time is at most the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on after a failure: the pattern behind the star, and the name one byte later.
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            (double, single) = (Some((p, n)), None);
            continue;
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            single = Some((p, n));
            continue;
        }
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            _ => {}
        }
        if let Some((after, at)) = single
            && name.get(at).is_some_and(|b| *b != b'/')
        {
            single = Some((after, at + 1));
            (p, n) = (after, at + 1);
        } else if let Some((after, at)) = double
            && at < name.len()
        {
            (double, single) = (Some((after, at + 1)), None);
            (p, n) = (after, at + 1);
        } else {
            return false;
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> serde::Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_names() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
        for (pattern, name) in [
            ("**", "a/b"),
            ("*", "a"),
            ("team/*", "team/app"),
            ("team/**", "team/a/b"),
            ("**/app", "a/b/app"),
            ("v*.*", "v1.2"),
            ("*-rc*", "1.0-rc-2"),
            ("a*b*c", "axxbyyc"),
            ("**/x*/**", "a/b/xy/c"),
            ("", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*", "a/b"),
            ("team/*", "team/a/b"),
            ("team/*", "team"),
            ("team/**", "team"),
            ("v*", "1"),
            ("a", "ab"),
            ("ab", "a"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(59)), "and no pattern takes long");
        assert!(!matches(&"**a".repeat(60), &"b".repeat(2000)));
    }
}
