//! Cron expressions: five fields, or a nickname such as `@daily`. What is wrong is told by field.

use std::str::FromStr;

use chrono::NaiveDateTime;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::domain::identity::InputError;

/// LIMIT: characters of an expression.
const CHARS_MAX: usize = 200;

/// The fields, with what each takes.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31 or L"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT"),
];

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A cron expression that names at least one time.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    cron: Cron,
    every_hour: bool,
}

impl Expression {
    /// Reads an expression; `cron` is the field that errors name.
    ///
    /// # Errors
    /// [`InputError`]: what was expected of which field of the expression.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        let wrong = |problem: String| InputError { field: "cron".to_owned(), problem };
        let text = text.trim();
        if text.chars().count() > CHARS_MAX {
            return Err(wrong(format!("expected at most {CHARS_MAX} characters")));
        }
        let meant = match text.strip_prefix('@') {
            Some(_) => nickname(text).map_err(wrong)?,
            None => text,
        };
        let fields: Vec<&str> = meant.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            let names = FIELDS.map(|(name, _)| name).join(", ");
            return Err(wrong(format!("expected five fields ({names}), found {}", fields.len())));
        }
        let cron = read(meant).ok_or_else(|| wrong(wrong_field(&fields)))?;
        let expression = Self {
            text: text.to_owned(),
            cron,
            every_hour: fields[1].starts_with('*') && fields[1].len() == 1,
        };
        if expression.next_from(some_day()).is_none() {
            return Err(wrong(format!("expected a time that comes, found `{text}`, which never does")));
        }
        Ok(expression)
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names no hour: such a schedule goes by elapsed time where clocks are changed.
    pub(super) fn is_every_hour(&self) -> bool {
        self.every_hour
    }

    /// The first wall-clock time at or after `local` that it names, without any zone.
    pub(super) fn next_from(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&local, true).ok()
    }
}

impl FromStr for Expression {
    type Err = InputError;
    fn from_str(text: &str) -> Result<Self, InputError> {
        Self::parse(text)
    }
}

fn read(text: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text).ok()
}

fn nickname(text: &str) -> Result<&'static str, String> {
    let found = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let names = NICKNAMES.map(|(name, _)| name).join(", ");
        // Quoted so that it survives the sanitiser, which takes a word of letters around an @ for an address.
        format!("expected five fields or one of {names}, found \"{text}\"")
    })
}

/// Which field of an expression that cannot be read is to blame: the first that cannot be read among stars.
fn wrong_field(fields: &[&str]) -> String {
    let alone = |index: usize| {
        let mut others = ["*"; FIELDS.len()];
        others[index] = fields[index];
        read(&others.join(" ")).is_none()
    };
    match (0..FIELDS.len()).find(|index| alone(*index)) {
        Some(index) => {
            let (name, takes) = FIELDS[index];
            format!(
                "field {} ({name}): expected {takes}, lists, ranges or steps of it, found `{}`",
                index + 1,
                fields[index]
            )
        }
        None => format!("expected a cron expression, found `{}`", fields.join(" ")),
    }
}

/// From where a search proves that an expression names a time at all: any day will do.
fn some_day() -> NaiveDateTime {
    chrono::DateTime::UNIX_EPOCH.naive_utc()
}
