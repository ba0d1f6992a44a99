//! Values of labels that sums are kept for.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction};

use crate::error::KbError;

/// Names of labels that sums are kept for. Further names are not counted.
pub(crate) const NAMES: usize = 64;
/// Values of a label that sums are kept for. Further ones are counted together.
const VALUES: usize = 1_000;

/// Dictionary of labels.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    names: HashMap<String, Label>,
}

#[derive(Debug)]
struct Label {
    id: i64,
    values: HashMap<String, i64>,
}

impl Labels {
    pub(crate) fn load(conn: &Connection) -> Result<Self, KbError> {
        let mut names: HashMap<String, Label> = HashMap::new();
        let mut statement = conn.prepare(
            "SELECT l.id, l.name, v.id, v.value FROM label_name l
             LEFT JOIN label_value v ON v.label = l.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let label =
                names.entry(row.get(1)?).or_insert_with(|| Label { id, values: HashMap::new() });
            if let Some(value) = row.get::<_, Option<i64>>(2)? {
                label.values.insert(row.get(3)?, value);
            }
        }
        Ok(Self { names })
    }

    /// Returns the number of a value of a label: that of the row in `label_value`, −id of the label
    /// for values beyond the limit, and `None` for a label beyond the limit.
    pub(crate) fn value(
        &mut self,
        tx: &Transaction<'_>,
        name: &str,
        value: &str,
    ) -> Result<Option<i64>, KbError> {
        if !self.names.contains_key(name) {
            if self.names.len() >= NAMES {
                return Ok(None);
            }
            let id =
                tx.prepare_cached("INSERT INTO label_name (name) VALUES (?1)")?.insert([name])?;
            self.names.insert(name.to_owned(), Label { id, values: HashMap::new() });
        }
        let Some(label) = self.names.get_mut(name) else { return Ok(None) };
        if let Some(&id) = label.values.get(value) {
            return Ok(Some(id));
        }
        if label.values.len() >= VALUES {
            return Ok(Some(-label.id));
        }
        let id = tx
            .prepare_cached("INSERT INTO label_value (label, value) VALUES (?1, ?2)")?
            .insert((label.id, value))?;
        label.values.insert(value.to_owned(), id);
        Ok(Some(id))
    }
}
