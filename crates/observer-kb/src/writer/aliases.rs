//! Attempts that were stored with other aliases than those of the configuration.
//!
//! The table `alias` has the aliases that stored attempts follow. After a change of the
//! configuration, attempts of an alias that is gone leave its problem, and those of a new one join
//! theirs.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction};

use super::corrections::{corrections_of, load};
use super::derive::Work;
use super::memory::{Memory, Writer};
use crate::attempts::attempts_of;
use crate::error::KbError;
use crate::outcome::Outcome;
use crate::schema::dictionary::find;
use crate::settings::Settings;

/// Aliases, each with the signature of its problem.
type Pairs = HashMap<String, String>;

/// Changes of aliases that stored attempts don't follow yet.
#[derive(Debug)]
pub(super) struct Aliases {
    removed: Vec<(String, String)>,
    added: Vec<(String, String)>,
}

impl Aliases {
    pub(super) fn of(writer: &Writer) -> Result<Self, KbError> {
        let (followed, wanted) = (followed(&writer.conn)?, &writer.settings.aliases);
        let beyond = |these: &Pairs, others: &Pairs| {
            let own = these.iter().filter(|(alias, to)| others.get(*alias) != Some(*to));
            own.map(|(alias, to)| (alias.clone(), to.clone())).collect()
        };
        Ok(Self { removed: beyond(&followed, wanted), added: beyond(wanted, &followed) })
    }

