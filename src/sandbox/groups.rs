//! Groups, directory objects, the organisation and assignment filters.

use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::paging::{self, Paging};
use super::state::{Group, World};

/// The ids that one `getByIds` takes.
const IDS_MAX: usize = 1000;

/// `GET /groups` and `GET /groups/{id}`.
pub fn groups(world: &World, call: &Call, id: Option<&str>) -> Answer {
    let Some(tenant) = world.tenants.get(&call.tenant) else { return answer::segment_not_found(call) };
    match id {
        Some(id) => match tenant.groups.get(&id.to_lowercase()) {
            Some(group) => Answer::json(200, group.object()),
            None => {
                let message = format!(
                    "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
                );
                answer::plain(call, 404, "Request_ResourceNotFound", &message)
            }
        },
        None => collection(world, call, "groups", tenant.groups.values().map(Group::object).collect()),
    }
}

/// `GET /deviceManagement/assignmentFilters[/{id}]`.
pub fn filters(world: &World, call: &Call, id: Option<&str>) -> Answer {
    let filters = world.tenants.get(&call.tenant).map(|tenant| tenant.filters.as_slice()).unwrap_or_default();
    match id {
        Some(id) => match filters.iter().find(|filter| filter.id == id) {
            Some(filter) => Answer::json(200, filter.body.clone()),
            None => answer::not_found(call),
        },
        None => {
            let items = filters.iter().map(|filter| filter.body.clone()).collect();
            collection(world, call, "deviceManagement/assignmentFilters", items)
        }
    }
}

/// `GET /organization`.
pub fn organization(world: &World, call: &Call) -> Answer {
    let name = world.tenants.get(&call.tenant).map(|tenant| tenant.spec.name.clone()).unwrap_or_default();
    let item = json!({"id": call.tenant.to_string(), "displayName": name, "technicalNotificationMails": [answer::CANARY_USER]});
    collection(world, call, "organization", vec![item])
}

/// `POST /directoryObjects/getByIds`: those that exist.
pub fn get_by_ids(world: &World, call: &Call) -> Answer {
    let ids = match &call.body {
        Some(Ok(body)) => body["ids"].as_array(),
        _ => None,
    };
    let Some(ids) = ids.filter(|ids| ids.len() <= IDS_MAX && ids.iter().all(Value::is_string)) else {
        return answer::plain(
            call,
            400,
            "Request_BadRequest",
            "Expected 'ids' with at most 1000 identifiers.",
        );
    };
    let groups = world.tenants.get(&call.tenant).map(|tenant| &tenant.groups);
    let found = ids.iter().filter_map(|id| groups?.get(&id.as_str()?.to_lowercase()).map(Group::object));
    let value: Vec<Value> = found.collect();
    let context = format!("{}/beta/$metadata#directoryObjects", call.base);
    Answer::json(200, json!({"@odata.context": context, "value": value}))
}

fn collection(world: &World, call: &Call, name: &str, items: Vec<Value>) -> Answer {
    let paging = Paging { size: 100, size_max: 999, empty_pages: world.config.empty_pages, twice: false };
    match paging::page(call, paging, items, "id") {
        Ok(mut page) => {
            page.insert("@odata.context".to_owned(), format!("{}/beta/$metadata#{name}", call.base).into());
            Answer::json(200, Value::Object(page))
        }
        Err(refusal) => *refusal,
    }
}
