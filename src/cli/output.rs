//! How results are printed: a table for people, JSON for programs.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use super::{CliError, colour};

/// The form of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns with a header.
    #[default]
    Table,
    /// A JSON array of the objects, complete.
    Json,
}

/// The `--output` of a listing.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputArgs {
    /// How to print the result
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// Prints a listing: `items` as JSON, or the rows that `row` makes of them.
///
/// # Errors
/// When stdout cannot be written.
pub fn list<T: Serialize>(
    output: Output,
    items: &[T],
    headers: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), CliError> {
    match output {
        Output::Json => json(&items),
        Output::Table => print(&table(headers, items.iter().map(row), Paper::of_stdout())),
    }
}

/// Prints what belongs to one thing, a line each; what is empty is left out.
///
/// # Errors
/// When stdout cannot be written.
pub fn fields(rows: &[(&str, String)]) -> Result<(), CliError> {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    let rows = rows.map(|(name, value)| vec![format!("{name}:"), value.clone()]);
    let rows: Vec<_> = rows.collect();
    let paper = Paper { width: terminal_width(), colours: false };
    print(columns(&["", ""], &rows, paper).trim_start_matches([' ', '\n']))
}

/// A time (RFC 3339, UTC) as a table shows it: to the minute.
pub fn minute(time: &str) -> String {
    time.get(..16).map_or_else(|| time.to_owned(), |head| head.replace('T', " "))
}

/// Prints a value as JSON.
///
/// # Errors
/// When stdout cannot be written.
pub fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).expect("what is printed has text keys and finite numbers");
    print(&text)
}

/// Prints a line, or several.
///
/// # Errors
/// When stdout cannot be written; a reader that has had enough (`| head`) is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::io("write to stdout")(error))
        }
        _ => Ok(()),
    }
}

/// Says what to do next, to people only: where stderr is a terminal.
pub fn hint(text: &str) {
    if std::io::stderr().is_terminal() {
        say(text);
    }
}

/// Says something on stderr that is no result.
pub fn say(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What is narrower shows nothing at all.
const WIDTH_MIN: u16 = 20;

fn terminal_width() -> Option<u16> {
    let table = Table::new();
    // One that does not know its width says 0.
    if table.is_tty() { table.width().filter(|width| *width >= WIDTH_MIN) } else { None }
}

/// What a table is printed on.
#[derive(Clone, Copy, Default)]
struct Paper {
    /// Of the terminal; `None` elsewhere, where nothing is wrapped.
    width: Option<u16>,
    colours: bool,
}

impl Paper {
    fn of_stdout() -> Self {
        Self { width: terminal_width(), colours: colour::on(&std::io::stdout()) }
    }
}

/// The least that a column needs to be read where its cells are longer.
const COLUMN_MIN: usize = 8;
/// What is longer than a UUID is text, and text can be wrapped.
const WHOLE_MAX: usize = 36;
/// What stands between two columns.
const GAP: usize = 2;

/// Columns without lines around them, so that `cut` and `awk` can read them; wrapped where a terminal has a width, and
/// one below the other where that is too narrow for columns.
fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>, paper: Paper) -> String {
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.iter().map(|cell| shown(cell, paper)).collect()).collect();
    match paper.width {
        Some(width) if is_too_narrow(headers, &rows, width) => records(headers, &rows),
        _ => columns(headers, &rows, paper),
    }
}

/// A cell as it is shown: a terminal gets times to the second, everything else gets them whole.
fn shown(cell: &str, paper: Paper) -> String {
    let is_time = cell.len() == 27 && cell.ends_with('Z') && cell.as_bytes()[10] == b'T';
    match cell.get(..19) {
        Some(second) if is_time && paper.width.is_some() => second.replace('T', " "),
        _ => printable(cell),
    }
}

fn is_too_narrow(headers: &[&str], rows: &[Vec<String>], width: u16) -> bool {
    let needed = widths(headers, rows).into_iter().zip(headers);
    let needed = needed.map(|(widest, header)| widest.min(COLUMN_MIN).max(header.chars().count()) + GAP);
    needed.sum::<usize>() > usize::from(width) + GAP
}

/// The widest cell of each column, its header among them.
fn widths(headers: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |(index, header): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(header.chars().count())
    };
    headers.iter().enumerate().map(widest).collect()
}

