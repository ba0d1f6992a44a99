//! Tables for people: on a terminal, as plain text, or as Markdown.
//!
//! Text of producers is cleaned here, so that no cell can move the cursor, change colours, or end
//! the table.

use std::env;
use std::io::{self, IsTerminal};

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell as TableCell, CellAlignment, Color, ColumnConstraint, ContentArrangement,
    Table, Width,
};
use observer_figures::clean::{self, Style};

/// Limit of a cell in characters.
const MAX_CELL: usize = 200;
/// Limit of a name in characters on a terminal: a SHA-256 in hexadecimal.
const MAX_NAME: usize = 64;

/// Spaces between two columns.
const GAP: u16 = 2;
/// Width to which a column of text may be narrowed.
const MIN_TEXT: u16 = 12;

/// Properties of standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Number of columns; `None` if the output is not a terminal.
    pub(super) width: Option<u16>,
    pub(super) has_color: bool,
}

/// Table of cells.
#[derive(Debug, Default)]
pub(super) struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// Column of a grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    heading: &'static str,
    kind: Kind,
    /// Columns with the highest value are left out first on a narrow terminal; those with 0 never
    /// are.
    rank: u8,
}

/// Kind of the cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text that can be wrapped.
    Text,
    /// Text that stays on one line, so that it can be copied. A very long one is cut.
    Name,
    /// Number, which stays on one line at the right.
    Number,
}

/// Cell of a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    /// True if a producer wrote the text.
    is_foreign: bool,
    tone: Tone,
}

/// Meaning of a cell, which its colour shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Neutral,
    Good,
    Bad,
    Unsure,
    /// Less important than the others.
    Dim,
}

impl Terminal {
    /// Returns the properties of standard output. Colour is off with the variable `NO_COLOR`
    /// (no-color.org), and on a terminal that has none.
    pub(super) fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self { width: Table::new().width(), has_color: !is_set("NO_COLOR") && !is_dumb }
    }
}

impl Column {
    pub(super) const fn text(heading: &'static str) -> Self {
        Self { heading, kind: Kind::Text, rank: 0 }
    }

    pub(super) const fn name(heading: &'static str) -> Self {
        Self { heading, kind: Kind::Name, rank: 0 }
    }

    pub(super) const fn number(heading: &'static str) -> Self {
        Self { heading, kind: Kind::Number, rank: 0 }
    }

    /// Allows to leave the column out on a narrow terminal. A higher rank goes first.
    pub(super) const fn optional(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

impl Cell {
    /// Creates a cell with text of the observer itself.
    pub(super) fn own(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_foreign: false, tone: Tone::Neutral }
    }

    /// Creates a cell with text of a producer.
    pub(super) fn foreign(text: impl Into<String>) -> Self {
        Self { is_foreign: true, ..Self::own(text) }
    }

    /// Creates a cell with text of a producer, or a dash without it.
    pub(super) fn optional(text: Option<&str>) -> Self {
        text.map_or_else(Self::none, Self::foreign)
    }

    /// Creates a cell without a value.
    pub(super) fn none() -> Self {
        Self::own("–").tone(Tone::Dim)
    }

    pub(super) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// Returns the text as one line of at most this many characters.
    fn line(&self, max_chars: usize) -> String {
        clean::line(&self.text, max_chars)
    }

    fn markdown(&self) -> String {
        if self.is_foreign {
            Style::Markdown.label(&self.text)
        } else {
            self.text.replace('|', "\\|")
        }
    }
}

impl Grid {
    pub(super) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Appends a row, which has a cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Formats the table within the width of the terminal: text is wrapped, and optional columns
    /// are left out. If that isn't enough, each row becomes a record with a line per column. Names
    /// of up to 64 characters and numbers are always whole, even if they alone are wider than the
    /// terminal.
    pub(super) fn to_text(&self, terminal: Terminal) -> String {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let widths = self.table(&shown, terminal).column_max_content_widths();
        while let Some(width) = terminal.width
            && self.least_width(&shown, &widths) > width
            && let Some(least) = shown.iter().copied().max_by_key(|at| self.columns[*at].rank)
            && self.columns[least].rank > 0
        {
            shown.retain(|at| *at != least);
        }
        if let Some(width) = terminal.width
            && self.least_width(&shown, &widths) > width
        {
            return self.to_records(terminal, width);
        }
        let mut text = self.table(&shown, terminal).trim_fmt() + "\n";
        let is_omitted = |at: &usize| !shown.contains(at);
        let omitted: Vec<_> =
            (0..self.columns.len()).filter(is_omitted).map(|at| self.columns[at].heading).collect();
        if !omitted.is_empty() {
            let note = format!("(columns for a wider terminal: {})", omitted.join(", "));
            let mut lines = plain(terminal.width, false);
            lines.add_row([note]);
            text.push_str(&unpadded(lines));
        }
        text
    }

