use std::fs::File;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::PathBuf;

use corten_types::{Digest, Digester, random_hex};

use super::partial::Claim;
use super::{Intake, IntakeError, remove_quietly};
use crate::unpacker::{Grower, Source, growth};

/// A blob of so many bytes is synced when it ends; smaller ones are with their intake.
pub(super) const SYNCED_AT_END: u64 = 1 << 20;

/// A blob on its way in, of an intake that it borrows or shares. Dropped before [`BlobWriter::finish`], it is gone,
/// unless it is a download that can be resumed.
pub struct BlobWriter<I: Deref<Target = Intake>> {
    intake: I,
    path: PathBuf,
    file: Option<File>,
    digester: Digester,
    claim: Option<Claim>,
    resumed: u64,
    grower: Option<Grower>,
}

impl<I: Deref<Target = Intake>> Write for BlobWriter<I> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let file = self.file.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let written = file.write(bytes)?;
        self.digester.update(&bytes[..written]);
        if let Some(grower) = &self.grower {
            grower.reached(self.digester.len());
        }
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
        Ok(Self::new(intake, path, file))
    }

    fn new(intake: I, path: PathBuf, file: File) -> Self {
        let digester = Digester::new();
        Self { intake, path, file: Some(file), digester, claim: None, resumed: 0, grower: None }
    }

    /// A writer of a download, behind what an earlier one has left in `file`.
    pub(super) fn resume(intake: I, claim: Claim, path: PathBuf, file: File) -> std::io::Result<Self> {
        let mut writer = Self::new(intake, path, file);
        writer.claim = Some(claim);
        let mut buffer = vec![0; 256 << 10];
        if let Some(file) = &mut writer.file {
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => writer.digester.update(&buffer[..n]),
                }
            }
        }
        writer.resumed = writer.digester.len();
        Ok(writer)
    }

    /// The intake that the blob comes in through.
    pub fn intake(&self) -> &I {
        &self.intake
    }

    /// Reads what was written so far, from its beginning; writing goes on at the end.
    pub fn reread(&self) -> std::io::Result<impl Read> {
        File::open(&self.path)
    }

    /// How many bytes were written, by an earlier download too.
    pub fn len(&self) -> u64 {
        self.digester.len()
    }

    /// How many bytes an earlier download has left.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.digester.is_empty()
    }

    /// What is written, for somebody who reads it meanwhile.
    pub fn follow(&mut self) -> Result<Source, IntakeError> {
        let file = File::open(&self.path).map_err(|source| IntakeError::Io {
            operation: "open",
            path: self.path.clone(),
            source,
        })?;
        let (grower, growth) = growth();
        grower.reached(self.digester.len());
        self.grower = Some(grower);
        Ok(Source::Growing(file, growth))
    }

    /// Ends the blob; an error where it is not what was expected.
    pub fn finish(
        mut self,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(Digest, u64), IntakeError> {
        let digester = std::mem::take(&mut self.digester);
        let found_size = digester.len();
        let found = digester.finish();
        let wrong = match (size, digest) {
            (Some(expected), _) if expected != found_size => {
                Some(IntakeError::Size { expected, found: found_size })
            }
            (_, Some(expected)) if *expected != found => {
                Some(IntakeError::Digest { expected: *expected, found })
            }
            _ => None,
        };
        if let Some(error) = wrong {
            // Nothing of it is worth being resumed.
            remove_quietly(&std::mem::take(&mut self.path));
            return Err(error);
        }
        if let Some(grower) = self.grower.take() {
            grower.finished();
        }
        if let Some(file) = self.file.take()
            && found_size >= SYNCED_AT_END
        {
            file.sync_data().map_err(|source| IntakeError::Io {
                operation: "sync",
                path: self.path.clone(),
                source,
            })?;
        }
        let mut staged = self.intake.staged.lock();
        let path = std::mem::take(&mut self.path);
        if self.intake.hold(&found) || staged.blobs.contains_key(&found) {
            remove_quietly(&path);
        } else {
            staged.blobs.insert(found, (path, found_size));
            // Nobody may resume it while it waits for its commit.
            staged.claims.extend(self.claim.take());
        }
        Ok((found, found_size))
    }
}

impl<I: Deref<Target = Intake>> Drop for BlobWriter<I> {
    fn drop(&mut self) {
        let resumable = self.claim.is_some() && self.intake.shared.partials.is_worth(self.digester.len());
        if !self.path.as_os_str().is_empty() && !resumable {
            remove_quietly(&self.path);
        }
    }
}
