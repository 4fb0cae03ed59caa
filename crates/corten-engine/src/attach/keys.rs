//! The keys that detach a client, from their text form.

/// What detaches when nobody says otherwise: `ctrl-p,ctrl-q`.
pub const DEFAULT: [u8; 2] = [16, 17];

/// Parses `a,ctrl-x,DEL`: single bytes, control keys and DEL. `None` when one is neither; empty text is the default.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(DEFAULT.to_vec());
    }
    text.split(',').map(key).collect()
}

fn key(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        b"DEL" => Some(127),
        [b'c', b't', b'r', b'l', b'-', byte] => match byte {
            b'a'..=b'z' => Some(byte - b'a' + 1),
            b'@' | b'['..=b'_' => Some(byte - b'@'),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_control_keys() {
        assert_eq!(parse(""), Some(vec![16, 17]));
        assert_eq!(parse("ctrl-p,ctrl-q"), Some(vec![16, 17]));
        assert_eq!(
            parse("a,ctrl-a,DEL,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,ctrl-z"),
            Some(vec![b'a', 1, 127, 0, 27, 28, 29, 30, 31, 26])
        );
    }

    #[test]
    fn other_words_are_no_keys() {
        for text in ["ctrl-", "ctrl-A", "ctrl-pp", "ab", "a,,b", ",", "ctrl-1", "€"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