    /// Formats each row as a record: a line for each column, its heading first. A name that doesn't
    /// fit beside its heading has a line of its own.
    fn to_records(&self, terminal: Terminal, width: u16) -> String {
        let headings = self.columns.iter().map(|column| column.heading.chars().count());
        let beside = u16::try_from(headings.max().unwrap_or(0)).unwrap_or(u16::MAX);
        let left = width.saturating_sub(beside.saturating_add(GAP)).max(MIN_TEXT);
        let mut records = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut record = String::new();
            for (column, cell) in self.columns.iter().zip(row) {
                let heading = TableCell::new(column.heading).add_attribute(Attribute::Bold);
                let value =
                    cell.styled(if column.kind == Kind::Text { MAX_CELL } else { MAX_NAME });
                let is_wide = cell.line(MAX_NAME).chars().count() > usize::from(left);
                if column.kind != Kind::Text && is_wide {
                    let mut lines = plain(None, terminal.has_color);
                    lines.add_row([heading]).add_row([value]);
                    record.push_str(&unpadded(lines));
                    continue;
                }
                let mut line = plain(Some(beside + GAP + left), terminal.has_color);
                line.add_row([heading, value]);
                let widths = [Width::Fixed(beside + GAP), Width::Fixed(left)];
                for ((column, width), padding) in line.column_iter_mut().zip(widths).zip([GAP, 0]) {
                    column.set_padding((0, padding));
                    column.set_constraint(ColumnConstraint::Absolute(width));
                }
                record.push_str(&(line.trim_fmt() + "\n"));
            }
            records.push(record);
        }
        records.join("\n")
    }

    /// Returns the width of these columns with text wrapped as far as it is readable.
    fn least_width(&self, shown: &[usize], widths: &[u16]) -> u16 {
        let column = |at: &usize| match self.columns[*at].kind {
            Kind::Text => widths[*at].min(MIN_TEXT),
            Kind::Name | Kind::Number => widths[*at],
        };
        let gaps = GAP * u16::try_from(shown.len().saturating_sub(1)).unwrap_or(u16::MAX);
        shown.iter().map(column).fold(gaps, u16::saturating_add)
    }

    /// Returns the table of some columns.
    fn table(&self, shown: &[usize], terminal: Terminal) -> Table {
        let mut table = plain(terminal.width, terminal.has_color);
        let bold = |column: &Column| TableCell::new(column.heading).add_attribute(Attribute::Bold);
        table.set_header(shown.iter().map(|at| bold(&self.columns[*at])));
        for row in &self.rows {
            table.add_row(shown.iter().map(|at| {
                let is_name = self.columns[*at].kind == Kind::Name && terminal.width.is_some();
                row[*at].styled(if is_name { MAX_NAME } else { MAX_CELL })
            }));
        }
        let widths = table.column_max_content_widths();
        for ((column, at), width) in table.column_iter_mut().zip(shown).zip(widths) {
            let own = &self.columns[*at];
            let padding = if Some(at) == shown.last() { 0 } else { GAP };
            column.set_padding((0, padding));
            if own.kind == Kind::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
            column.set_constraint(if own.kind == Kind::Text {
                ColumnConstraint::LowerBoundary(Width::Fixed(width.min(MIN_TEXT) + padding))
            } else {
                ColumnConstraint::ContentWidth
            });
        }
        table
    }

    /// Formats the table as Markdown.
    pub(super) fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = |column: &Column| match column.kind {
            Kind::Number => "---:".to_owned(),
            Kind::Text | Kind::Name => "---".to_owned(),
        };
        let headings = self.columns.iter().map(|column| column.heading.to_owned());
        let mut text = line(headings.collect());
        text.push_str(&line(self.columns.iter().map(rule).collect()));
        for row in &self.rows {
            text.push_str(&line(row.iter().map(Cell::markdown).collect()));
        }
        text
    }
}

/// Formats a table whose columns have no padding.
fn unpadded(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 0));
    });
    table.trim_fmt() + "\n"
}

/// Returns a table without lines, as wide as a terminal.
fn plain(width: Option<u16>, has_color: bool) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.force_no_tty();
    if let Some(width) = width {
        table.set_width(width);
    }
    if has_color {
        table.enforce_styling();
    }
    table
}

