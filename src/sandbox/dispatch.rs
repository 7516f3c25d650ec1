//! From a request to an answer: who asks, the throttle, the faults, the permission, then the route's own work.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::answer::{self, Answer, Transport};
use super::call::Call;
use super::faults::{self, FaultKind, On, Subject};
use super::gates::{Hold, Step};
use super::leaks;
use super::log::{LogEntry, WriteRecord};
use super::route::{self, Route};
use super::state::World;
use super::steps;
use super::token::{self, SignIn};
use super::{assignments, batch, collections, groups, write};

/// The nextLinks that are remembered as followed, at the most.
const FOLLOWED_MAX: usize = 100_000;

/// A request as it came in.
#[derive(Debug)]
pub struct Incoming {
    /// In capitals.
    pub method: String,
    /// With a leading slash.
    pub path: String,
    /// Still encoded; empty for none.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `client-request-id` header.
    pub client_request_id: Option<String>,
    /// The values of all other headers.
    pub other_headers: Vec<String>,
    /// Whether `x-msft-approval-justification` came along.
    pub justified: bool,
    /// The body.
    pub body: Vec<u8>,
    /// `http://host:port` as the client sees it.
    pub base: String,
}

/// An answer and the id of its request.
#[derive(Debug)]
pub struct Outgoing {
    /// The answer.
    pub answer: Answer,
    /// For the `request-id` header.
    pub request_id: Uuid,
    /// What holds the answer back.
    pub holds: Vec<Hold>,
}

/// Answers sign-in, Graph, and the place where foreign links lead.
pub fn incoming(world: &mut World, request: Incoming) -> Outgoing {
    let request_id = world.next_request_id();
    leaks::look_for(world, &request, sign_in_tenant(&request).is_some());
    let answer = if request.path == "/_sandbox/trap" {
        world.log.stats.trap_requests += 1;
        world.log.stats.trap_tokens += u64::from(request.authorization.is_some());
        Answer::json(200, serde_json::json!({"value": []}))
    } else if let Some(tenant) = sign_in_tenant(&request) {
        sign_in(world, &request, tenant)
    } else {
        graph(world, &request, request_id)
    };
    Outgoing { answer, request_id, holds: std::mem::take(&mut world.holds) }
}

pub fn sign_in_tenant(request: &Incoming) -> Option<&str> {
    let tenant = request.path.strip_suffix("/oauth2/v2.0/token")?.strip_prefix('/')?;
    (request.method == "POST" && !tenant.contains('/')).then_some(tenant)
}

fn sign_in(world: &mut World, request: &Incoming, tenant: &str) -> Answer {
    let at = world.now();
    let form = String::from_utf8_lossy(&request.body);
    world.log.stats.retries_early += u64::from(world.throttle.is_early(&request.path, at));
    let answer = token::sign_in(world, &SignIn { tenant, form: &form, base: &request.base });
    if let Some(until) = faults::told_until(&answer, at) {
        world.throttle.tell_until(request.path.clone(), until);
    }
    world.log.record(LogEntry {
        at,
        tenant: Uuid::try_parse(tenant).ok(),
        method: request.method.clone(),
        path: request.path.clone(),
        kind: route::kind_name(Some(On::Token)),
        in_batch: false,
        status: status_of(&answer),
    });
    answer
}

fn graph(world: &mut World, request: &Incoming, request_id: Uuid) -> Answer {
    let now = world.now();
    let path = request.path.strip_prefix("/beta").unwrap_or(&request.path);
    let mut call = Call {
        tenant: Uuid::nil(),
        roles: [].into(),
        method: request.method.clone(),
        path: path.to_owned(),
        query: request.query.clone(),
        body: (!request.body.is_empty())
            .then(|| serde_json::from_slice::<Value>(&request.body).map_err(|_| ())),
        base: request.base.clone(),
        request_id,
        client_request_id: request.client_request_id.clone(),
        now,
        in_batch: false,
        justified: request.justified,
        modifier: None,
    };
    let refusal = match world.tokens.check(request.authorization.as_deref(), &request.base, now) {
        Ok(token) => {
            (call.tenant, call.roles) = (token.tenant, token.roles.clone());
            (path == request.path).then(|| answer::segment_not_found(&call))
        }
        Err(message) => Some(answer::unauthorized(&call, message)),
    };
    match refusal {
        None => one(world, call),
        Some(refusal) => {
            record(world, &call, None, &refusal);
            refusal
        }
    }
}

