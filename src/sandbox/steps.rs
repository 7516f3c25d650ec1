//! The steps of a call at which gates hold it and edits are made: see [`super::gates`] and [`super::edits`].

use serde_json::Value;
use uuid::Uuid;

use super::answer::{Answer, Body};
use super::batch;
use super::call::Call;
use super::dispatch::{self, Incoming};
use super::faults::On;
use super::gates::{Hold, Passing, Step};
use super::route::Route;
use super::state::World;
use crate::domain::policy_types::{Expand, Read};

/// What holds a request back before anything is done with it: the gates for its writes.
pub fn held_before(world: &mut World, request: &Incoming) -> Vec<Hold> {
    let path = request.path.strip_prefix("/beta").unwrap_or(&request.path);
    if world.gates.is_idle() || dispatch::sign_in_tenant(request).is_some() {
        return Vec::new();
    }
    let now = world.now();
    let token = world.tokens.check(request.authorization.as_deref(), &request.base, now);
    let Ok(tenant) = token.map(|token| token.tenant) else { return Vec::new() };
    let calls = match Route::of(path) {
        Route::Batch => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            batch::outline(&body).collect()
        }
        _ => vec![(request.method.clone(), path.to_owned())],
    };
    let passing = calls.iter().filter_map(|(method, path)| {
        let route = Route::of(path);
        let is_write = route.kind(method) == Some(On::Write);
        is_write.then(|| world.passing(Step::WriteReceived, tenant, &route)).flatten()
    });
    let passing: Vec<Passing> = passing.collect();
    passing.iter().flat_map(|passing| world.gates.pass(passing)).collect()
}

/// Makes the edits that wait for a read, and holds its answer where a gate waits for it.
pub fn after_read(world: &mut World, call: &Call, route: &Route, answer: &Answer) {
    if call.method != "GET" || (world.gates.is_idle() && world.schedule.is_empty()) {
        return;
    }
    for read in complete_reads(call, route, answer) {
        let Some(passing) = world.passing(Step::Read, call.tenant, &read) else { continue };
        let list_and_id = read.list_path().zip(read.policy_id());
        let written = list_and_id.is_some_and(|(list, id)| {
            let tenant = world.tenants.get(&call.tenant);
            tenant.and_then(|tenant| tenant.policy(list, id)).is_some_and(|policy| policy.written)
        });
        world.make_due_edits(&passing);
        let mut holds = world.gates.pass(&passing);
        if written {
            holds.extend(world.gates.pass(&Passing { step: Step::ReadBack, ..passing }));
        }
        world.holds.extend(holds);
    }
}

/// The policies whose assignments the answer shows to their end, each as its own route.
fn complete_reads(call: &Call, route: &Route, answer: &Answer) -> Vec<Route> {
    let Body::Json(body) = &answer.body else { return Vec::new() };
    let works = route.rows().iter().any(|row| row.expand == Expand::Works);
    let expanded = works && call.parameter("$expand").is_some();
    let is_object = route.rows().iter().any(|row| row.read == Read::Object);
    match route {
        Route::Assignments(..) if body.get("@odata.nextLink").is_none() => vec![route.clone()],
        Route::Policy(..) if expanded || is_object => vec![route.clone()],
        Route::List(list) if expanded || is_object => {
            let items = body["value"].as_array().into_iter().flatten();
            items.filter_map(|item| Some(Route::Policy(list, item["id"].as_str()?.to_owned()))).collect()
        }
        _ => Vec::new(),
    }
}

impl World {
    /// The call as one that comes to a step, when it concerns a policy that there is.
    pub(super) fn passing(&self, step: Step, tenant: Uuid, route: &Route) -> Option<Passing> {
        let (list, id) = route.list_path().zip(route.policy_id())?;
        let policy_type = self.tenants.get(&tenant)?.policy(list, id)?.row.key;
        Some(Passing { step, tenant, policy_type, policy_id: id.to_owned() })
    }
}