impl Cell {
    fn styled(&self, max_chars: usize) -> TableCell {
        let cell = TableCell::new(self.line(max_chars));
        match self.tone {
            Tone::Neutral => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Unsure => cell.fg(Color::Yellow),
            Tone::Dim => cell.add_attribute(Attribute::Dim),
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn grid() -> Grid {
        let mut grid =
            Grid::new([Column::name("name"), Column::number("cost"), Column::text("reason")]);
        grid.row([
            Cell::foreign("gpt_5"),
            Cell::own("$1.50"),
            Cell::foreign("assertion failed | \x1b[31mred\x1b[0m\nline 2").tone(Tone::Bad),
        ]);
        grid.row([Cell::foreign("a-rather-long-name"), Cell::own("$1,000.00"), Cell::none()]);
        grid
    }

    #[test]
    fn table_is_plain_and_unlimited_without_a_terminal() {
        assert_snapshot!(grid().to_text(Terminal::default()), @"
        name                     cost  reason
        gpt_5                   $1.50  assertion failed | red line 2
        a-rather-long-name  $1,000.00  –
        ");
    }

    #[test]
    fn table_fits_the_terminal_by_wrapping_text_alone() {
        let narrow = Terminal { width: Some(46), has_color: false };
        let text = grid().to_text(narrow);
        assert!(text.lines().all(|line| line.chars().count() <= 46), "{text}");
        assert_snapshot!(text, @"
        name                     cost  reason
        gpt_5                   $1.50  assertion
                                       failed | red
                                       line 2
        a-rather-long-name  $1,000.00  –
        ");
        let tiny = grid().to_text(Terminal { width: Some(10), has_color: false });
        assert!(tiny.contains("a-rather-long-name"), "{tiny}");
    }

    #[test]
    fn long_name_leaves_the_other_columns_readable() {
        let mut grid = Grid::new([
            Column::text("kind"),
            Column::name("sig_hash"),
            Column::number("cost").optional(1),
        ]);
        let sha256 = "0123456789abcdef".repeat(4);
        grid.row([Cell::foreign("tests_failed"), Cell::foreign(&sha256), Cell::own("$1.00")]);
        grid.row([Cell::foreign("ok"), Cell::foreign("x".repeat(3_000)), Cell::own("$2.00")]);
        let shown = |width| grid.to_text(Terminal { width, has_color: false });
        let cut = format!("{}…", "x".repeat(63));
        for width in [80, 90] {
            let text = shown(Some(width));
            assert!(text.contains(&format!("tests_failed  {sha256}")), "{width}: {text}");
            assert!(text.contains(&format!("ok            {cut}")), "{width}: {text}");
            assert_eq!(text.contains("$2.00"), width == 90, "{width}: {text}");
        }
        for width in [20, 40] {
            let text = shown(Some(width));
            assert!(text.contains(&format!("sig_hash\n{sha256}\n")), "{width}: {text}");
            assert!(text.contains(&format!("sig_hash\n{cut}\n")), "{width}: {text}");
            assert!(text.contains("cost      $2.00"), "{width}: {text}");
        }
        // Without a terminal, a name is whole for longer.
        assert!(shown(None).contains(&"x".repeat(199)), "{}", shown(None));
    }

    #[test]
    fn rows_are_records_on_a_terminal_that_is_too_narrow_for_columns() {
        let mut grid = Grid::new([
            Column::name("received"),
            Column::text("reason"),
            Column::number("cost").optional(1),
            Column::name("id"),
        ]);
        let id = "00000000-0000-0000-0000-000000000007";
        for reason in ["assertion failed: left is not right at all", "ok"] {
            let cells = [Cell::own("27 Nov 12:00"), Cell::foreign(reason).tone(Tone::Bad)];
            grid.row(cells.into_iter().chain([Cell::own("$1.00"), Cell::own(id)]));
        }
        let text = grid.to_text(Terminal { width: Some(40), has_color: false });
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_snapshot!(text, @"
        received  27 Nov 12:00
        reason    assertion failed: left is not
                  right at all
        cost      $1.00
        id
        00000000-0000-0000-0000-000000000007

        received  27 Nov 12:00
        reason    ok
        cost      $1.00
        id
        00000000-0000-0000-0000-000000000007
        ");
        let colored = grid.to_text(Terminal { width: Some(40), has_color: true });
        assert!(colored.contains("\x1b[1m"), "{colored:?}");
    }

    #[test]
    fn records_keep_within_a_terminal_of_any_width() {
        for width in [1, 20, 30] {
            let text = grid().to_text(Terminal { width: Some(width), has_color: false });
            let limit = usize::from(width.max("a-rather-long-name".len() as u16 + 2));
            assert!(text.lines().all(|line| line.chars().count() <= limit), "{width}: {text}");
            assert!(text.contains("a-rather-long-name"), "{width}: {text}");
        }
    }

    #[test]
    fn optional_columns_are_left_out_on_a_narrow_terminal() {
        let mut grid = Grid::new([
            Column::name("id"),
            Column::number("cost").optional(1),
            Column::number("turns").optional(2),
        ]);
        grid.row([Cell::own("0123456789"), Cell::own("$1.00"), Cell::own("17")]);
        let shown = |width| grid.to_text(Terminal { width: Some(width), has_color: false });
        assert!(!shown(24).contains("wider"), "{}", shown(24));
        assert_snapshot!(shown(23), @"
        id           cost
        0123456789  $1.00
        (columns for a wider
        terminal: turns)
        ");
        assert_snapshot!(shown(16), @"
        id
        0123456789
        (columns for a
        wider terminal:
        cost, turns)
        ");
    }

    #[test]
    fn colour_is_that_of_the_observer_alone() {
        let text = grid().to_text(Terminal { width: Some(100), has_color: true });
        assert!(text.contains("\x1b[38;5;9massertion failed | red line 2"), "{text:?}");
        assert!(!grid().to_text(Terminal::default()).contains('\x1b'));
    }

    #[test]
    fn markdown_keeps_producers_in_their_cells() {
        assert_snapshot!(grid().to_markdown(), @"
        | name | cost | reason |
        | --- | ---: | --- |
        | `gpt_5` | $1.50 | `assertion failed ¦ red line 2` |
        | a-rather-long-name | $1,000.00 | – |
        ");
    }
}
