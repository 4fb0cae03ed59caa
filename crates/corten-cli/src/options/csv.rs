//! One line of comma-separated values, where quotes keep commas.

/// The fields of a line; a field that begins with a quote ends with one, and doubled quotes stand for one.
pub fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        field.push('"');
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => field.push(c),
                    None => {
                        return Err(
                            "parse error on line 1: extraneous or missing \" in quoted-field".to_owned()
                        );
                    }
                }
            };
            out.push(field);
            rest = &quoted[end..];
            if rest.is_empty() {
                return Ok(out);
            }
            rest = rest.strip_prefix(',').ok_or_else(|| {
                "parse error on line 1: extraneous or missing \" in quoted-field".to_owned()
            })?;
            continue;
        }
        match rest.split_once(',') {
            Some((field, after)) => {
                if field.contains('"') {
                    return Err("parse error on line 1: bare \" in non-quoted-field".to_owned());
                }
                out.push(field.to_owned());
                rest = after;
            }
            None => {
                out.push(rest.to_owned());
                return Ok(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_keep_commas() {
        assert_eq!(super::fields("a=1,\"b=2,3\",c").unwrap(), ["a=1", "b=2,3", "c"]);
        assert_eq!(super::fields("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert!(super::fields("\"a").is_err());
    }
}
