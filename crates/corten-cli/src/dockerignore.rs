//! `.dockerignore`: which files of a folder stay behind.
//!
//! A pattern is a path with `*`, `?`, `[a-z]` and `**`; what lies below a match matches too; a pattern after `!` takes
//! back, and the last that says something wins.

/// A folder's patterns.
#[derive(Debug, Default)]
pub struct Ignored {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    parts: Vec<String>,
    back: bool,
}

impl Ignored {
    /// Reads the file's text; the error is docker's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (back, path) = match line.strip_prefix('!') {
                Some(path) => (true, path.trim()),
                None => (false, line),
            };
            if path.is_empty() {
                return Err("illegal exclusion pattern: \"!\"".to_owned());
            }
            let parts = clean(path);
            if parts.is_empty() {
                continue;
            }
            patterns.push(Pattern { parts, back });
        }
        Ok(Self { patterns })
    }

    /// Makes sure that a path is sent.
    pub fn keep(&mut self, path: &str) {
        if self.excludes(path) {
            self.patterns.push(Pattern { parts: clean(path), back: true });
        }
    }

    /// Whether a path (with slashes, relative) stays behind.
    pub fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut out = false;
        for pattern in &self.patterns {
            if pattern.back != out {
                continue;
            }
            // A match of any parent is a match of what lies below.
            if (1..=parts.len()).any(|end| matches(&pattern.parts, &parts[..end])) {
                out = !pattern.back;
            }
        }
        out
    }

    /// Whether something below an excluded folder may yet be sent.
    pub fn may_take_back_below(&self, folder: &str) -> bool {
        let folder: Vec<&str> = folder.split('/').collect();
        self.patterns.iter().filter(|pattern| pattern.back).any(|pattern| {
            let shared = folder.len().min(pattern.parts.len());
            let head = &pattern.parts[..shared];
            head.iter().any(|part| part == "**") || matches(head, &folder[..shared])
        })
    }
}

fn clean(path: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if out.last().is_some_and(|last| last != "..") => {
                out.pop();
            }
            ".." => {}
            part => out.push(part.to_owned()),
        }
    }
    out
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            if rest.is_empty() {
                return !path.is_empty();
            }
            (0..=path.len()).any(|skip| matches(rest, &path[skip..]))
        }
        (Some((first, rest)), Some((name, below))) => {
            let pattern: Vec<char> = first.chars().collect();
            let name: Vec<char> = name.chars().collect();
            part(&pattern, &name) && matches(rest, below)
        }
        _ => false,
    }
}

/// One part of a path; stars stay within it.
fn part(pattern: &[char], name: &[char]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else { return name.is_empty() };
    match first {
        '*' => (0..=name.len()).any(|skip| part(rest, &name[skip..])),
        '?' => !name.is_empty() && part(rest, &name[1..]),
        '[' => {
            let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                return false;
            };
            let Some((&c, below)) = name.split_first() else { return false };
            let (negated, set) = match rest[..end].split_first() {
                Some(('^' | '!', set)) => (true, set),
                _ => (false, &rest[..end]),
            };
            let mut found = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    found |= (set[at]..=set[at + 2]).contains(&c);
                    at += 3;
                } else {
                    found |= set[at] == c;
                    at += 1;
                }
            }
            found != negated && part(&rest[end + 1..], below)
        }
        '\\' if !rest.is_empty() => name.first() == Some(&rest[0]) && part(&rest[1..], &name[1..]),
        c => name.first() == Some(&c) && part(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_what_stays_behind() {
        let ignored =
            Ignored::parse("# c\n*.log\n/target\n**/tmp\nsrc/*.o\n!keep.log\ndocs\n!docs/README.md\n")
                .unwrap();
        for (path, out) in [
            ("a.log", true),
            ("keep.log", false),
            ("sub/a.log", false),
            ("target", true),
            ("target/debug/x", true),
            ("a/b/tmp/c", true),
            ("tmp", true),
            ("src/x.o", true),
            ("src/deep/x.o", false),
            ("docs/other.md", true),
            ("docs/README.md", false),
            ("Dockerfile", false),
        ] {
            assert_eq!(ignored.excludes(path), out, "{path}");
        }
        assert!(ignored.may_take_back_below("docs") && !ignored.may_take_back_below("target"));
    }

    #[test]
    fn a_needed_file_is_sent_all_the_same() {
        let mut ignored = Ignored::parse("*\n").unwrap();
        assert!(ignored.excludes("Dockerfile"));
        ignored.keep("Dockerfile");
        assert!(!ignored.excludes("Dockerfile") && ignored.excludes("a"));
        assert!(Ignored::parse("!").is_err());
    }

    #[test]
    fn classes_and_escapes() {
        let ignored = Ignored::parse("[a-c]?.x\n\\*lit\n").unwrap();
        assert!(ignored.excludes("b1.x") && !ignored.excludes("d1.x"));
        assert!(ignored.excludes("*lit") && !ignored.excludes("xlit"));
    }
}
