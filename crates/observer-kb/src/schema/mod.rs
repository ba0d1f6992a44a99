//! The file: its schema, versions and connections.
//!
//! The schema is `v1.sql` with the changes of later versions; `views.sql` has views for people.
//! `PRAGMA user_version` is the version of the schema, and `PRAGMA application_id` tells the file
//! from other databases. A later version appends a script to [`MIGRATIONS`]; a file is brought up
//! to date by the scripts that it has not seen, in one transaction. A file of a newer version is
//! refused by name.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use observer_core::private_files;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};

use crate::error::KbError;

pub(crate) mod dictionary;

/// Name of the file in its folder.
pub(crate) const FILE: &str = "kb.sqlite";

/// `PRAGMA application_id`: `obkb` in ASCII.
const APPLICATION: i64 = 0x6f62_6b62;

/// Scripts by version, from 1.
const MIGRATIONS: [&str; 3] =
    [include_str!("v1.sql"), include_str!("v2.sql"), include_str!("v3.sql")];

const VIEWS: &str = include_str!("views.sql");

/// Pages of the write-ahead log after which it is copied into the file: 64 MiB. Pages that many
/// batches change are copied once.
const CHECKPOINT_PAGES: i64 = 16_000;

/// Cache of the writer in KiB; negative as SQLite wants it.
const WRITER_CACHE: i64 = -40 * 1024;
/// Cache of each reader.
const READER_CACHE: i64 = -8 * 1024;

/// Keeps statements prepared: otherwise SQLite prepares one with a parameter in `LIMIT` anew
/// whenever the parameter is bound.
fn keep_plans(conn: &Connection) -> Result<(), KbError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Lock of a folder: one writer at a time. Closing its file releases it.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is held")] File);

impl Lock {
    /// Creates the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// [`KbError::InUse`] if another writer holds the lock, [`KbError::Io`] if it can't be created.
    pub(crate) fn acquire(folder: &Path) -> Result<Self, KbError> {
        private_files::create_folder(folder)
            .map_err(|source| KbError::Io { path: folder.to_owned(), source })?;
        let path = folder.join("lock");
        let opened = private_files::options().create(true).append(true).open(&path);
        let file = opened.map_err(|source| KbError::Io { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(KbError::InUse { path: folder.join(FILE) }),
            Err(TryLockError::Error(source)) => Err(KbError::Io { path, source }),
        }
    }
}

/// Opens the file for writing, and creates or migrates it.
pub(crate) fn open_writer(folder: &Path) -> Result<Connection, KbError> {
    let path = folder.join(FILE);
    // SQLite gives its other files the mode of this one.
    let created = private_files::options().create(true).append(true).open(&path);
    created.map_err(|source| KbError::Io { path: path.clone(), source })?;
    let mut conn = Connection::open(&path)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    keep_plans(&conn)?;
    check_version(&conn, &path)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // The log is cut after a checkpoint if a long query made it grow.
    conn.pragma_update(None, "journal_size_limit", 256 * 1024 * 1024)?;
    conn.pragma_update(None, "cache_size", WRITER_CACHE)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(64);
    migrate(&mut conn)?;
    Ok(conn)
}

/// Opens the file for reading. It changes no row.
pub(crate) fn open_reader(folder: &Path) -> Result<Connection, KbError> {
    let path = folder.join(FILE);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&path, flags)?;
    conn.busy_timeout(Duration::from_secs(2))?;
    keep_plans(&conn)?;
    check_version(&conn, &path)?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        return Err(KbError::Unfinished { path });
    }
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", READER_CACHE)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Identity of the file, which tells a file from another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// Returns the identity of the file in a folder; that of all files is the same where the system
    /// has none.
    pub(crate) fn of(folder: &Path) -> Result<Self, KbError> {
        let path = folder.join(FILE);
        let file = fs::metadata(&path).map_err(|source| KbError::Io { path, source })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Ok(Self(file.dev(), file.ino()))
        }
        #[cfg(not(unix))]
        {
            drop(file);
            Ok(Self(0, 0))
        }
    }
}

pub(crate) fn check_version(conn: &Connection, path: &Path) -> Result<(), KbError> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || version != 0 || tables != 0) {
        return Err(KbError::Foreign { path: path.to_owned() });
    }
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(KbError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(())
}

/// Checks that no newer version of the program wrote the file in a folder, by the header of the
/// file (<https://www.sqlite.org/fileformat.html>, section 1.3). Nothing is created, unlike by
/// SQLite.
///
/// # Errors
/// If a newer version wrote it. A file that can't be read is reported when it is opened.
pub(crate) fn verify_version(folder: &Path) -> Result<(), KbError> {
    let path = folder.join(FILE);
    let mut header = [0; 100];
    if File::open(&path).and_then(|mut file| file.read_exact(&mut header)).is_err() {
        return Ok(());
    }
    let number = |at: usize| {
        let bytes = header[at..at + 4].try_into().expect("a slice of four bytes");
        i64::from(i32::from_be_bytes(bytes))
    };
    let (version, application) = (number(60), number(68));
    let known = MIGRATIONS.len() as i64;
    let is_own = header.starts_with(b"SQLite format 3\0") && application == APPLICATION;
    if is_own && version > known {
        return Err(KbError::Newer { path, found: version, known });
    }
    Ok(())
}

