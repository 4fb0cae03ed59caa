//! Archives: tar read and written, layers applied and made, trees copied in and out.
//!
//! Archives come from strangers. One reader serves everything (layers, loads, imports, copies, build contexts), so that
//! there is one reading of what a header means: Go's. Everything is done beneath a directory descriptor; no path from
//! an archive is ever given to the kernel whole, and no link of an archive is ever followed by the kernel.
//!
//! - [`decompress`]: which compression it is, and the plain bytes
//! - [`gzip`]: compressed, on all cores
//! - [`Reader`], [`Writer`]: entries
//! - [`apply`], [`settle`]: a layer's tar to a tree that is an overlay's lower directory; [`apply_layer`]: the same from
//!   the compressed stream, with its DiffID
//! - [`diff`], [`changes`]: an overlay's upper directory to a layer's tar, or to what `docker diff` shows
//! - [`unpack`], [`pack`]: plain trees, for copies in and out of containers
//!
//! It does not know what an image is, and starts no program. [`apply`] and [`apply_layer`] need neither `/proc` nor any
//! path outside the tree: they work in a process whose root is the tree.

mod apply;
mod beneath;
mod changes;
mod compression;
mod diff;
mod entry;
mod error;
mod gzip;
mod header;
mod ids;
mod layer;
mod limits;
mod pack;
mod pax;
mod reader;
mod same;
mod settle;
mod tree;
mod writer;
mod xattr;

pub use apply::{Applied, ApplyOptions, DeferredLink, Ownership, Whiteouts, apply, unpack};
pub use changes::{Change, ChangeKind, changes};
pub use compression::{Compression, decompress};
pub use diff::diff;
pub use entry::{Attributes, Entry, EntryKind, Time};
pub use error::{ApplyError, DiffError};
pub use gzip::{Block, Blockwise, gzip, gzip_blocks};
pub use ids::{IdMap, IdRange};
pub use layer::apply_layer;
pub use limits::Limits;
pub use pack::{PackOptions, pack, pack_tree};
pub use reader::Reader;
pub use same::difference;
pub use settle::settle;
pub use tree::{remove_all, usage};
pub use writer::Writer;
