use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::Mode;

use crate::error::DiffError;
use crate::pack::{Form, Packer};
use crate::tree::READ_DIRECTORY;

/// Writes an overlay's upper directory as the tar of a layer: entries ordered by name, directories before what is in
/// them, whiteouts in OCI's form (image-spec, layer.md). The same tree gives the same bytes.
pub fn diff(upper: impl AsFd, out: &mut dyn Write) -> Result<(), DiffError> {
    let root =
        rustix::fs::openat(upper, ".", READ_DIRECTORY, Mode::empty()).map_err(DiffError::io(b"/", "open"))?;
    let mut packer = Packer::new(out, Form::Layer);
    packer.contents(&root, b"", 0)?;
    packer.finish()
}
