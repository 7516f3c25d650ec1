//! How results are printed: a table for people, JSON for programs.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::CliError;

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
        Output::Table => print(&table(headers, items.iter().map(row), terminal_width())),
    }
}

/// Prints what belongs to one thing, a line each; what is empty is left out.
///
/// # Errors
/// When stdout cannot be written.
pub fn fields(rows: &[(&str, String)]) -> Result<(), CliError> {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    let rows = rows.map(|(name, value)| vec![format!("{name}:"), value.clone()]);
    let text = table(&["", ""], rows, terminal_width());
    print(text.trim_start_matches([' ', '\n']))
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

/// Says something on stderr that is no result.
pub fn say(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What is narrower cannot show a table in columns.
const WIDTH_MIN: u16 = 20;

fn terminal_width() -> Option<u16> {
    let table = Table::new();
    // One that does not know its width says 0.
    if table.is_tty() { table.width().filter(|width| *width >= WIDTH_MIN) } else { None }
}

/// Columns without lines around them, so that `cut` and `awk` can read them; wrapped where a terminal has a width.
fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(headers.iter().copied());
    if let Some(width) = width {
        table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
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
        let text = table(&["ID", "NAME"], rows.into_iter(), None);
        assert_eq!(text, "ID  NAME\n1   contoso\n22");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(table(&["ID", "NAME"], std::iter::empty(), None), "ID  NAME");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let rows = [vec!["a\u{1b}[31mb\nc".to_owned()]];
        let text = table(&["NAME"], rows.into_iter(), None);
        assert_eq!(text, "NAME\na\u{fffd}[31mb\u{fffd}c");
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let rows = [vec!["word ".repeat(30)]];
        let text = table(&["NAME"], rows.into_iter(), Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_eq!(text.matches("word").count(), 30);
    }
}
