//! How results are printed: a table for people, JSON for programs.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, ColumnConstraint, Table, Width, presets};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

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
    list_with(output, items, headers, &[], row)
}

/// The same; a terminal that is too narrow goes without the `dispensable` columns, the first ones first, and says so.
///
/// # Errors
/// When stdout cannot be written.
pub fn list_with<T: Serialize>(
    output: Output,
    items: &[T],
    headers: &[&str],
    dispensable: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), CliError> {
    if output == Output::Json {
        return json(&items);
    }
    let rows: Vec<_> = items.iter().map(row).collect();
    let dispensable: Vec<&str> = dispensable.iter().copied().filter(|one| headers.contains(one)).collect();
    let sheet = table(headers, &dispensable, &rows, Paper::of_stdout());
    print(&sheet.text)?;
    if !sheet.left_out.is_empty() {
        hint(&format!(
            "this terminal has no room for {}: `--output json` shows all",
            sheet.left_out.join(", ")
        ));
    }
    Ok(())
}

/// Prints what belongs to one thing, a line each; what is empty is left out.
///
/// # Errors
/// When stdout cannot be written.
pub fn fields(rows: &[(&str, String)]) -> Result<(), CliError> {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    let rows = rows.map(|(name, value)| vec![format!("{name}:"), value.clone()]);
    let rows: Vec<_> = rows.collect();
    let paper = Paper { colours: false, ..Paper::of_stdout() };
    print(&two_columns(&rows, paper))
}

/// Names and values. Where a word of a value is too long for the terminal, nothing is wrapped here: the terminal does
/// it, and a copy of what it shows is whole.
fn two_columns(rows: &[Vec<String>], paper: Paper) -> String {
    let headers = ["", ""];
    let rows = shown(rows, Times::Whole);
    let widths = paper.width.and_then(|width| fitted(&headers, &rows, width));
    columns(&headers, &rows, widths.as_deref(), paper).trim_start_matches([' ', '\n']).to_owned()
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

fn terminal_width() -> Option<usize> {
    let table = Table::new();
    // One that does not know its width says 0.
    let width = table.width().filter(|width| table.is_tty() && *width >= WIDTH_MIN);
    width.map(usize::from)
}

/// What a table is printed on.
#[derive(Clone, Copy, Default)]
struct Paper {
    /// Of the terminal; `None` elsewhere, where nothing is wrapped.
    width: Option<usize>,
    colours: bool,
}

impl Paper {
    fn of_stdout() -> Self {
        Self { width: terminal_width(), colours: colour::on(&std::io::stdout()) }
    }
}

/// What is longer than a UUID is text, and text can be wrapped.
const WHOLE_MAX: usize = 36;
/// What stands between two columns.
const GAP: usize = 2;

/// A table as text, and the columns that found no place in it.
struct Sheet<'a> {
    text: String,
    left_out: Vec<&'a str>,
}

/// Columns without lines around them, so that `cut` and `awk` can read them. Where a terminal has a width, they are
/// wrapped between words, never within one: a name, an id or a time in two pieces is none. What does not fit so goes
/// without columns that are `dispensable`, the first ones first, or else one below the other.
fn table<'a>(headers: &[&'a str], dispensable: &[&'a str], rows: &[Vec<String>], paper: Paper) -> Sheet<'a> {
    let whole = |text| Sheet { text, left_out: Vec::new() };
    let Some(width) = paper.width else {
        return whole(columns(headers, &shown(rows, Times::Whole), None, paper));
    };
    let seconds = shown(rows, Times::Second);
    let widest = widths(headers, &seconds, UnicodeWidthStr::width);
    if total(&widest) <= width {
        return whole(columns(headers, &seconds, Some(&widest), paper));
    }
    let minutes = shown(rows, Times::Minute);
    for count in 0..=dispensable.len() {
        let out = |header: &&str| dispensable[..count].contains(header);
        let (headers, rows) = without(headers, &minutes, out);
        if let Some(widths) = fitted(&headers, &rows, width) {
            let text = columns(&headers, &rows, Some(&widths), paper);
            let left_out = dispensable[..count].to_vec();
            return Sheet { text, left_out };
        }
    }
    whole(records(headers, &seconds))
}

/// The columns but for those that are `out`.
fn without<'a>(
    headers: &[&'a str],
    rows: &[Vec<String>],
    out: impl Fn(&&str) -> bool,
) -> (Vec<&'a str>, Vec<Vec<String>>) {
    let stays: Vec<bool> = headers.iter().map(|header| !out(header)).collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().zip(&stays).filter(|(_, stays)| **stays);
        cells.map(|(cell, _)| cell.clone()).collect()
    };
    let headers = headers.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(header, _)| *header);
    (headers.collect(), rows.iter().map(row).collect())
}

