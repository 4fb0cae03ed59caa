//! Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME` in RUN, COPY and ADD.

use crate::expand::Lex;

/// A here-document and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// The file descriptor before `<<`; 0 where none stands.
    pub fd: u32,
    /// Whether variables in the content are replaced: not when any part of the name is quoted.
    pub expand: bool,
    /// Whether leading tabs are taken off each line (`<<-`).
    pub chomp: bool,
    /// The lines between, with their endings, tabs already taken off where asked for.
    pub content: String,
}

/// The here-documents that a line announces, in order, without content.
pub(crate) fn announced(line: &str) -> Vec<Heredoc> {
    let lex = Lex { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Lex::new('\\') };
    lex.words(line, &|_| None).unwrap_or_default().iter().filter_map(|word| parse(word)).collect()
}

/// `word` as the announcement of a here-document.
pub(crate) fn parse(word: &str) -> Option<Heredoc> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let single = |raw_quotes| {
        let lex = Lex { raw_quotes, skip_unset: true, ..Lex::new('\\') };
        match lex.words(rest, &|_| None) {
            Ok(words) if words.len() == 1 => words.into_iter().next(),
            _ => None,
        }
    };
    let name = single(false)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(&single(true)?);
    let fd = word[..digits].parse().unwrap_or(0);
    Some(Heredoc { name, fd, expand, chomp, content: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read_as_a_shell_would() {
        let one = |text: &str| announced(text).into_iter().next().unwrap();
        assert_eq!(one("RUN <<EOF").name, "EOF");
        assert!(one("RUN <<-EOF").chomp);
        assert!(!one("RUN <<'E F'").expand);
        assert_eq!(one("RUN <<'E F'").name, "E F");
        assert_eq!(one("RUN 3<<EOF cat").fd, 3);
        assert_eq!(announced("COPY <<a <<b /").len(), 2);
        assert_eq!(one("RUN cat << EOF").name, "EOF");
        assert!(announced("RUN a <<< b").is_empty());
        assert!(announced("RUN echo '<<EOF'").is_empty());
    }
}
