//! Waiting for runs to complete: asks the daemon, and shows what changes on stderr: bars on a terminal, lines
//! elsewhere. Stopping to watch does not stop a run.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::client::Client;
use super::views::{self, RunView};
use super::{CliError, output};

/// How long to wait.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WatchArgs {
    /// How long to wait at the most, such as 90s, 15m or 1h; the runs go on
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

impl Default for WatchArgs {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3600) }
    }
}

/// How often the daemon is asked.
const POLL: Duration = Duration::from_millis(500);
/// Rounds without an answer that are waited through: a restart of the daemon takes less.
const SILENT_ROUNDS_MAX: u32 = 60;

/// Waits until every run has completed; answers with the runs as they are then, by id.
///
/// # Errors
/// [`CliError::Failed`] when the time is over; what the daemon answers, once it has been silent for too long.
pub async fn until_completed(
    client: &Client,
    ids: impl IntoIterator<Item = i64>,
    args: WatchArgs,
) -> Result<BTreeMap<i64, Value>, CliError> {
    let mut open: Vec<i64> = ids.into_iter().collect();
    let mut completed = BTreeMap::new();
    let mut display = Display::new();
    let mut silent_rounds = 0;
    let deadline = tokio::time::Instant::now() + args.timeout;
    loop {
        let mut still_open = Vec::new();
        let mut silence = None;
        for id in open {
            match client.get(&format!("/runs/{id}"), &[]).await {
                Ok(answer) => {
                    let run: RunView = views::read("a run", &answer)?;
                    display.show(&run);
                    if run.is_completed() {
                        completed.insert(id, answer);
                    } else {
                        still_open.push(id);
                    }
                }
                Err(error) if error.is_passing() => {
                    still_open.push(id);
                    silence = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if still_open.is_empty() {
            return Ok(completed);
        }
        silent_rounds = if silence.is_some() { silent_rounds + 1 } else { 0 };
        if let Some(error) = silence.filter(|_| silent_rounds >= SILENT_ROUNDS_MAX) {
            return Err(error.into());
        }
        if tokio::time::Instant::now() + POLL > deadline {
            let timeout = humantime::format_duration(args.timeout);
            let ids: Vec<String> = still_open.iter().map(ToString::to_string).collect();
            return Err(CliError::Failed(format!(
                "runs still active after {timeout}: {}; they go on: `atlasd runs watch` waits longer",
                ids.join(", ")
            )));
        }
        open = still_open;
        tokio::time::sleep(POLL).await;
    }
}

/// What a person sees meanwhile.
enum Display {
    Bars { all: MultiProgress, of: BTreeMap<i64, ProgressBar> },
    Lines { last: BTreeMap<i64, String> },
}

impl Display {
    fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars { all: MultiProgress::new(), of: BTreeMap::new() }
        } else {
            Self::Lines { last: BTreeMap::new() }
        }
    }

    fn show(&mut self, run: &RunView) {
        match self {
            Self::Bars { all, of } => {
                let bar = of.entry(run.id).or_insert_with(|| all.add(bar()));
                if let Some(progress) = &run.progress {
                    let (done, total) = progress.steps();
                    // Nothing of nothing would be a full bar: until the total is known the bar is empty.
                    bar.set_length(total.max(1));
                    bar.set_position(done);
                }
                bar.set_message(describe(run));
                if run.is_completed() {
                    bar.finish();
                } else {
                    bar.tick();
                }
            }
            Self::Lines { last } => {
                let line = line(run);
                if last.get(&run.id) != Some(&line) {
                    output::say(&line);
                    last.insert(run.id, line);
                }
            }
        }
    }
}

fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {bar:20} {wide_msg}").expect("the template is a constant");
    ProgressBar::new(1).with_style(style)
}

/// A line for each state: no position in it, so that a log does not fill.
fn line(run: &RunView) -> String {
    let attempt = if run.attempt > 1 { format!(", attempt {}", run.attempt) } else { String::new() };
    let end = if run.is_completed() { format!(": {} {}", run.outcome, run.result()) } else { attempt };
    output::printable(format!("run {} {} {}{end}", run.id, run.operation, run.status).trim_end())
}

fn describe(run: &RunView) -> String {
    let position = run.progress.as_ref().filter(|_| !run.is_completed()).map(|progress| {
        let waits = if progress.throttled_until.is_some() { ", waits for a throttle" } else { "" };
        match &progress.restore {
            Some(restore) => {
                format!(", {} of {} policies{waits}", restore.policies_done, restore.policies_total)
            }
            None => format!(", {} policies read{waits}", progress.read),
        }
    });
    format!("{}{}", line(run), position.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(status: &str, attempt: i64, position: u64) -> RunView {
        let outcome = if status == "completed" { "succeeded" } else { "pending" };
        let answer = json!({"id": 7, "workspace_id": 1, "type": "assignments.fetch", "status": status, "outcome": outcome,
            "created_at": "", "attempt": attempt, "summary_counts": {"total": 3}, "progress": {"read": position}});
        views::read("a run", &answer).expect("a run")
    }

    #[test]
    fn a_line_changes_with_the_state_and_not_with_the_position() {
        assert_eq!(line(&run("running", 1, 10)), "run 7 assignments.fetch running");
        assert_eq!(line(&run("running", 1, 10)), line(&run("running", 1, 20)));
        assert_eq!(line(&run("running", 2, 10)), "run 7 assignments.fetch running, attempt 2");
        assert_eq!(line(&run("completed", 2, 10)), "run 7 assignments.fetch completed: succeeded total=3");
    }

    #[test]
    fn a_restore_is_measured_by_its_policies() {
        let mut run = run("running", 1, 10);
        let answer =
            json!({"types_done": 1, "types_total": 9, "restore": {"policies_done": 3, "policies_total": 12}});
        run.progress = Some(views::read("progress", &answer).expect("progress"));
        assert_eq!(run.progress.as_ref().map(|progress| progress.steps()), Some((3, 12)));
        assert!(describe(&run).ends_with("3 of 12 policies"), "{}", describe(&run));
    }

    #[test]
    fn a_bar_is_empty_until_the_total_is_known() {
        let hidden = indicatif::ProgressDrawTarget::hidden();
        let mut display = Display::Bars { all: MultiProgress::with_draw_target(hidden), of: BTreeMap::new() };
        let mut shown = |run: &RunView| {
            display.show(run);
            let Display::Bars { of, .. } = &display else { unreachable!("it was made so") };
            (of[&run.id].position(), of[&run.id].length())
        };
        assert_eq!(shown(&run("running", 1, 0)), (0, Some(1)), "0 of 0 steps is no full bar");
        let mut known = run("running", 1, 10);
        let answer = json!({"types_done": 3, "types_total": 9});
        known.progress = Some(views::read("progress", &answer).expect("progress"));
        assert_eq!(shown(&known), (3, Some(9)));
        assert_eq!(shown(&run("completed", 1, 10)), (1, Some(1)));
    }

    #[test]
    fn a_bar_shows_the_position_until_the_end() {
        assert!(describe(&run("running", 1, 10)).ends_with("10 policies read"));
        assert!(!describe(&run("completed", 1, 10)).contains("read"));
    }
}
