//! `atlasd schedules next`: what an expression means, without a daemon.

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;

use super::super::CliError;
use super::super::output::{self, OutputArgs};
use crate::clock::{Clock, Instant};
use crate::domain::schedule::Timetable;

/// Arguments of `atlasd schedules next`.
#[derive(Debug, Args)]
pub struct Next {
    /// Minute, hour, day of month, month, day of week, in quotes; or @daily and the like
    cron: String,
    /// The IANA time zone of the expression
    #[arg(long, default_value = "UTC")]
    timezone: String,
    /// How many times
    #[arg(long, short = 'n', default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// After this time (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    after: Option<DateTime<Utc>>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Next {
    /// Runs the command.
    ///
    /// # Errors
    /// [`CliError::Usage`] when the expression or the zone is none.
    pub fn run(&self) -> Result<(), CliError> {
        let table = Timetable::parse(&self.cron, &self.timezone)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let after = self.after.map_or_else(|| Clock::system().now(), Instant::from);
        let times: Vec<_> = table
            .upcoming(after, self.count.into())
            .into_iter()
            .map(|at| json!({"at": at, "local": local(&table, at)}))
            .collect();
        let cell =
            |time: &serde_json::Value, field: &str| time[field].as_str().unwrap_or_default().to_owned();
        output::list(self.output.output, &times, &["LOCAL", "UTC"], |time| {
            vec![cell(time, "local"), output::minute(&cell(time, "at"))]
        })
    }
}

/// The wall-clock time with its offset: the offset tells the two showings of one hour apart.
fn local(table: &Timetable, at: Instant) -> String {
    at.to_utc().with_timezone(&table.zone()).format("%a %Y-%m-%d %H:%M %:z").to_string()
}