/// The columns that keep their whole width, the first ones first, as long as the others can still be read: what names a
/// thing is copied from there, and a name or an id in two pieces is none.
fn kept_whole(widths: &[usize], width: u16) -> Vec<bool> {
    let least: usize = widths.iter().map(|widest| (*widest).min(COLUMN_MIN) + GAP).sum();
    let mut spare = (usize::from(width) + GAP).saturating_sub(least);
    let keep = |widest: &usize| {
        let more = widest.saturating_sub(COLUMN_MIN);
        let fits = *widest <= WHOLE_MAX && more <= spare;
        spare -= if fits { more } else { 0 };
        fits
    };
    widths.iter().map(keep).collect()
}

fn columns(headers: &[&str], rows: &[Vec<String>], paper: Paper) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(headers.iter().copied());
    if let Some(width) = paper.width {
        table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
    }
    if paper.colours {
        table.enforce_styling();
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| match colour::of(cell) {
            Some(colour) if paper.colours => Cell::new(cell).fg(colour),
            _ => Cell::new(cell),
        }));
    }
    let widths = widths(headers, rows);
    let whole = paper.width.map(|width| kept_whole(&widths, width)).unwrap_or_default();
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if whole.get(index) == Some(&true) {
            let least = u16::try_from(widths[index] + GAP).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    table.trim_fmt()
}

/// `NAME: value`, a line each, and an empty line between two things.
fn records(headers: &[&str], rows: &[Vec<String>]) -> String {
    let record = |row: &Vec<String>| {
        let fields = headers.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        fields.map(|(header, cell)| format!("{header}: {cell}")).collect::<Vec<_>>().join("\n")
    };
    rows.iter().map(record).collect::<Vec<_>>().join("\n\n")
}

/// Names come from elsewhere: what would steer a terminal is shown, not carried out.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_columns_without_lines() {
        let rows = [vec!["1".to_owned(), "contoso".to_owned()], vec!["22".to_owned(), String::new()]];
        let text = table(&["ID", "NAME"], rows.into_iter(), Paper::default());
        assert_eq!(text, "ID  NAME\n1   contoso\n22");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(table(&["ID", "NAME"], std::iter::empty(), Paper::default()), "ID  NAME");
    }

    fn on(width: u16) -> Paper {
        Paper { width: Some(width), colours: false }
    }

    #[test]
    fn what_has_no_room_for_columns_stands_one_below_the_other() {
        let headers = ["ID", "TYPE", "TENANT", "STATUS", "RESULT"];
        let row = ["7", "assignments.fetch", "Contoso Ltd", "completed", ""].map(str::to_owned).to_vec();
        let narrow = table(&headers, [row.clone()].into_iter(), on(30));
        assert_eq!(narrow, "ID: 7\nTYPE: assignments.fetch\nTENANT: Contoso Ltd\nSTATUS: completed");
        let wide = table(&headers, [row].into_iter(), on(60));
        assert!(
            wide.starts_with("ID  TYPE ") && wide.lines().all(|line| line.chars().count() <= 60),
            "{wide}"
        );
    }

    #[test]
    fn a_terminal_gets_times_to_the_second_and_a_pipe_gets_them_whole() {
        let row = || [vec!["2026-01-01T00:00:07.123456Z".to_owned()]].into_iter();
        assert_eq!(table(&["AT"], row(), on(80)), "AT\n2026-01-01 00:00:07");
        assert_eq!(table(&["AT"], row(), Paper::default()), "AT\n2026-01-01T00:00:07.123456Z");
    }

    #[test]
    fn names_and_ids_stay_in_one_piece_while_the_rest_wraps() {
        let headers = ["ID", "NAME", "DIRECTORY", "CLOUD", "TEXT"];
        let id = "8af5357b-2ca2-4188-87bf-7ede52243566";
        let row = ["1", "hourly-check", id, "global", "many words that have to be wrapped somewhere"];
        let text = table(&headers, [row.map(str::to_owned).to_vec()].into_iter(), on(80));
        assert!(text.contains("hourly-check") && text.contains(id), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn words_of_state_have_their_colour_where_colours_are() {
        let row = || [vec!["7".to_owned(), "failed".to_owned()]].into_iter();
        let coloured = table(&["ID", "OUTCOME"], row(), Paper { width: None, colours: true });
        assert!(coloured.contains("\u{1b}[") && coloured.contains("failed"), "{coloured:?}");
        assert!(!table(&["ID", "OUTCOME"], row(), Paper::default()).contains('\u{1b}'));
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let rows = [vec!["a\u{1b}[31mb\nc".to_owned()]];
        let text = table(&["NAME"], rows.into_iter(), Paper::default());
        assert_eq!(text, "NAME\na\u{fffd}[31mb\u{fffd}c");
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let rows = [vec!["word ".repeat(30)]];
        let text = table(&["NAME"], rows.into_iter(), on(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_eq!(text.matches("word").count(), 30);
    }
}
