//! `[schedules.NAME]` and `[scheduler]`: standing requests of the configuration, and the limits of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{ConfigError, Span};
use crate::domain::identity::InputError;
use crate::domain::operation::Operation;
use crate::domain::schedule::{self, Timetable};

section!(
    /// What makes requests by the clock.
    SchedulerConfig {
        /// How often an instance looks for schedules and requests that are due.
        poll: Span = Span::secs(1),
        /// Schedules that may be added over the endpoint, in all workspaces together.
        schedules_max: usize = 1000,
        /// Schedules whose occurrence one look begins, at the most; the rest waits for the next look.
        occurrences_max: usize = 100,
        /// Requests made in one admission call, at the most.
        batch_max: usize = 100,
        /// How long an instance may take to get the verdicts of a batch; after that another may ask.
        hold: Span = Span::secs(60),
        /// The wait before a request is made again that got no verdict (draining, gate full, ledger unavailable).
        retry_after: Span = Span::secs(5),
    }
);

/// A schedule of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The workspace, by its slug.
    pub workspace: String,
    /// The tenant, by its directory id or its name; without it every tenant of the workspace, or the workspace itself.
    pub tenant: Option<String>,
    /// What is asked for.
    #[serde(rename = "type")]
    pub operation: String,
    /// With which inputs.
    #[serde(default)]
    pub inputs: Value,
    /// When.
    pub cron: String,
    /// The zone of `cron`.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Each request is made up to this long after its time.
    #[serde(default = "none")]
    pub jitter: Span,
    /// Whether it asks for anything at all.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn none() -> Span {
    Span(Duration::ZERO)
}

fn yes() -> bool {
    true
}

impl ScheduleConfig {
    /// The operation, once the schedule is valid.
    ///
    /// # Errors
    /// [`InputError`], naming the key.
    pub fn operation(&self) -> Result<Operation, InputError> {
        self.operation.parse().map_err(|error: crate::domain::operation::UnknownOperation| InputError {
            field: "type".to_owned(),
            problem: error.to_string(),
        })
    }

    /// The inputs in their normal form.
    ///
    /// # Errors
    /// [`InputError`], naming the key.
    pub fn normalised(&self) -> Result<Value, InputError> {
        let inputs = schedule::inputs(self.operation()?, self.tenant.is_some(), &self.inputs)?;
        Ok(inputs.to_json())
    }

    fn check(&self, name: &str) -> Result<(), InputError> {
        schedule::check_name(name)?;
        self.normalised()?;
        Timetable::parse(&self.cron, &self.timezone)?;
        schedule::check_jitter("jitter", *self.jitter)
    }
}

/// Checks every schedule.
pub(super) fn validate(
    schedules: &BTreeMap<String, ScheduleConfig>,
    scheduler: &SchedulerConfig,
) -> Result<(), ConfigError> {
    for (name, schedule) in schedules {
        schedule.check(name).map_err(|error| {
            ConfigError::Invalid(format!("[schedules.{name}] {}: {}", error.field, error.problem))
        })?;
    }
    let limits = [
        ("scheduler.poll", !scheduler.poll.is_zero(), "more than 0s"),
        ("scheduler.hold", *scheduler.hold >= Duration::from_secs(1), "at least 1s"),
        ("scheduler.retry_after", !scheduler.retry_after.is_zero(), "more than 0s"),
        ("scheduler.occurrences_max", scheduler.occurrences_max >= 1, "at least 1"),
        ("scheduler.batch_max", (1..=1000).contains(&scheduler.batch_max), "in 1..=1000"),
    ];
    match limits.into_iter().find(|(_, holds, _)| !holds) {
        Some((key, _, expected)) => Err(ConfigError::Invalid(format!("expected {key} to be {expected}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn told(keys: &str) -> Result<(), String> {
        let text = format!(
            "[schedules.nightly]\nworkspace = \"contoso\"\ntype = \"assignments.fetch\"\ncron = \"0 3 * * *\"\n{keys}\n"
        );
        let config: Config = Config::parse(&text)?;
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_schedule_needs_few_keys() {
        assert_eq!(told(""), Ok(()));
        assert_eq!(
            told(
                "tenant = \"Contoso\"\ntimezone = \"Europe/Berlin\"\njitter = \"5m\"\nenabled = false\ninputs = { policy_types = [\"mobileApp\"] }"
            ),
            Ok(())
        );
    }

    #[test]
    fn what_is_wrong_is_told_by_schedule_and_key() {
        for (keys, message) in [
            (
                "timezone = \"Berlin\"",
                "[schedules.nightly] timezone: expected an IANA time zone, found `Berlin`: did you mean Europe/Berlin?",
            ),
            ("jitter = \"25h\"", "[schedules.nightly] jitter: expected at most 24h"),
            ("inputs = { policy_types = [] }", "[schedules.nightly] inputs.policy_types: "),
            ("zone = \"UTC\"", "unknown field `zone`"),
            ("[scheduler]\npoll = \"0s\"", "expected scheduler.poll to be more than 0s"),
            ("[scheduler]\nbatch_max = 1001", "expected scheduler.batch_max to be in 1..=1000"),
        ] {
            let error = told(keys).expect_err(keys);
            assert!(error.contains(message), "{keys}: {error}");
        }
        for (key, value, message) in [
            (
                "cron",
                "0 3 * *",
                "[schedules.x] cron: expected five fields (minute, hour, day of month, month, day of week), found 4",
            ),
            ("type", "assignments.destroy", "[schedules.x] type: "),
            ("type", "assignments.restore", "[schedules.x] "),
        ] {
            let mut keys = [("workspace", "w"), ("type", "assignments.fetch"), ("cron", "@daily")];
            keys.iter_mut().find(|(name, _)| *name == key).expect("a key").1 = value;
            let lines: String = keys.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
            let config = Config::parse(&format!("[schedules.x]\n{lines}")).expect("it parses");
            let error = config.validate().expect_err(value).to_string();
            assert!(error.contains(message), "{value}: {error}");
        }
    }
}
