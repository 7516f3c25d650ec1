//! Lists of policies, and single policies.

use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::faults::FaultKind;
use super::paging::{self, Paging};
use super::state::{Policy, World, rows_of};
use crate::domain::policy_types::{Expand, Read};

/// The list that carries a doubly percent-encoded token, and the page's size as its count.
const SETTINGS_CATALOGUE: &str = "/deviceManagement/configurationPolicies";
/// The list whose count is 0 whatever it holds.
const MOBILE_APPS: &str = "/deviceAppManagement/mobileApps";
/// The lists that refuse to expand their assignments.
const EXPAND_REFUSED: [&str; 2] = ["/deviceAppManagement/policySets", "/deviceManagement/termsAndConditions"];

/// `GET {list}`.
pub fn list(world: &mut World, call: &Call, list_path: &'static str) -> Answer {
    let Some(tenant) = world.tenants.get_mut(&call.tenant) else { return answer::segment_not_found(call) };
    if list_path.contains('{') {
        return answer::segment_not_found(call);
    }
    let view = match View::of(call, list_path) {
        Ok(view) => view,
        Err(refusal) => return *refusal,
    };
    let policies = tenant.policies.get_mut(list_path).map(Vec::as_mut_slice).unwrap_or_default();
    let items = policies.iter_mut().map(|policy| view.render(call, policy)).collect();
    let paging = Paging {
        size: world.config.page_size,
        size_max: world.config.page_size_max,
        empty_pages: world.config.empty_pages,
        twice: list_path == SETTINGS_CATALOGUE,
    };
    let name_property = rows_of(list_path).next().map_or("displayName", |row| row.name_property);
    let mut page = match paging::page(call, paging, items, name_property) {
        Ok(page) => page,
        Err(refusal) => return *refusal,
    };
    page.insert(
        "@odata.context".to_owned(),
        format!("{}/beta/$metadata#{}", call.base, &list_path[1..]).into(),
    );
    // Counts are no totals, here as there.
    match list_path {
        MOBILE_APPS => page.insert("@odata.count".to_owned(), json!(0)),
        SETTINGS_CATALOGUE => {
            let count = page["value"].as_array().map_or(0, Vec::len);
            page.insert("@odata.count".to_owned(), json!(count))
        }
        _ => None,
    };
    Answer::json(200, Value::Object(page))
}

/// `GET {list}/{id}`.
pub fn get(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Answer {
    let tenant = world.tenants.get_mut(&call.tenant);
    let Some(policy) = tenant.and_then(|tenant| tenant.policy_mut(list_path, id)) else {
        return answer::not_found(call);
    };
    match View::of(call, list_path) {
        Ok(view) => Answer::json(200, view.render(call, policy)),
        Err(refusal) => *refusal,
    }
}

/// What of a policy is shown.
struct View {
    select: Option<Vec<String>>,
    expand: Option<Expanded>,
    list_path: &'static str,
}

#[derive(Clone, Copy)]
enum Expanded {
    Full,
    /// Always an empty list, as Graph does on some types without a word.
    Empty,
}

impl View {
    fn of(call: &Call, list_path: &'static str) -> Result<Self, Box<Answer>> {
        let refuse = |message: &str| Err(Box::new(answer::plain(call, 400, "BadRequest", message)));
        let expand = match call.parameter("$expand") {
            None => None,
            Some(property) if property != "assignments" => {
                return refuse(&format!("Could not find a property named '{property}'."));
            }
            Some(_) if EXPAND_REFUSED.contains(&list_path) => {
                return refuse("The property 'assignments' cannot be used in the $expand query option.");
            }
            Some(_) => {
                let works = rows_of(list_path).any(|row| row.expand == Expand::Works);
                let full = works && call.modifier != Some(FaultKind::EmptyExpand);
                Some(if full { Expanded::Full } else { Expanded::Empty })
            }
        };
        let select = call
            .parameter("$select")
            .map(|list| list.split(',').map(|name| name.trim().to_owned()).collect());
        Ok(Self { select, expand, list_path })
    }

    fn render(&self, call: &Call, policy: &mut Policy) -> Value {
        // An expansion that is always empty shows nothing, old or new.
        let shows = matches!(self.expand, Some(Expanded::Full)) || policy.row.read == Read::Object;
        let (mut object, assignments): (Map<String, Value>, Vec<Value>) = if shows {
            let seen = policy.seen(call.now, call.modifier == Some(FaultKind::StaleRead));
            policy.was_read();
            (seen.body, seen.assignments)
        } else {
            (policy.object(), Vec::new())
        };
        if let Some(select) = &self.select {
            object.retain(|name, _| name == "@odata.type" || name == "id" || select.contains(name));
        }
        if let Some(expand) = self.expand {
            let context =
                format!("{}/beta/$metadata#{}('{}')/assignments", call.base, &self.list_path[1..], policy.id);
            object.insert("assignments@odata.context".to_owned(), context.into());
            let shown = match expand {
                Expanded::Full => assignments,
                Expanded::Empty => Vec::new(),
            };
            object.insert("assignments".to_owned(), shown.into());
        }
        Value::Object(object)
    }
}
