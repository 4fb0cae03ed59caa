//! The system call filter as the daemon hands it over: compiled, in a sealed memfd that all monitors of the same
//! profile hold.

use std::io;
use std::os::fd::OwnedFd;

use corten_runtime::seccomp::Program;
use rustix::fs::SealFlags;

/// Reads a compiled filter. One that may still change, or of a form that is not known here, is an error.
///
/// The place in the file is not moved: it is shared by everybody who holds the descriptor.
pub(super) fn read(file: &OwnedFd) -> io::Result<Program> {
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
    let needed = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    if !rustix::fs::fcntl_get_seals(file)?.contains(needed) {
        return Err(invalid("a filter that is not sealed"));
    }
    let length = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(usize::MAX);
    if length > Program::ENCODED_MAX {
        return Err(invalid("a filter that is too long"));
    }
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pread(file, &mut bytes[done..], done as u64)? {
            0 => return Err(invalid("a filter that is shorter than it was")),
            count => done += count,
        }
    }
    Program::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use corten_runtime::seccomp::{compile, docker_default};
    use rustix::fs::MemfdFlags;

    use super::*;

    fn memfd(bytes: &[u8]) -> OwnedFd {
        let file =
            rustix::fs::memfd_create("filter", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&file, bytes).unwrap();
        file
    }

    fn sealed(bytes: &[u8]) -> OwnedFd {
        let file = memfd(bytes);
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
        file
    }

    #[test]
    fn it_is_read_as_often_as_wanted() {
        let program = compile(&docker_default(&[])).unwrap();
        let file = sealed(&program.encode().unwrap());
        for _ in 0..2 {
            assert_eq!(read(&file).unwrap(), program);
        }
    }

    #[test]
    fn one_that_may_change_or_is_none_is_refused() {
        let bytes = compile(&docker_default(&[])).unwrap().encode().unwrap();
        assert!(read(&memfd(&bytes)).is_err());
        assert!(read(&sealed(b"CSBF")).is_err());
        assert!(read(&sealed(&vec![0; Program::ENCODED_MAX + 1])).is_err());
    }
}
