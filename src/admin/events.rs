//! The stream of events as server-sent events (SPEC section 10).
//!
//! A reader is held open by the server, so its token is looked up again each `events.heartbeat`: one that was withdrawn
//! is told nothing more. Such a look is no use of a session: a page that was left open does not keep itself signed in. A client that has gone is noticed by what cannot be written to it: its place comes back with
//! the next events, or after two heartbeats.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, get, web};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::AdminState;
use super::auth::{self, Place, Principal, Viewer};
use super::body::{self, Query};
use super::problem::Problem;
use crate::events::event::Name;
use crate::events::reader::{Drop, Filter, Reader, Turn};
use crate::ids::WorkspaceId;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Of a workspace.
    #[param(value_type = Option<i64>)]
    workspace_id: Option<String>,
    /// Of a tenant.
    #[param(value_type = Option<i64>)]
    tenant_id: Option<String>,
    /// Of an operation.
    #[param(value_type = Option<crate::domain::operation::Operation>)]
    r#type: Option<String>,
    /// Of a run.
    #[param(value_type = Option<i64>)]
    run_id: Option<String>,
    /// With one of these names, separated by commas.
    #[param(example = "run.completed,request.refused", pattern = "^[a-z]+[.][a-z]+(,[a-z]+[.][a-z]+)*$")]
    event: Option<String>,
    /// Go on after the event with this id, like the header `Last-Event-ID`, which goes first.
    last_event_id: Option<String>,
}

impl EventsQuery {
    /// What to hear; never more than the caller sees.
    fn for_caller(&self, caller: &Principal) -> Result<Filter, Problem> {
        let number = "the number of an id";
        let asked: Option<WorkspaceId> =
            body::parameter("workspace_id", self.workspace_id.as_deref(), number)?;
        Ok(Filter {
            workspace_id: caller.narrow(asked)?,
            tenant_id: body::parameter("tenant_id", self.tenant_id.as_deref(), number)?,
            operation: body::parameter("type", self.r#type.as_deref(), "the name of an operation")?,
            run_id: body::parameter("run_id", self.run_id.as_deref(), number)?,
            names: self.event.as_deref().map(names).transpose()?,
        })
    }
}

fn names(list: &str) -> Result<Vec<Name>, Problem> {
    let known = || Name::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let parse = |word: &str| {
        word.parse()
            .map_err(|()| Problem::invalid("event", &format!("expected some of {}, found `{word}`", known())))
    };
    list.split(',').map(parse).collect()
}

/// Streams what happens, as server-sent events: `run.queued`, `run.started`, `run.progress`, `run.completed`,
/// `run.retrying`, `request.refused`, `reconcile.repaired`; and about the stream itself `stream.gap` (something was
/// missed), `stream.dropped` and `stream.closed` (nothing follows).
#[utoipa::path(
    operation_id = "listen_to_events",
    tag = "events",
    params(EventsQuery, ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "Events until one side ends"),
        (status = 503, body = super::problem::Problem, content_type = "application/problem+json",
         description = "`events.full`: all places are taken, or `daemon.draining`",
         headers(("Retry-After" = u64, description = "Seconds"))),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/events")]
pub(super) async fn listen(
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<EventsQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = query.0.for_caller(&caller.0)?;
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let last_id = header.or(query.0.last_event_id.as_deref()).filter(|id| !id.is_empty());
    let reader = state.handle.events().subscribe(filter, last_id)?;
    let every = *state.config().events.heartbeat;
    let ticket = Ticket { state: state.clone(), headers: request.headers().clone(), caller: caller.0, every };
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // For reverse proxies that would hold events back.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(frames(reader, ticket)))
}

/// What lets a reader stay.
struct Ticket {
    state: web::Data<AdminState>,
    headers: HeaderMap,
    caller: Arc<Principal>,
    every: std::time::Duration,
}

impl Ticket {
    /// Whether the token still allows what it allowed. A ledger that does not answer takes nothing away.
    async fn is_good(&self) -> bool {
        match auth::authenticate(&Place::inside(&self.state), &self.headers).await {
            Ok((principal, _)) => principal == self.caller,
            Err(problem) => !problem.is_unauthorised(),
        }
    }
}

/// Where a stream stands.
enum Step {
    Begin(Reader, Ticket),
    Go { reader: Reader, ticket: Ticket, look_at: Instant },
    End,
}

/// The frames of a reader, until its end.
fn frames(reader: Reader, ticket: Ticket) -> impl Stream<Item = Result<web::Bytes, Infallible>> {
    stream::unfold(Step::Begin(reader, ticket), |step| async {
        let (text, next) = match step {
            Step::End => return None,
            Step::Begin(reader, ticket) => {
                let look_at = Instant::now() + ticket.every;
                (reader.greeting(), Step::Go { reader, ticket, look_at })
            }
            Step::Go { mut reader, ticket, mut look_at } => {
                let mut turn = reader.next().await;
                if Instant::now() >= look_at {
                    look_at = Instant::now() + ticket.every;
                    if !ticket.is_good().await {
                        turn = Turn::Dropped(Drop::Unauthorised);
                    }
                }
                let text = reader.write(&turn);
                (text, if turn.is_last() { Step::End } else { Step::Go { reader, ticket, look_at } })
            }
        };
        Some((Ok(web::Bytes::from(text)), next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Role;

    fn filter(query: EventsQuery, workspace: Option<i64>) -> Result<Filter, &'static str> {
        let caller =
            Principal { name: "t".to_owned(), role: Role::Viewer, workspace: workspace.map(WorkspaceId) };
        query.for_caller(&caller).map_err(|problem| problem.code())
    }

    #[test]
    fn a_bound_caller_hears_of_its_own_workspace_only() {
        assert_eq!(filter(EventsQuery::default(), Some(4)).unwrap().workspace_id, Some(WorkspaceId(4)));
        let foreign = EventsQuery { workspace_id: Some("5".to_owned()), ..EventsQuery::default() };
        assert_eq!(filter(foreign, Some(4)).unwrap_err(), "workspace.not_found");
    }

    #[test]
    fn names_are_a_list() {
        let query = |event: &str| EventsQuery { event: Some(event.to_owned()), ..EventsQuery::default() };
        let both = filter(query("run.completed,request.refused"), None).unwrap().names;
        assert_eq!(both, Some(vec![Name::RunCompleted, Name::RequestRefused]));
        for wrong in ["", "run", "run.completed,", "run.completed, run.queued"] {
            assert_eq!(filter(query(wrong), None).unwrap_err(), "request.invalid", "{wrong}");
        }
    }
}
