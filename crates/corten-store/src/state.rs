//! The store's index in memory: everything the database names, so that no list or lookup reads the disk.
//!
//! Order of things, so that a reader never finds what is not there:
//!
//! - making: data on disk and synced → database → index;
//! - removing: index → database → data to the trash.

use std::collections::{BTreeMap, HashMap, HashSet};

use corten_types::Digest;
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::oci::Descriptor;

pub(crate) const SCHEMA: &str = "
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE layers (chain TEXT PRIMARY KEY, dir INTEGER NOT NULL UNIQUE, parent TEXT, size INTEGER NOT NULL,
    inodes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE snapshots (key TEXT PRIMARY KEY, dir INTEGER NOT NULL UNIQUE, parent TEXT) WITHOUT ROWID;
";

/// Rows from before are sealed: their trees were synced first.
pub(crate) const SEALED: &str = "ALTER TABLE layers ADD COLUMN sealed INTEGER NOT NULL DEFAULT 1;";

/// Disk space and inodes of a tree, counted as containerd counts them: blocks of 512 bytes, each inode once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}

/// A committed layer: its tree, and what it lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerRow {
    pub dir: u64,
    pub parent: Option<Digest>,
    pub usage: Usage,
    /// Whether the tree is on the disk for sure; see `seal`.
    pub sealed: bool,
}

/// A container's writable snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub dir: u64,
    pub parent: Option<Digest>,
}

/// What is stored about an image's name, beside the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRow {
    pub target: Descriptor,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    pub updated: i64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub blobs: HashMap<Digest, u64>,
    pub names: BTreeMap<String, NameRow>,
    pub layers: HashMap<Digest, LayerRow>,
    pub snapshots: HashMap<String, SnapshotRow>,
    /// What each open intake or lease keeps from the collector, by its number.
    pub holds: HashMap<u64, HashSet<Digest>>,
    pub next_hold: u64,
    pub next_dir: u64,
}

impl State {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<State> {
        let mut state = State { next_dir: 1, ..State::default() };
        let mut statement = connection.prepare("SELECT digest, size FROM blobs")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(digest) = digest(row.get_ref(0)?.as_str()?) {
                state.blobs.insert(digest, row.get(1)?);
            }
        }
        let mut statement = connection.prepare("SELECT name, record FROM names")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            match serde_json::from_str(row.get_ref(1)?.as_str()?) {
                Ok(record) => {
                    state.names.insert(name, record);
                }
                Err(error) => {
                    tracing::error!(%name, %error, "an image name with an unreadable record is ignored")
                }
            }
        }
        let mut statement =
            connection.prepare("SELECT chain, dir, parent, size, inodes, sealed FROM layers")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(chain) = digest(row.get_ref(0)?.as_str()?) else { continue };
            let parent = row.get_ref(2)?.as_str_or_null()?.and_then(digest);
            let usage = Usage { size: row.get(3)?, inodes: row.get(4)? };
            let layer = LayerRow { dir: row.get(1)?, parent, usage, sealed: row.get(5)? };
            state.next_dir = state.next_dir.max(layer.dir + 1);
            state.layers.insert(chain, layer);
        }
        let mut statement = connection.prepare("SELECT key, dir, parent FROM snapshots")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let parent = row.get_ref(2)?.as_str_or_null()?.and_then(digest);
            let snapshot = SnapshotRow { dir: row.get(1)?, parent };
            state.next_dir = state.next_dir.max(snapshot.dir + 1);
            state.snapshots.insert(row.get(0)?, snapshot);
        }
        Ok(state)
    }

    /// The trees of a chain, top first. `None` where a layer of it is missing.
    pub(crate) fn trees(&self, chain: &Digest) -> Option<Vec<u64>> {
        let mut dirs = Vec::new();
        let mut next = Some(*chain);
        while let Some(chain) = next {
            let layer = self.layers.get(&chain)?;
            dirs.push(layer.dir);
            next = layer.parent;
        }
        Some(dirs)
    }

    pub(crate) fn apply_names(&mut self, changes: Vec<(String, Option<NameRow>)>) {
        for (name, row) in changes {
            match row {
                Some(row) => self.names.insert(name, row),
                None => self.names.remove(&name),
            };
        }
    }

    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.holds.values().any(|held| held.contains(digest))
    }
}

fn digest(text: &str) -> Option<Digest> {
    match text.parse() {
        Ok(digest) => Some(digest),
        Err(error) => {
            tracing::error!(%text, %error, "a row with a damaged digest is ignored");
            None
        }
    }
}

pub(crate) fn put_blob(tx: &Transaction<'_>, digest: &Digest, size: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO blobs (digest, size) VALUES (?, ?)")?
        .execute(params![digest.to_string(), size])?;
    Ok(())
}

pub(crate) fn delete_blob(tx: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM blobs WHERE digest = ?")?.execute([digest.to_string()])?;
    Ok(())
}

pub(crate) fn put_layer(tx: &Transaction<'_>, chain: &Digest, layer: &LayerRow) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO layers (chain, dir, parent, size, inodes, sealed) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        chain.to_string(),
        layer.dir,
        layer.parent.map(|parent| parent.to_string()),
        layer.usage.size,
        layer.usage.inodes,
        layer.sealed
    ])?;
    Ok(())
}

pub(crate) fn seal_layers(tx: &Transaction<'_>, chains: &[Digest]) -> rusqlite::Result<()> {
    let mut seal = tx.prepare_cached("UPDATE layers SET sealed = 1 WHERE chain = ?")?;
    chains.iter().try_for_each(|chain| seal.execute([chain.to_string()]).map(drop))
}

pub(crate) fn delete_layer(tx: &Transaction<'_>, chain: &Digest) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM layers WHERE chain = ?")?.execute([chain.to_string()])?;
    Ok(())
}

pub(crate) fn put_snapshot(tx: &Transaction<'_>, key: &str, row: &SnapshotRow) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO snapshots (key, dir, parent) VALUES (?, ?, ?)")?.execute(params![
        key,
        row.dir,
        row.parent.map(|parent| parent.to_string())
    ])?;
    Ok(())
}

pub(crate) fn delete_snapshot(tx: &Transaction<'_>, key: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM snapshots WHERE key = ?")?.execute([key])?;
    Ok(())
}

pub(crate) fn put_name(tx: &Transaction<'_>, name: &str, row: &NameRow) -> rusqlite::Result<()> {
    let record =
        serde_json::to_string(row).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    tx.prepare_cached("INSERT OR REPLACE INTO names (name, record) VALUES (?, ?)")?
        .execute([name, &record])?;
    Ok(())
}

pub(crate) fn delete_name(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM names WHERE name = ?")?.execute([name])?;
    Ok(())
}
