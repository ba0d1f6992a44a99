//! Attempts that were stored before their signature became an alias.

use rusqlite::{Connection, Transaction};

use super::derive::Work;
use super::memory::{Memory, Writer};
use crate::attempts::attempts_of;
use crate::error::KbError;
use crate::schema::dictionary::find;
use crate::settings::Settings;

/// Aliases whose attempts have to be looked for.
#[derive(Debug)]
pub(super) struct Aliases {
    /// Each alias, and the signature of its problem.
    left: Vec<(String, String)>,
}

impl Aliases {
    pub(super) fn of(settings: &Settings) -> Self {
        let pairs = settings.aliases.iter();
        Self { left: pairs.map(|(alias, to)| (alias.clone(), to.clone())).collect() }
    }

    /// Moves the attempts of one alias to its problem. Returns whether there were any to move.
    pub(super) fn step(&mut self, writer: &mut Writer) -> Result<bool, KbError> {
        while let Some((alias, to)) = self.left.last() {
            let from = find(&writer.conn, "signature", alias)?;
            let from = from.map(|from| has_problem(&writer.conn, from).map(|has| (from, has)));
            if let Some((from, true)) = from.transpose()? {
                writer.transact(|tx, memory, settings| memory.join(tx, settings, from, to))?;
                self.left.pop();
                return Ok(true);
            }
            self.left.pop();
        }
        Ok(false)
    }
}

fn has_problem(conn: &Connection, signature: i64) -> Result<bool, KbError> {
    let exists = "SELECT EXISTS (SELECT 1 FROM problem WHERE signature = ?1)";
    Ok(conn.prepare_cached(exists)?.query_row([signature], |row| row.get(0))?)
}

impl Memory {
    /// Moves the attempts at one problem to another.
    fn join(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        from: i64,
        to: &str,
    ) -> Result<(), KbError> {
        // Figures of what was stored since have to follow those of what is moved.
        self.derive(tx, settings)?;
        let to = self.dictionaries.signatures.id(tx, to)?;
        let rows = attempts_of(tx, from, self.floor, usize::MAX)?;
        tx.prepare_cached("DELETE FROM problem WHERE signature = ?1")?.execute([from])?;
        Work::moved(rows, to).write(tx, settings, self.floor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use observer_core::{Batch, Envelope, Event, SinkContext, Timestamp, Uuid};

    use super::*;
    use crate::KbConfig;
    use crate::problems::ProblemRecord;

    fn writer(folder: &Path, aliases: &[(&str, &str)]) -> Writer {
        let mut config = KbConfig::in_dir(folder.join("kb"));
        config.aliases = aliases.iter().map(|&(a, to)| (a.to_owned(), to.to_owned())).collect();
        let settings = config.settings(&SinkContext::new("kb", folder)).unwrap();
        Writer::open(Arc::new(settings)).unwrap()
    }

    fn store(writer: &mut Writer, signatures: &[&str]) {
        let from = writer.position().map_or(1, |position| position.seq + 1);
        let events = signatures.iter().zip(from..).map(|(signature, seq)| {
            let json = format!(
                r#"{{"source":"s","event_kind":"k","ok":{},"sig_hash":"{signature}"}}"#,
                seq % 2 == 0,
            );
            let received_at = Timestamp::from_second(seq as i64).unwrap();
            let (id, event) = (Uuid::from_u128(seq.into()), Event::parse(json).unwrap());
            Arc::new(Envelope { id, seq, received_at, event })
        });
        writer.store(&Batch::new(1, events.collect())).unwrap();
        writer.flush().unwrap();
    }

    fn problem(writer: &Writer, signature: &str) -> Option<ProblemRecord> {
        let signature = find(&writer.conn, "signature", signature).unwrap()?;
        let record = ProblemRecord::load(&writer.conn, signature, 0).unwrap()?;
        // Numbers differ between files.
        Some(ProblemRecord { signature: 0, ..record })
    }

    #[test]
    fn attempts_of_a_new_alias_move_to_its_problem() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = writer(folder.path(), &[]);
        store(&mut before, &["a", "b", "b", "a", "c", "b"]);
        before.close().unwrap();
        let aliases = [("b", "a"), ("never", "a")];
        let mut after = writer(folder.path(), &aliases);
        let mut moving = Aliases::of(&after.settings);
        while moving.step(&mut after).unwrap() {}
        store(&mut after, &["b"]);

        let other = tempfile::tempdir().unwrap();
        let mut always = writer(other.path(), &aliases);
        store(&mut always, &["a", "b", "b", "a", "c", "b"]);
        store(&mut always, &["b"]);
        let expected = problem(&always, "a");
        assert_eq!(expected.as_ref().map(|problem| problem.attempts), Some(6));
        assert_eq!(problem(&after, "a"), expected);
        assert_eq!(problem(&after, "b"), None);
    }

    #[test]
    fn nothing_moves_without_attempts_of_an_alias() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path(), &[("b", "a")]);
        store(&mut writer, &["b", "a"]);
        assert_eq!(problem(&writer, "a").map(|problem| problem.attempts), Some(2));
        assert!(!Aliases::of(&writer.settings).step(&mut writer).unwrap());
    }
}