    /// Moves the attempts of one alias. Returns whether there was one to follow.
    pub(super) fn step(&mut self, writer: &mut Writer) -> Result<bool, KbError> {
        // Attempts leave first, so that what joins a problem is what belongs to it.
        if let Some((alias, from)) = self.removed.last() {
            writer.transact(|tx, memory, settings| memory.leave(tx, settings, alias, from))?;
            self.removed.pop();
        } else if let Some((alias, to)) = self.added.last() {
            writer.transact(|tx, memory, settings| memory.join(tx, settings, alias, to))?;
            self.added.pop();
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Records the aliases of the configuration in a file without events, all of which will follow
/// them.
pub(super) fn begin(conn: &Connection, settings: &Settings) -> Result<(), KbError> {
    let has_events = "SELECT EXISTS (SELECT 1 FROM event)";
    if settings.aliases.is_empty() || conn.query_row(has_events, [], |row| row.get(0))? {
        return Ok(());
    }
    let tx = conn.unchecked_transaction()?;
    tx.execute("DELETE FROM alias", [])?;
    for (alias, to) in &settings.aliases {
        record(&tx, alias, to)?;
    }
    Ok(tx.commit()?)
}

fn record(tx: &Transaction<'_>, alias: &str, to: &str) -> Result<(), KbError> {
    tx.prepare_cached("INSERT OR REPLACE INTO alias (name, problem) VALUES (?1, ?2)")?
        .execute((alias, to))?;
    Ok(())
}

fn followed(conn: &Connection) -> Result<Pairs, KbError> {
    let mut statement = conn.prepare("SELECT name, problem FROM alias")?;
    let pairs = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(pairs.collect::<Result<_, _>>()?)
}

fn has_problem(conn: &Connection, signature: i64) -> Result<bool, KbError> {
    let exists = "SELECT EXISTS (SELECT 1 FROM problem WHERE signature = ?1)";
    Ok(conn.prepare_cached(exists)?.query_row([signature], |row| row.get(0))?)
}

/// Returns the signature that an attempt was sent with, or that of its last correction.
fn sent_signature(conn: &Connection, n: i64) -> Result<Option<String>, KbError> {
    let Some((_, original)) = load(conn, n)? else { return Ok(None) };
    let Some(mut outcome) = Outcome::of(&original.event) else { return Ok(None) };
    for (_, correction) in corrections_of(conn, n)? {
        if let Some(correction) = Outcome::of(&correction.event) {
            outcome = outcome.corrected(&correction);
        }
    }
    Ok(outcome.signature)
}

impl Memory {
    /// Moves the attempts at an alias to its problem.
    fn join(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        alias: &str,
        to: &str,
    ) -> Result<(), KbError> {
        record(tx, alias, to)?;
        // Figures of what was stored since have to follow those of what is moved.
        self.derive(tx, settings)?;
        let Some(from) = find(tx, "signature", alias)? else { return Ok(()) };
        if !has_problem(tx, from)? {
            return Ok(());
        }
        let to = self.dictionaries.signatures.id(tx, to)?;
        let rows = attempts_of(tx, from, self.floor, usize::MAX, |_| true)?;
        tx.prepare_cached("DELETE FROM problem WHERE signature = ?1")?.execute([from])?;
        Work::moved(rows, to).write(tx, settings, self.floor)
    }

    /// Moves the attempts that no longer belong to the problem of an alias to their own.
    fn leave(
        &mut self,
        tx: &Transaction<'_>,
        settings: &Settings,
        alias: &str,
        from: &str,
    ) -> Result<(), KbError> {
        tx.prepare_cached("DELETE FROM alias WHERE name = ?1")?.execute([alias])?;
        self.derive(tx, settings)?;
        let Some(signature) = find(tx, "signature", from)? else { return Ok(()) };
        let mut work = Work::default();
        for row in attempts_of(tx, signature, self.floor, usize::MAX, |_| true)? {
            let Some(sent) = sent_signature(tx, row.n)? else { continue };
            let problem = settings.problem(&sent);
            if problem != from {
                let to = self.dictionaries.signatures.id(tx, problem)?;
                work.shift(row, to);
            }
        }
        work.write(tx, settings, self.floor)
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

    fn follow(writer: &mut Writer) -> usize {
        let mut changes = Aliases::of(writer).unwrap();
        let mut steps = 0;
        while changes.step(writer).unwrap() {
            steps += 1;
        }
        steps
    }

    const SENT: [&str; 6] = ["a", "b", "b", "a", "c", "b"];

    /// Checks that a file has the same problems after a change of the aliases as one that had the
    /// later ones from the beginning.
    #[track_caller]
    fn check_change(before: &[(&str, &str)], after: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        let mut changed = writer(folder.path(), before);
        store(&mut changed, &SENT);
        changed.close().unwrap();
        let mut changed = writer(folder.path(), after);
        assert!(follow(&mut changed) > 0);
        store(&mut changed, &["b"]);
        assert_eq!(follow(&mut changed), 0, "{before:?} to {after:?}");

        let other = tempfile::tempdir().unwrap();
        let mut always = writer(other.path(), after);
        store(&mut always, &SENT);
        store(&mut always, &["b"]);
        for signature in ["a", "b", "c"] {
            let expected = problem(&always, signature);
            assert_eq!(problem(&changed, signature), expected, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn attempts_follow_each_change_of_the_aliases() {
        check_change(&[], &[("b", "a"), ("never", "a")]);
        check_change(&[("b", "a")], &[]);
        check_change(&[("b", "a"), ("c", "a")], &[("c", "a")]);
        check_change(&[("b", "a")], &[("b", "c")]);
        check_change(&[("b", "a")], &[("a", "b")]);
        check_change(&[("b", "a")], &[("b", "a"), ("a", "c")]);
        check_change(&[("b", "unseen")], &[]);
    }

    #[test]
    fn attempts_of_an_alias_are_those_of_its_problem_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path(), &[("b", "a")]);
        store(&mut writer, &SENT);
        assert_eq!(problem(&writer, "a").map(|problem| problem.attempts), Some(5));
        assert_eq!(problem(&writer, "b"), None);
    }

    #[test]
    fn nothing_is_left_to_follow_in_a_file_that_began_with_its_aliases() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path(), &[("b", "a")]);
        store(&mut writer, &["b", "a"]);
        assert_eq!(follow(&mut writer), 0);
    }

    #[test]
    fn corrected_attempt_returns_to_the_signature_of_its_correction() {
        let folder = tempfile::tempdir().unwrap();
        let aliases = [("b", "a"), ("c", "a")];
        let mut before = writer(folder.path(), &aliases);
        store(&mut before, &["b"]);
        let correction = r#"{"source":"s","event_kind":"k","ok":true,"sig_hash":"c",
            "replaces":"00000000-0000-0000-0000-000000000001"}"#;
        let (id, event) = (Uuid::from_u128(9), Event::parse(correction.to_owned()).unwrap());
        let received_at = Timestamp::from_second(2).unwrap();
        let envelope = Envelope { id, seq: 2, received_at, event };
        before.store(&Batch::new(1, vec![Arc::new(envelope)])).unwrap();
        before.flush().unwrap();
        assert_eq!(problem(&before, "a").map(|problem| problem.solved), Some(1));
        before.close().unwrap();
        let mut after = writer(folder.path(), &[]);
        follow(&mut after);
        assert_eq!(problem(&after, "a"), None);
        assert_eq!(problem(&after, "b"), None);
        assert_eq!(problem(&after, "c").map(|problem| problem.solved), Some(1));
    }
}
