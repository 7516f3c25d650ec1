//! A snapshot against the tenant as it is now: a fetch of the same types, then the difference.

use actix_web::http::header::{CACHE_CONTROL, ContentType, LOCATION};
use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};

use super::Visit;
use super::layout::{self, Tab};
use super::parts::{badges, verdicts};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Viewer};
use crate::admin::problem::{Missing, Problem};
use crate::admin::runs::visible_run;
use crate::admin::snapshots::visible_snapshot;
use crate::admin::verdict;
use crate::domain::admission::Verdict;
use crate::domain::audit::Action;
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::ids::{RunId, SnapshotId};
use crate::intake;
use crate::store::Snapshot;

/// How often a browser looks again while the fetch goes on, with or without a script.
const LOOK_AGAIN_S: &str = "2";

/// Asks for the fetch.
#[post("/snapshots/{id}/drift")]
pub(super) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<SnapshotId>,
) -> Result<HttpResponse, Problem> {
    let snapshot = visible_snapshot(&state, &caller.0, *id).await?;
    let by = caller.0.initiator();
    let ask = async |force| {
        let request = intake::drift_of(&state.directory, &snapshot, force, &by).await?;
        verdict::ask_as(&state, Action::DriftAsked, request).await
    };
    let mut verdict = ask(false).await?;
    // Its own fetch would only show that it is as it is: who asks wants to know what came after. It reads, and no more.
    if matches!(&verdict, Verdict::Cooldown { run, .. } if made_by(run) == Some(snapshot.id)) {
        verdict = ask(true).await?;
    }
    let to = format!("/snapshots/{}/drift/{}", snapshot.id, verdicts::run_of(&verdict));
    Ok(verdicts::told(&verdict, "A fetch").redirect(&to))
}

/// Waits for it, then leads to the difference.
#[get("/snapshots/{id}/drift/{run}")]
pub(super) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    ids: web::Path<(SnapshotId, RunId)>,
) -> Result<HttpResponse, Problem> {
    let (id, run) = ids.into_inner();
    let snapshot = visible_snapshot(&state, &caller.0, id).await?;
    let run = visible_run(&state, &caller.0, run).await?;
    if run.tenant_id != Some(snapshot.tenant_id) || run.operation != Operation::Fetch {
        return Err(Problem::not_found(Missing::Run));
    }
    if let Some(now) = made_by(&run) {
        let to = format!("/snapshots/{}/diff/{now}", snapshot.id);
        return Ok(HttpResponse::SeeOther().insert_header((LOCATION, to)).finish());
    }
    let page = layout::page(visit.shell("Fetch and compare", Tab::Tenants), content(&snapshot, &run));
    let mut answer = HttpResponse::Ok();
    answer.insert_header(ContentType::html()).insert_header((CACHE_CONTROL, "no-store"));
    if run.is_active() {
        answer.insert_header(("refresh", LOOK_AGAIN_S));
    }
    Ok(answer.body(page.into_string()))
}

/// The snapshot that a fetch made, once it has ended.
fn made_by(run: &Run) -> Option<SnapshotId> {
    let id = run.context.get("snapshot_id")?.as_i64()?;
    (!run.is_active()).then_some(SnapshotId(id))
}

fn content(snapshot: &Snapshot, run: &Run) -> Markup {
    html! {
        div.head {
            p.crumbs { a href={ "/snapshots/" (snapshot.id) } { "Snapshot " (snapshot.id) } }
            h1 { "Fetch and compare" }
            (badges::run(run))
        }
        section.panel aria-label="The fetch" {
            div.empty {
                @if run.is_active() {
                    h2 { "The tenant is being read" }
                    p {
                        "Run " a href={ "/runs/" (run.id) } { "#" (run.id) }
                        " reads the types of snapshot " (snapshot.id) " as they are now. What has changed is shown here as soon as it is done."
                    }
                } @else {
                    h2 { "The tenant could not be read" }
                    p {
                        "Run " a href={ "/runs/" (run.id) } { "#" (run.id) } " ended without a snapshot; its page says why."
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::admin::samples;
    use crate::admin::web::parts::snapshots;
    use crate::domain::run::{Outcome, Status};

    #[test]
    fn the_difference_is_there_once_the_fetch_has_ended() {
        let mut run = samples::run(RunId(9), Map::from_iter([("snapshot_id".to_owned(), json!(12))]));
        assert_eq!(made_by(&run), None, "it is still active");
        run.status = Status::Completed;
        run.outcome = Outcome::Failed;
        assert_eq!(made_by(&run), Some(SnapshotId(12)), "what could be read can be compared");
        run.context.clear();
        assert_eq!(made_by(&run), None);
        let text = content(&snapshots::sample(), &run).into_string();
        assert!(text.contains("could not be read"), "{text}");
    }
}
