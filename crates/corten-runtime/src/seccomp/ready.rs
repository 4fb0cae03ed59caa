//! A compiled filter as bytes, for whoever compiles it once and whoever loads it many times.
//!
//! ```text
//!  "CSBF"  form (4 bytes)  SECCOMP_FILTER_FLAG_* (4)  instructions (4)  instructions × { code 2, jt 1, jf 1, k 4 }
//! ```
//!
//! Numbers are little-endian. The form is [`FORM`]; a reader refuses any other, and compiles for itself.

use corten_sys::seccomp::Instruction;

use super::compile::MAX_INSTRUCTIONS;
use super::{Program, SeccompError};

const MAGIC: &[u8; 4] = b"CSBF";
/// The form that is written and read here.
const FORM: u32 = 1;
const HEADER: usize = 16;
const INSTRUCTION: usize = 8;

impl Program {
    /// The most bytes that [`Self::encode`] makes.
    pub const ENCODED_MAX: usize = HEADER + MAX_INSTRUCTIONS * INSTRUCTION;

    /// The program as bytes; `None` when it asks an agent, who is told of the container by whoever compiles.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if self.agent.is_some() {
            return None;
        }
        let count = u32::try_from(self.instructions.len()).ok()?;
        let mut bytes = Vec::with_capacity(HEADER + self.instructions.len() * INSTRUCTION);
        bytes.extend_from_slice(MAGIC);
        for number in [FORM, self.flags, count] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for Instruction { code, jt, jf, k } in &self.instructions {
            bytes.extend_from_slice(&code.to_le_bytes());
            bytes.extend_from_slice(&[*jt, *jf]);
            bytes.extend_from_slice(&k.to_le_bytes());
        }
        Some(bytes)
    }

    /// Reads what [`Self::encode`] made. What the instructions mean is the kernel's to judge.
    pub fn decode(bytes: &[u8]) -> Result<Self, SeccompError> {
        let refuse = |text: &str| SeccompError::Form(text.into());
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| refuse("it is too short"))?;
        if magic != MAGIC {
            return Err(refuse("it does not begin as one"));
        }
        let (form, rest) = number(rest).ok_or_else(|| refuse("it is too short"))?;
        if form != FORM {
            return Err(refuse("its form is not known"));
        }
        let (flags, rest) = number(rest).ok_or_else(|| refuse("it is too short"))?;
        let (count, rest) = number(rest).ok_or_else(|| refuse("it is too short"))?;
        if count as usize > MAX_INSTRUCTIONS || rest.len() != count as usize * INSTRUCTION {
            return Err(refuse("its length is not what it says"));
        }
        let instructions = rest
            .chunks_exact(INSTRUCTION)
            .map(|bytes| Instruction {
                code: u16::from_le_bytes([bytes[0], bytes[1]]),
                jt: bytes[2],
                jf: bytes[3],
                k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            })
            .collect();
        Ok(Self { instructions, flags, agent: None })
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::super::{Agent, compile, docker_default};
    use super::*;

    #[test]
    fn a_program_survives_encoding_and_decoding() {
        let program = compile(&docker_default(&[])).unwrap();
        let bytes = program.encode().unwrap();
        assert!(bytes.len() <= Program::ENCODED_MAX);
        assert_eq!(Program::decode(&bytes).unwrap(), program);
    }

    #[test]
    fn what_is_no_program_of_this_form_is_refused() {
        let bytes = compile(&docker_default(&[])).unwrap().encode().unwrap();
        for length in [0, 3, 4, 8, 15, 16, bytes.len() - 1] {
            assert!(Program::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut newer = bytes.clone();
        newer[4] = 2;
        assert_eq!(
            Program::decode(&newer).unwrap_err().to_string(),
            "seccomp: a compiled filter: its form is not known"
        );
        let mut longer = bytes;
        longer.push(0);
        assert!(Program::decode(&longer).is_err());
    }

    #[test]
    fn a_program_with_an_agent_stays_where_it_is() {
        let program = Program { agent: Some(Agent::default()), ..Program::default() };
        assert_eq!(program.encode(), None);
    }
}
