//! What the daemon keeps: content, images, snapshots, and small durable records, in one transaction domain.
//!
//! ```text
//!   Store ─┬─ records    rows of the engine
//!          ├─ images     name → target (index or manifest)
//!          ├─ content    digest → blob
//!          ├─ snapshots  ChainID → tree of a layer; container → writable tree
//!          ├─ intake     the way in: everything new becomes visible in one transaction
//!          ├─ collect    the way out: what nothing names goes to the trash
//!          └─ check      whether all of it is what it should be
//! ```
//!
//! Invariants:
//!
//! - A blob is durable before the row that names it, and a row is gone before its data goes: a process that is killed
//!   anywhere leaves files without a row, never a row without its file. [`Store::open`] removes such files.
//! - A layer's tree that is not durable yet says so in its row, and is unpacked again after a power loss ([`seal`]).
//! - A blob is visible only when its digest was verified; a layer only when its DiffID was.
//! - One `Store` per data root: whoever opens one holds the daemon's lock on the root.
//!
//! Locks, in the order they are taken: `gate` (intakes that publish, and the collector), then `state`. No lock is held
//! over anything that waits for the network.
//!
//! What is not here: registries, HTTP, and what a container is.

mod boot;
mod check;
mod collect;
mod content;
mod database;
mod image;
mod intake;
mod layout;
mod name;
pub mod oci;
mod overlay;
pub mod records;
mod reserve;
mod seal;
mod snapshot;
mod state;
mod store;
mod trash;
mod unpacker;

pub use check::{Checked, Damage, Damaged, Repair};
pub use collect::Collected;
pub use content::{Content, ContentError, parse_config, parse_index, parse_manifest};
pub use corten_archive::{Applied, ApplyError, Limits};
pub use corten_archive::{Change, ChangeKind};
pub use database::{DatabaseError, Durability};
pub use image::{Image, ImageError, Images, Layer};
pub use intake::{BlobWriter, Committed, Intake, IntakeError, Upper};
pub use name::{Name, NamedImage};
pub use overlay::{Mapped, Sync};
pub use records::Records;
pub use snapshot::{Snapshot, SnapshotError, Snapshots};
pub use state::Usage;
pub use store::{OpenError, Store};
pub use unpacker::{Growth, InProcess, Source, Unpack};

pub(crate) use store::{Shared, now};