/// Answers one call, alone or as an item of a batch.
pub fn one(world: &mut World, mut call: Call) -> Answer {
    let route = Route::of(&call.path);
    let kind = route.kind(&call.method);
    let changes = world.log.changes;
    // A deleted policy has no type any more: its name is taken before.
    let written =
        if kind == Some(On::Write) { world.passing(Step::WriteApplied, call.tenant, &route) } else { None };
    let answer = carry_out(world, &mut call, &route, kind);
    record(world, &call, kind, &answer);
    let applied = world.log.changes > changes;
    if kind == Some(On::Write) {
        let policy_type = written.as_ref().map(|written| written.policy_type);
        record_write(world, &call, &route, &answer, policy_type, applied);
    }
    if let Some(written) = written.filter(|_| applied) {
        let holds = world.gates.pass(&written);
        world.holds.extend(holds);
    }
    if status_of(&answer) == 200 {
        steps::after_read(world, &call, &route, &answer);
    }
    answer
}

fn record_write(
    world: &mut World,
    call: &Call,
    route: &Route,
    answer: &Answer,
    policy_type: Option<&'static str>,
    applied: bool,
) {
    world.log.record_write(WriteRecord {
        at: call.now,
        tenant: call.tenant,
        policy_type: policy_type.map(str::to_owned),
        policy_id: route.policy_id().unwrap_or_default().to_owned(),
        method: call.method.clone(),
        path: call.path.clone(),
        content_sha256: call.content_sha256(),
        status: status_of(answer),
        applied,
        in_batch: call.in_batch,
        client_request_id: call.client_request_id.clone(),
    });
}

fn record(world: &mut World, call: &Call, kind: Option<On>, answer: &Answer) {
    let mark = if call.query.is_empty() { "" } else { "?" };
    world.log.record(LogEntry {
        at: call.now,
        tenant: (!call.tenant.is_nil()).then_some(call.tenant),
        method: call.method.clone(),
        path: format!("{}{mark}{}", call.path, call.query),
        kind: route::kind_name(kind),
        in_batch: call.in_batch,
        status: status_of(answer),
    });
}

fn status_of(answer: &Answer) -> u16 {
    match answer.transport {
        Transport::Closed | Transport::Lost | Transport::Silent(_) => 0,
        Transport::Plain | Transport::Slow(_) | Transport::Cut => answer.status,
    }
}

fn carry_out(world: &mut World, call: &mut Call, route: &Route, kind: Option<On>) -> Answer {
    let key = call.key();
    let is_write = kind == Some(On::Write);
    let early = u64::from(world.throttle.is_early(&key, call.now));
    world.log.stats.retries_early += early;
    world.log.stats.writes_retried_early += early * u64::from(is_write);
    // A batch costs nothing by itself: its items are counted one by one.
    if kind != Some(On::Batch)
        && let Some(wait) = over_budget(world, call, is_write)
    {
        world.log.stats.throttled += 1;
        let form = world.throttle.tell(key, call.now, wait);
        return answer::throttled(call, form, wait);
    }
    if let Some(fault) = fault(world, call, route, kind) {
        if fault == FaultKind::ExpireTokens {
            world.tokens.expire(Some(call.tenant), call.now);
            return answer::unauthorized(call, "Lifetime validation failed, the token is expired.");
        }
        if let Some(answer) = faults::instead(&fault, call) {
            if let Some(until) = faults::told_until(&answer, call.now) {
                world.throttle.tell_until(key, until);
            }
            return answer;
        }
        call.modifier = Some(fault);
    }
    let refusal = missing_permission(call, route, kind).or_else(|| followed_again(world, call));
    let answer = refusal.unwrap_or_else(|| {
        if is_write && let Some(passing) = world.passing(Step::WriteReceived, call.tenant, route) {
            world.make_due_edits(&passing);
        }
        work(world, call, route)
    });
    let Some(fault) = &call.modifier else { return answer };
    let answer = faults::afterwards(fault, call, answer);
    if let Some(until) = faults::told_until(&answer, call.now) {
        world.throttle.tell_until(key, until);
    }
    answer
}

