use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};

use super::ShimError;

/// The monitor's program, copied once into a sealed memfd that all monitors execute (and whose pages they share).
#[derive(Debug, Clone)]
pub struct ShimBinary(Arc<OwnedFd>);

impl ShimBinary {
    /// Finds `corten-shim` and seals a copy. Looked at, in this order: `$CORTEN_LIBEXEC`, beside the running
    /// executable, `../libexec/corten` from there.
    pub fn find() -> Result<Self, ShimError> {
        Self::load(&Self::locate()?)
    }

    /// Where `corten-shim` lies; see [`Self::find`].
    pub fn locate() -> Result<PathBuf, ShimError> {
        let own = std::env::current_exe().unwrap_or_default();
        let beside = own.parent().unwrap_or(Path::new("/")).to_path_buf();
        let libexec = beside.join("../libexec/corten");
        let explicit = std::env::var_os("CORTEN_LIBEXEC").map(PathBuf::from);
        for directory in explicit.iter().chain([&beside, &libexec]) {
            let path = directory.join("corten-shim");
            if path.is_file() {
                return Ok(path);
            }
        }
        Err(ShimError::NoBinary { beside, libexec })
    }

    /// Seals a copy of the program at `path`.
    pub fn load(path: &Path) -> Result<Self, ShimError> {
        Self::seal(path).map_err(|source| ShimError::Io {
            id: String::new(),
            operation: "copy of the monitor's program",
            source,
        })
    }

    fn seal(path: &Path) -> io::Result<Self> {
        let mut source = File::open(path)?;
        let memfd = rustix::fs::memfd_create("corten-shim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut copy = File::from(memfd);
        io::copy(&mut source, &mut copy)?;
        copy.rewind()?;
        let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&copy, all)?;
        Ok(Self(Arc::new(copy.into())))
    }
}

impl AsFd for ShimBinary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
