//! A verdict as a message on the next page: what was answered, in a sentence, and where it leads.

use actix_web::HttpResponse;

use super::flash::Flash;
use crate::domain::admission::Verdict;
use crate::ids::RunId;

/// The run that a verdict is about.
pub fn run_of(verdict: &Verdict) -> RunId {
    match verdict {
        Verdict::Accepted(run) | Verdict::Active(run) | Verdict::Cooldown { run, .. } => run.id,
    }
}

/// The sentence. `what` begins it, such as `A fetch`.
pub fn told(verdict: &Verdict, what: &str) -> Flash {
    match verdict {
        Verdict::Accepted(run) => {
            tracing::info!(
                by = %run.initiator_name, run.id = run.id.0, run.type = run.operation.as_str(), "run accepted"
            );
            Flash::good(format!("{what} was accepted as run {}.", run.id))
        }
        Verdict::Active(run) => {
            Flash::warn(format!("Nothing was started: run {} does the same already.", run.id))
        }
        Verdict::Cooldown { run, retry_at, .. } => Flash::warn(format!(
            "Nothing was started: run {} did the same a moment ago. It can be asked for again at {} UTC.",
            run.id,
            retry_at.to_utc().format("%H:%M:%S")
        )),
    }
}

/// 303 to the run's page, with the sentence.
pub fn to_run(verdict: &Verdict, what: &str) -> HttpResponse {
    told(verdict, what).redirect(&format!("/runs/{}", run_of(verdict)))
}
