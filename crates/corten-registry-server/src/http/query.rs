use crate::error::Refusal;

/// The parameters of a request, in order, decoded.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the question mark.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.take(64).collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The `n` of a list: how many entries at most.
    pub fn page(&self, largest: usize) -> Result<usize, Refusal> {
        match self.get("n") {
            None => Ok(largest),
            Some(text) => {
                let wrong = Refusal::Parameter { name: "n", reason: "is a number from 0 on" };
                text.parse::<usize>().map(|n| n.min(largest)).map_err(|_| wrong)
            }
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (first, tail) {
            (b'%', [a, b, after @ ..]) => {
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(*a).zip(digit(*b)).map(|(a, b)| (a << 4 | b, after))
            }
            _ => None,
        };
        match (escaped, first) {
            (Some((byte, after)), _) => {
                bytes.push(byte);
                rest = after;
            }
            (None, b'+') => bytes.push(b' '),
            (None, byte) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value as it stands in a query.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("digest=sha256%3Aab&from=a%2Fb&x=1+2&y=%zz&tag=a&tag=b&flag");
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.get("from"), Some("a/b"));
        assert_eq!(query.get("x"), Some("1 2"));
        assert_eq!(query.get("y"), Some("%zz"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(Query::parse("").get(""), None);
        assert_eq!(encode("a/b c&d"), "a/b%20c%26d");
    }

    #[test]
    fn a_page_has_a_number_of_entries() {
        assert_eq!(Query::parse("n=5").page(1000).unwrap(), 5);
        assert_eq!(Query::parse("n=5000").page(1000).unwrap(), 1000);
        assert_eq!(Query::parse("").page(1000).unwrap(), 1000);
        assert!(Query::parse("n=-1").page(1000).is_err());
        assert!(Query::parse("n=x").page(1000).is_err());
    }
}