fn migrate(conn: &mut Connection) -> Result<(), KbError> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let applied = usize::try_from(version).unwrap_or(0);
    if applied == MIGRATIONS.len() {
        return Ok(());
    }
    let tx = conn.transaction()?;
    for script in &MIGRATIONS[applied..] {
        tx.execute_batch(script)?;
    }
    tx.execute_batch(VIEWS)?;
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    tx.commit()?;
    Ok(())
}

/// Number in the table `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    /// Row of `epoch` of the position.
    PositionEpoch,
    /// Sequence number of the position.
    PositionSeq,
    /// Last event that figures include.
    Derived,
    /// Last event in a block of the index.
    Indexed,
    /// Oldest event that was not deleted.
    Floor,
    /// Fingerprint of the prices that costs of problems were computed with.
    Prices,
    /// Number of forced writes, which exists to have something to write.
    Flushes,
}

impl Meta {
    fn key(self) -> &'static str {
        match self {
            Self::PositionEpoch => "position_epoch",
            Self::PositionSeq => "position_seq",
            Self::Derived => "derived",
            Self::Indexed => "indexed",
            Self::Floor => "floor",
            Self::Prices => "prices",
            Self::Flushes => "flushes",
        }
    }

    pub(crate) fn get(self, conn: &Connection) -> Result<Option<i64>, KbError> {
        let mut statement = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([self.key()], |row| row.get(0)).optional()?)
    }

    pub(crate) fn set(self, tx: &Transaction<'_>, value: i64) -> Result<(), KbError> {
        tx.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            .execute((self.key(), value))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_header_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        verify_version(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let set = |name: &str, value: i64| {
            let conn = open_writer(folder.path()).unwrap();
            conn.pragma_update(None, name, value).unwrap();
            conn.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
        };
        drop(open_writer(folder.path()).unwrap());
        verify_version(folder.path()).unwrap();
        set("user_version", 99);
        let before = fs::read(&path).unwrap();
        let error = verify_version(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has version 99 of the knowledge base"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        for other in ["", "another text", &"x".repeat(200)] {
            fs::write(&path, other).unwrap();
            verify_version(folder.path()).unwrap();
        }
    }

    #[test]
    fn file_of_a_newer_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        open_writer(folder.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
        for error in
            [open_writer(folder.path()), open_reader(folder.path())].map(Result::unwrap_err)
        {
            let text = error.to_string();
            assert!(text.contains("kb.sqlite\" has version 99 of the knowledge base"), "{text}");
        }
    }

    #[test]
    fn file_of_an_older_version_is_brought_up_to_date_by_the_writer_alone() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join(FILE)).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch("INSERT INTO meta VALUES ('floor', 7)").unwrap();
        old.pragma_update(None, "application_id", APPLICATION).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let version = |conn: &Connection| -> i64 {
            conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
        };
        assert_eq!(version(&open_reader(folder.path()).unwrap()), 1);
        let new = open_writer(folder.path()).unwrap();
        assert_eq!(version(&new), MIGRATIONS.len() as i64);
        assert_eq!(Meta::Floor.get(&new).unwrap(), Some(7));
        let aliases = new.query_row("SELECT count(*) FROM alias", [], |row| row.get::<_, i64>(0));
        assert_eq!(aliases.unwrap(), 0);
    }

    #[test]
    fn file_whose_tables_are_not_created_yet_is_temporarily_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join(FILE)).unwrap();
        let error = open_reader(folder.path()).unwrap_err();
        assert!(matches!(error, KbError::Unfinished { .. }), "{error}");
        let error = observer_core::query::QueryError::from(error);
        assert!(matches!(error, observer_core::query::QueryError::Unavailable { .. }), "{error}");
        open_writer(folder.path()).unwrap();
        open_reader(folder.path()).unwrap();
    }

    #[test]
    fn database_of_another_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let other = Connection::open(folder.path().join(FILE)).unwrap();
        other.execute_batch("CREATE TABLE t (x)").unwrap();
        drop(other);
        let error = open_writer(folder.path()).unwrap_err();
        assert!(matches!(error, KbError::Foreign { .. }), "{error}");
    }

    #[test]
    fn views_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open_writer(folder.path()).unwrap();
        for view in ["events", "attempts", "problems", "usage_by_day"] {
            let count = conn
                .query_row(&format!("SELECT count(*) FROM {view}"), [], |row| row.get::<_, i64>(0));
            assert_eq!(count.unwrap(), 0, "{view}");
        }
    }

    #[test]
    fn reader_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        open_writer(folder.path()).unwrap();
        let reader = open_reader(folder.path()).unwrap();
        reader.execute("DELETE FROM meta", []).unwrap_err();
    }
}
