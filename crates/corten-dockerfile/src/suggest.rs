/// The text that follows an error when something near was meant.
pub(crate) fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default()
}

/// The option nearest to `word`, at most two edits away, in the case of `word`; none if `word` is itself an option.
pub(crate) fn nearest(word: &str, options: &[&str]) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let mut best = (3, None);
    for option in options {
        let candidate = option.to_ascii_lowercase();
        if candidate == lower {
            return None;
        }
        let distance = edits(&lower, &candidate);
        if distance < best.0 {
            best = (distance, Some(candidate));
        }
    }
    let found = best.1?;
    Some(if word == word.to_ascii_uppercase() && word != lower { found.to_ascii_uppercase() } else { found })
}

/// Levenshtein's distance; words longer than 32 bytes are as far as anything.
fn edits(a: &str, b: &str) -> usize {
    if a.len() > 32 || b.len() > 32 {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_in_the_words_own_case() {
        assert_eq!(nearest("FORM", &["FROM", "RUN"]), Some("FROM".into()));
        assert_eq!(nearest("form", &["FROM", "RUN"]), Some("from".into()));
        assert_eq!(nearest("BANANA", &["FROM", "RUN"]), None);
        assert_eq!(nearest("run", &["FROM", "RUN"]), None);
    }
}
