//! Small durable rows: what must be found again after the daemon, or the machine, has gone down.
//!
//! A record is bytes under a kind and an id. What the bytes mean is the business of whoever wrote them. The engine
//! keeps containers, networks, endpoints and volumes here, in memory as well: this is the log of that state, read as
//! a whole at start.

use std::path::Path;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::database::{Database, DatabaseError, Durability};

/// The result of an operation on records.
pub type Result<T> = std::result::Result<T, DatabaseError>;

pub(crate) const SCHEMA: &str = "CREATE TABLE records (
    kind TEXT NOT NULL, id TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID";

/// The records of one database file; clones share it.
#[derive(Clone)]
pub struct Records {
    database: Database,
}

/// One change of a [`Records::batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store `value`, replacing what was there.
    Put {
        /// What sort of thing it is: `container`, `network`.
        kind: &'static str,
        /// Its id among its kind.
        id: String,
        /// Its content.
        value: Vec<u8>,
    },
    /// Remove the record if it is there.
    Delete {
        /// What sort of thing it is.
        kind: &'static str,
        /// Its id among its kind.
        id: String,
    },
}

impl Records {
    /// Opens or creates a file that holds nothing but records.
    pub fn open(path: &Path, durability: Durability) -> Result<Self> {
        Ok(Self { database: Database::open(path, durability, &[SCHEMA])? })
    }

    /// The records of a file that others share.
    pub(crate) fn in_database(database: Database) -> Self {
        Self { database }
    }

    /// Stores `value`, replacing what was there; durable when this returns.
    pub async fn put(&self, kind: &'static str, id: &str, value: Vec<u8>) -> Result<()> {
        self.batch(vec![Change::Put { kind, id: id.into(), value }]).await
    }

    /// Removes the record if it is there; durable when this returns.
    pub async fn delete(&self, kind: &'static str, id: &str) -> Result<()> {
        self.batch(vec![Change::Delete { kind, id: id.into() }]).await
    }

    /// Makes all `changes` or none; durable when this returns.
    pub async fn batch(&self, changes: Vec<Change>) -> Result<()> {
        self.batch_with(Durability::Full, changes).await
    }

    /// Makes all `changes` or none, as durable as asked; where something is removed, room is made on a full disk. With
    /// [`Durability::None`] in a durable file they survive the process at once and the machine after the next durable change.
    pub async fn batch_with(&self, durability: Durability, changes: Vec<Change>) -> Result<()> {
        self.make_room_for(&changes);
        self.database
            .write(durability, move |tx| changes.iter().try_for_each(|change| apply(tx, change)))
            .await
    }

    /// [`Records::batch_with`] for threads outside the async runtime.
    pub fn batch_blocking(&self, durability: Durability, changes: Vec<Change>) -> Result<()> {
        self.make_room_for(&changes);
        self.database
            .write_blocking(durability, move |tx| changes.iter().try_for_each(|change| apply(tx, change)))
    }

    /// What removes something must succeed on a full disk.
    fn make_room_for(&self, changes: &[Change]) {
        if changes.iter().any(|change| matches!(change, Change::Delete { .. })) {
            self.database.make_room();
        }
    }

    /// All records of a kind, ordered by id.
    pub fn list(&self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>> {
        self.database.read(|connection| {
            connection
                .prepare_cached("SELECT id, value FROM records WHERE kind = ? ORDER BY id")?
                .query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// One record.
    pub fn get(&self, kind: &'static str, id: &str) -> Result<Option<Vec<u8>>> {
        self.database.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM records WHERE kind = ? AND id = ?")?
                .query_row([kind, id], |row| row.get(0))
                .optional()
        })
    }
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Put { kind, id, value } => transaction
            .prepare_cached("INSERT OR REPLACE INTO records (kind, id, value) VALUES (?, ?, ?)")?
            .execute(params![kind, id, value])?,
        Change::Delete { kind, id } => transaction
            .prepare_cached("DELETE FROM records WHERE kind = ? AND id = ?")?
            .execute(params![kind, id])?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_put_is_found_by_the_next_opener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.db");
        let records = Records::open(&path, Durability::Full).unwrap();
        records.put("container", "b", b"2".to_vec()).await.unwrap();
        records.put("container", "a", b"1".to_vec()).await.unwrap();
        records.put("container", "a", b"3".to_vec()).await.unwrap();
        records.put("volume", "a", b"v".to_vec()).await.unwrap();
        records.delete("volume", "a").await.unwrap();
        drop(records);
        let records = Records::open(&path, Durability::None).unwrap();
        assert_eq!(
            records.list("container").unwrap(),
            [("a".to_owned(), b"3".to_vec()), ("b".to_owned(), b"2".to_vec())]
        );
        assert_eq!(records.get("volume", "a").unwrap(), None);
        assert_eq!(records.get("container", "b").unwrap(), Some(b"2".to_vec()));
    }

    #[tokio::test]
    async fn many_at_once_are_all_stored() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&dir.path().join("r.db"), Durability::Full).unwrap();
        let tasks: Vec<_> = (0..100)
            .map(|i| {
                let records = records.clone();
                tokio::spawn(async move { records.put("x", &format!("{i:03}"), vec![i]).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(records.list("x").unwrap().len(), 100);
    }
}
