//! CSV (RFC 4180) for spreadsheets.
//!
//! Text that a spreadsheet would take for a formula gets an apostrophe in front: producers write
//! the text, and a formula in it could send data away when the file is opened (CWE-1236). Numbers
//! are not changed. Programs that need each text as it is read JSON.

use std::fmt::Write;

use observer_core::{Timestamp, Uuid};

/// Characters with which spreadsheets begin a formula, or that they skip in front of one.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Table in CSV. Lines end in CRLF.
#[derive(Debug)]
pub(super) struct Csv {
    text: String,
    is_first: bool,
}

/// Value of a cell.
pub(super) trait Cell {
    fn write(&self, csv: &mut Csv);
}

impl Csv {
    /// Creates a table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut csv = Self { text: String::new(), is_first: true };
        headings.iter().for_each(|heading| csv.cell(heading));
        csv.end_row();
        csv
    }

    /// Appends a cell to the current row.
    pub(super) fn cell(&mut self, value: &(impl Cell + ?Sized)) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
        value.write(self);
    }

    /// Ends the current row.
    pub(super) fn end_row(&mut self) {
        self.text.push_str("\r\n");
        self.is_first = true;
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        let _ = write!(self.text, "{number}");
    }
}

impl Cell for str {
    fn write(&self, csv: &mut Csv) {
        let guard = if self.starts_with(FORMULA) { "'" } else { "" };
        if self.contains([',', '"', '\r', '\n']) {
            let _ = write!(csv.text, "\"{guard}{}\"", self.replace('"', "\"\""));
        } else {
            let _ = write!(csv.text, "{guard}{self}");
        }
    }
}

impl Cell for String {
    fn write(&self, csv: &mut Csv) {
        self.as_str().write(csv);
    }
}

impl Cell for u64 {
    fn write(&self, csv: &mut Csv) {
        csv.number(self);
    }
}

impl Cell for f64 {
    fn write(&self, csv: &mut Csv) {
        csv.number(self);
    }
}

impl Cell for bool {
    fn write(&self, csv: &mut Csv) {
        csv.number(self);
    }
}

impl Cell for Timestamp {
    fn write(&self, csv: &mut Csv) {
        csv.number(self);
    }
}

impl Cell for Uuid {
    fn write(&self, csv: &mut Csv) {
        csv.number(self);
    }
}

impl<T: Cell + ?Sized> Cell for &T {
    fn write(&self, csv: &mut Csv) {
        (*self).write(csv);
    }
}

impl<T: Cell> Cell for Option<T> {
    fn write(&self, csv: &mut Csv) {
        if let Some(value) = self {
            value.write(csv);
        }
    }
}

/// Appends one row to a [`Csv`].
macro_rules! row {
    ($csv:expr; $($cell:expr),+ $(,)?) => {{
        $($csv.cell(&$cell);)+
        $csv.end_row();
    }};
}
pub(super) use row;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_necessary() {
        let mut csv = Csv::new(&["a", "b,c"]);
        row!(csv; "plain", "two\nlines, \"quoted\"");
        row!(csv; Option::<u64>::None, 1.5);
        row!(csv; "", true);
        let expected = "a,\"b,c\"\r\nplain,\"two\nlines, \"\"quoted\"\"\"\r\n,1.5\r\n,true\r\n";
        assert_eq!(csv.finish(), expected);
    }

    #[test]
    fn text_is_no_formula_and_numbers_stay_numbers() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3", "'-2+3"),
            ("+49", "'+49"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("a=1", "a=1"),
        ] {
            let mut csv = Csv::new(&["x"]);
            row!(csv; text);
            assert_eq!(csv.finish(), format!("x\r\n{expected}\r\n"));
        }
        let mut csv = Csv::new(&["x", "y"]);
        row!(csv; -1.5, Some(1e-7));
        assert_eq!(csv.finish(), "x,y\r\n-1.5,0.0000001\r\n");
    }
}