/// How much of a time (RFC 3339, UTC) is shown.
#[derive(Clone, Copy)]
enum Times {
    Whole,
    Second,
    Minute,
}

fn shown(rows: &[Vec<String>], times: Times) -> Vec<Vec<String>> {
    let chars = match times {
        Times::Whole => None,
        Times::Second => Some(19),
        Times::Minute => Some(16),
    };
    let word = |word: &str| match chars {
        Some(chars) if is_time(word) => word[..chars].replace('T', " "),
        _ => printable(word),
    };
    let cell = |cell: &String| cell.split(' ').map(word).collect::<Vec<_>>().join(" ");
    rows.iter().map(|row| row.iter().map(cell).collect()).collect()
}

fn is_time(word: &str) -> bool {
    word.len() == 27 && word.is_ascii() && word.ends_with('Z') && word.as_bytes()[10] == b'T'
}

/// The longest word of a cell, in places of a terminal.
fn longest_word(cell: &str) -> usize {
    cell.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// The widest cell of each column, its header among them.
fn widths(headers: &[&str], rows: &[Vec<String>], of: fn(&str) -> usize) -> Vec<usize> {
    let widest = |(index, header): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| of(cell));
        cells.max().unwrap_or(0).max(of(header))
    };
    headers.iter().enumerate().map(widest).collect()
}

/// What columns of these widths take.
fn total(widths: &[usize]) -> usize {
    (widths.iter().sum::<usize>() + GAP * widths.len()).saturating_sub(GAP)
}

/// A width for each column, such that every word stays in one piece; `None` where there is no room for that. Beyond it,
/// the first columns become as wide as they need to be first: what names a thing is copied from there. What is left
/// goes to the others in equal parts.
fn fitted(headers: &[&str], rows: &[Vec<String>], width: usize) -> Option<Vec<usize>> {
    let mut fitted = widths(headers, rows, longest_word);
    let mut spare = width.checked_sub(total(&fitted))?;
    let widest = widths(headers, rows, UnicodeWidthStr::width);
    for (own, widest) in fitted.iter_mut().zip(&widest) {
        let more = widest.saturating_sub(*own);
        if *widest <= WHOLE_MAX && more <= spare {
            *own += more;
            spare -= more;
        }
    }
    let is_short = |fitted: &[usize]| fitted.iter().zip(&widest).any(|(own, widest)| own < widest);
    while spare > 0 && is_short(&fitted) {
        for (own, widest) in fitted.iter_mut().zip(&widest) {
            if spare > 0 && *own < *widest {
                *own += 1;
                spare -= 1;
            }
        }
    }
    Some(fitted)
}

