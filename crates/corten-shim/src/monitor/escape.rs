/// Looks for the keys that detach a client in what it types, across reads.
///
/// As Docker does: the beginning of the sequence is held back until it is known whether the rest follows; a key that
/// breaks it is not looked at as a new beginning.
#[derive(Debug, Default)]
pub(super) struct Escape {
    keys: Vec<u8>,
    matched: usize,
}

/// What remains of some input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// This is for the process.
    Input(Vec<u8>),
    /// This is for the process; then the client detaches.
    Detach(Vec<u8>),
}

impl Escape {
    /// A filter for these keys; without keys nothing is looked for.
    pub(super) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes the next input.
    pub(super) fn filter(&mut self, input: &[u8]) -> Typed {
        let mut out = Vec::with_capacity(input.len());
        if self.keys.is_empty() {
            out.extend_from_slice(input);
            return Typed::Input(out);
        }
        for byte in input {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Typed::Detach(out);
                }
            } else {
                out.extend_from_slice(&self.keys[..self.matched]);
                out.push(*byte);
                self.matched = 0;
            }
        }
        Typed::Input(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut escape = Escape::new(vec![16, 17]);
        let mut all = Vec::new();
        for chunk in chunks {
            match escape.filter(chunk) {
                Typed::Input(bytes) => all.extend(bytes),
                Typed::Detach(bytes) => {
                    all.extend(bytes);
                    return (all, true);
                }
            }
        }
        (all, false)
    }

    #[test]
    fn the_sequence_detaches_wherever_reads_cut_it() {
        assert_eq!(typed(&[b"ls\n\x10\x11rest"]), (b"ls\n".to_vec(), true));
        assert_eq!(typed(&[b"ls\n\x10", b"\x11"]), (b"ls\n".to_vec(), true));
        assert_eq!(typed(&[b"\x10", b"\x11"]), (vec![], true));
    }

    #[test]
    fn a_broken_sequence_is_input() {
        assert_eq!(typed(&[b"\x10", b"a"]), (b"\x10a".to_vec(), false));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10\x10\x11".to_vec(), false));
        assert_eq!(typed(&[b"a\x10"]), (b"a".to_vec(), false));
    }

    #[test]
    fn without_keys_everything_is_input() {
        assert_eq!(Escape::default().filter(b"\x10\x11"), Typed::Input(b"\x10\x11".to_vec()));
    }
}