/// The 400 for a nextLink that is followed a second time, where that is not allowed.
fn followed_again(world: &mut World, call: &Call) -> Option<Answer> {
    if !world.config.one_time_links || call.raw_parameter("$skiptoken").is_none() {
        return None;
    }
    // LIMIT: links would pile up; the oldest are not known, so all are forgotten.
    if world.followed.len() >= FOLLOWED_MAX {
        world.followed.clear();
    }
    let first = world.followed.insert(format!("{} {}", call.tenant, call.url()));
    (!first).then(|| answer::plain(call, 400, "BadRequest", "The skip token has expired."))
}

/// Counts the call; the wait when it is over a limit.
fn over_budget(world: &mut World, call: &Call, is_write: bool) -> Option<Duration> {
    let counted = world.throttle.count(call.tenant, is_write, call.now);
    world.log.counted(call.tenant, &counted);
    counted.over.into_iter().map(|(_, wait)| wait).max()
}

fn fault(world: &mut World, call: &Call, route: &Route, kind: Option<On>) -> Option<FaultKind> {
    let own_row = route.list_path().zip(route.policy_id()).and_then(|(list, id)| {
        world.tenants.get(&call.tenant)?.policy(list, id).map(|policy| policy.row.key)
    });
    let policy_types = match own_row {
        Some(key) => vec![key],
        None => route.rows().iter().map(|row| row.key).collect(),
    };
    let subject = Subject {
        tenant: call.tenant,
        policy_types,
        policy_id: route.policy_id(),
        kind,
        in_batch: call.in_batch,
    };
    let fault = world.faults.take(&subject)?;
    world.log.stats.faults_fired += 1;
    (fault != FaultKind::ApprovalRequired || !call.justified).then_some(fault)
}

/// The 403 for a token without the permission that the route asks for.
fn missing_permission(call: &Call, route: &Route, kind: Option<On>) -> Option<Answer> {
    let has = |wanted: &[&str]| call.roles.iter().any(|role| wanted.contains(&role.as_str()));
    if kind == Some(On::Directory) {
        let enough = ["GroupMember.Read.All", "Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All"];
        let open = *route == Route::Organization || has(&enough);
        return (!open).then(|| {
            let message = "Insufficient privileges to complete the operation.";
            answer::plain(call, 403, "Authorization_RequestDenied", message)
        });
    }
    let (read, write) = match (kind, route.rows().first()) {
        (Some(On::Filters), _) => {
            ("DeviceManagementConfiguration.Read.All", "DeviceManagementConfiguration.ReadWrite.All")
        }
        (_, Some(row)) => row.permission_read.zip(row.permission_write)?,
        (_, None) => return None,
    };
    let enough = if kind == Some(On::Write) { vec![write] } else { vec![read, write] };
    (!has(&enough)).then(|| answer::missing_scope(call, &enough))
}

fn work(world: &mut World, call: &Call, route: &Route) -> Answer {
    match (call.method.as_str(), route) {
        ("POST", Route::Batch) if !call.in_batch => batch::answer(world, call),
        ("GET", Route::List(list)) => collections::list(world, call, list),
        ("GET", Route::Policy(list, id)) => collections::get(world, call, list, id),
        ("PATCH", Route::Policy(list, id)) => write::patch(world, call, list, id),
        ("GET", Route::Assignments(list, id, paren)) => assignments::list(world, call, list, id, *paren),
        ("POST", Route::Assignments(list, id, _)) => write::add(world, call, list, id),
        ("GET", Route::Assignment(list, id, one)) => assignments::get(world, call, list, id, one),
        ("DELETE", Route::Assignment(list, id, one)) => write::remove(world, call, list, id, one),
        (_, Route::Action(list, id, action)) => write::action(world, call, list, id, action),
        ("GET", Route::Filters(id)) => groups::filters(world, call, id.as_deref()),
        ("GET", Route::Groups(id)) => groups::groups(world, call, id.as_deref()),
        ("POST", Route::GetByIds) => groups::get_by_ids(world, call),
        ("GET", Route::Organization) => groups::organization(world, call),
        (_, Route::Unknown) => answer::segment_not_found(call),
        _ => answer::no_route(call),
    }
}