fn columns(headers: &[&str], rows: &[Vec<String>], widths: Option<&[usize]>, paper: Paper) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(headers.iter().copied());
    if paper.colours {
        table.enforce_styling();
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| match colour::of(cell) {
            Some(colour) if paper.colours => Cell::new(cell).fg(colour),
            _ => Cell::new(cell),
        }));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if let Some(width) = widths.and_then(|widths| widths.get(index)) {
            let fixed = u16::try_from(width + GAP).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(fixed)));
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
        let text = text_of(&["ID", "NAME"], &rows, Paper::default());
        assert_eq!(text, "ID  NAME\n1   contoso\n22");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(text_of(&["ID", "NAME"], &[], Paper::default()), "ID  NAME");
    }

    fn on(width: usize) -> Paper {
        Paper { width: Some(width), colours: false }
    }

    fn text_of(headers: &[&str], rows: &[Vec<String>], paper: Paper) -> String {
        let sheet = table(headers, &[], rows, paper);
        assert!(sheet.left_out.is_empty(), "nothing was said to be dispensable");
        sheet.text
    }

    fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn what_has_no_room_for_columns_stands_one_below_the_other() {
        let headers = ["ID", "TYPE", "TENANT", "STATUS", "RESULT"];
        let rows = [row(["7", "assignments.fetch", "Contoso Ltd", "completed", ""])];
        let narrow = text_of(&headers, &rows, on(30));
        assert_eq!(narrow, "ID: 7\nTYPE: assignments.fetch\nTENANT: Contoso Ltd\nSTATUS: completed");
        let wide = text_of(&headers, &rows, on(60));
        assert!(
            wide.starts_with("ID  TYPE ") && wide.lines().all(|line| line.chars().count() <= 60),
            "{wide}"
        );
    }

    #[test]
    fn a_terminal_gets_times_to_the_second_and_a_pipe_gets_them_whole() {
        let rows = [row(["2026-01-01T00:00:07.123456Z"])];
        assert_eq!(text_of(&["AT"], &rows, on(80)), "AT\n2026-01-01 00:00:07");
        assert_eq!(text_of(&["AT"], &rows, Paper::default()), "AT\n2026-01-01T00:00:07.123456Z");
        let within = [row(["again at 2026-01-01T00:00:07.123456Z"])];
        assert_eq!(text_of(&["DETAIL"], &within, on(80)), "DETAIL\nagain at 2026-01-01 00:00:07");
    }

    /// What `atlasd runs list` shows.
    fn runs() -> ([&'static str; 8], Vec<Vec<String>>) {
        let at = "2026-11-28T18:30:07.123456Z";
        let result = "created=120 items=240 total=120";
        let fetch = ["101", "assignments.fetch", "1", "completed", "succeeded", "demo-0a1b2c3d", at, result];
        let reconcile =
            ["102", "ops.reconcile_adapter_runs", "-", "completed", "succeeded", "signal:SIGUSR1", at, ""];
        let headers = ["ID", "TYPE", "TENANT", "STATUS", "OUTCOME", "BY", "CREATED", "RESULT"];
        (headers, vec![row(fetch), row(reconcile)])
    }

    #[test]
    fn no_word_and_no_time_is_broken_at_any_width() {
        let (headers, rows) = runs();
        let words: Vec<String> = shown(&rows, Times::Minute)
            .iter()
            .flatten()
            .flat_map(|cell| cell.split(' '))
            .map(str::to_owned)
            .collect();
        for width in 20..200 {
            let text = text_of(&headers, &rows, on(width));
            for word in &words {
                assert!(text.contains(word.as_str()), "{word} at {width}:\n{text}");
            }
        }
    }

    #[test]
    fn columns_that_can_be_done_without_go_before_the_table_does() {
        let (headers, rows) = runs();
        let sheet = |width| table(&headers, &["BY", "RESULT"], &rows, on(width));
        assert!(sheet(160).left_out.is_empty() && sheet(160).text.contains("2026-11-28 18:30:07"));
        let at_80 = sheet(80);
        assert_eq!(at_80.left_out, ["BY", "RESULT"]);
        assert!(
            at_80.text.starts_with("ID ") && at_80.text.lines().all(|line| line.len() <= 80),
            "{}",
            at_80.text
        );
        assert!(
            sheet(30).left_out.is_empty() && sheet(30).text.contains("BY: signal:SIGUSR1"),
            "{}",
            sheet(30).text
        );
    }

    #[test]
    fn wide_letters_take_two_places() {
        let rows =
            [row(["\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}", "many words that have to be wrapped"])];
        let text = text_of(&["NAME", "TEXT"], &rows, on(24));
        assert!(text.lines().all(|line| line.width() <= 24), "{text}");
        assert!(text.contains(rows[0][0].as_str()), "{text}");
    }

    #[test]
    fn a_value_in_one_long_word_is_left_to_the_terminal() {
        let long = "x".repeat(100);
        let rows = [row(["short:", "a few words"]), row(["long:", &long])];
        let text = two_columns(&rows, on(40));
        assert_eq!(text, format!("short:  a few words\nlong:   {long}"));
    }

    #[test]
    fn names_and_ids_stay_in_one_piece_while_the_rest_wraps() {
        let headers = ["ID", "NAME", "DIRECTORY", "CLOUD", "TEXT"];
        let id = "8af5357b-2ca2-4188-87bf-7ede52243566";
        let rows = [row(["1", "hourly-check", id, "global", "many words that have to be wrapped somewhere"])];
        let text = text_of(&headers, &rows, on(80));
        assert!(text.contains("hourly-check") && text.contains(id), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn words_of_state_have_their_colour_where_colours_are() {
        let rows = [row(["7", "failed"])];
        let coloured = text_of(&["ID", "OUTCOME"], &rows, Paper { width: None, colours: true });
        assert!(coloured.contains("\u{1b}[") && coloured.contains("failed"), "{coloured:?}");
        assert!(!text_of(&["ID", "OUTCOME"], &rows, Paper::default()).contains('\u{1b}'));
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let rows = [vec!["a\u{1b}[31mb\nc".to_owned()]];
        let text = text_of(&["NAME"], &rows, Paper::default());
        assert_eq!(text, "NAME\na\u{fffd}[31mb\u{fffd}c");
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let rows = [vec!["word ".repeat(30)]];
        let text = text_of(&["NAME"], &rows, on(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_eq!(text.matches("word").count(), 30);
    }
}
