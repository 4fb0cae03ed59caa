use std::fs::File;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::PathBuf;

use corten_types::{Digest, Digester, random_hex};

use super::{Intake, IntakeError, remove_quietly};

/// A blob on its way in, of an intake that it borrows or shares. Dropped before [`BlobWriter::finish`], it is gone.
pub struct BlobWriter<I: Deref<Target = Intake>> {
    pub(super) intake: I,
    pub(super) path: PathBuf,
    pub(super) file: Option<File>,
    pub(super) digester: Digester,
}

impl<I: Deref<Target = Intake>> Write for BlobWriter<I> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let file = self.file.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let written = file.write(bytes)?;
        self.digester.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<I: Deref<Target = Intake>> BlobWriter<I> {
    pub(super) fn begin(intake: I) -> Result<Self, IntakeError> {
        let path = intake.shared.layout.ingest().join(random_hex(8));
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| IntakeError::Io { operation: "create", path: path.clone(), source })?;
        Ok(Self { intake, path, file: Some(file), digester: Digester::new() })
    }

    /// Reads what was written so far, from its beginning; writing goes on at the end.
    pub fn reread(&self) -> std::io::Result<impl Read> {
        File::open(&self.path)
    }

    /// How many bytes were written.
    pub fn len(&self) -> u64 {
        self.digester.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.digester.is_empty()
    }

    /// Ends the blob; an error where it is not what was expected.
    pub fn finish(
        mut self,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(Digest, u64), IntakeError> {
        let digester = std::mem::take(&mut self.digester);
        let found_size = digester.len();
        if let Some(expected) = size
            && expected != found_size
        {
            return Err(IntakeError::Size { expected, found: found_size });
        }
        let found = digester.finish();
        if let Some(expected) = digest
            && *expected != found
        {
            return Err(IntakeError::Digest { expected: *expected, found });
        }
        self.file = None;
        let mut staged = self.intake.staged.lock();
        let path = std::mem::take(&mut self.path);
        if self.intake.hold(&found) || staged.blobs.contains_key(&found) {
            remove_quietly(&path);
        } else {
            staged.blobs.insert(found, (path, found_size));
        }
        Ok((found, found_size))
    }
}

impl<I: Deref<Target = Intake>> Drop for BlobWriter<I> {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            remove_quietly(&self.path);
        }
    }
}
