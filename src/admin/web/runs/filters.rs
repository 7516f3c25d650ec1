//! What the list of runs is filtered by: all that `GET /api/v1/runs` takes, under the same names.

use maud::{Markup, html};
use serde::Deserialize;

use crate::admin::AdminState;
use crate::admin::auth::Principal;
use crate::admin::problem::Problem;
use crate::admin::runs::RunsQuery;
use crate::admin::web::parts::forms;
use crate::admin::web::parts::links::address;
use crate::admin::web::parts::pager::Pager;
use crate::admin::web::parts::words;
use crate::config::HttpConfig;
use crate::domain::operation::Operation;
use crate::domain::run::{Outcome, Status};
use crate::store::{PageRequest, RunQuery};

/// LIMIT: tenants to choose from; where there are more, one is named by its id.
const TENANTS_MAX: usize = 200;

/// LIMIT: parts of the list that one can go back through, newest first.
const TRAIL_MAX: usize = 40;

/// The address's query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    workspace_id: Option<String>,
    tenant_id: Option<String>,
    r#type: Option<String>,
    status: Option<String>,
    outcome: Option<String>,
    run_identity_hash: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    /// The cursors of the parts before, the first of which has none: `-`, joined by dots.
    trail: Option<String>,
}

impl Filters {
    /// A form sends its empty fields, too.
    pub fn without_empty_ones(mut self) -> Self {
        for field in self.fields_mut() {
            if field.as_ref().is_some_and(|value| value.trim().is_empty()) {
                *field = None;
            }
        }
        self
    }

    fn fields_mut(&mut self) -> [&mut Option<String>; 9] {
        [
            &mut self.workspace_id,
            &mut self.tenant_id,
            &mut self.r#type,
            &mut self.status,
            &mut self.outcome,
            &mut self.run_identity_hash,
            &mut self.limit,
            &mut self.cursor,
            &mut self.trail,
        ]
    }

    /// What to ask the ledger; never for more than the caller sees.
    pub fn query(&self, caller: &Principal, limits: &HttpConfig) -> Result<RunQuery, Problem> {
        let trimmed = |field: &Option<String>| field.as_ref().map(|value| value.trim().to_owned());
        let asked = RunsQuery {
            workspace_id: trimmed(&self.workspace_id),
            tenant_id: trimmed(&self.tenant_id),
            r#type: self.r#type.clone(),
            status: self.status.clone(),
            outcome: self.outcome.clone(),
            run_identity_hash: trimmed(&self.run_identity_hash),
            limit: self.limit.clone(),
            cursor: self.cursor.clone(),
        };
        asked.for_caller(caller, limits)
    }

    /// Whether anything is filtered by.
    pub fn is_any(&self) -> bool {
        self.named().iter().any(|(_, value)| value.is_some())
    }

    /// Whether the newest runs are shown.
    pub fn is_first_part(&self) -> bool {
        self.cursor.is_none()
    }

    fn named(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("workspace_id", self.workspace_id.as_deref()),
            ("tenant_id", self.tenant_id.as_deref()),
            ("type", self.r#type.as_deref()),
            ("status", self.status.as_deref()),
            ("outcome", self.outcome.as_deref()),
            ("run_identity_hash", self.run_identity_hash.as_deref()),
        ]
    }

    /// The address of a part of this list.
    fn address(&self, cursor: Option<&str>, trail: Option<&str>) -> String {
        let further = [("limit", self.limit.as_deref()), ("cursor", cursor), ("trail", trail)];
        address("/runs", &self.named().into_iter().chain(further).collect::<Vec<_>>())
    }

    /// Which events the list follows: those of what it is filtered by, as far as events can be.
    pub fn events(&self) -> String {
        let known = ["workspace_id", "tenant_id", "type"];
        address("", &self.named().into_iter().filter(|(name, _)| known.contains(name)).collect::<Vec<_>>())
    }

    /// The ways on; `next` is the cursor of the next part.
    pub fn pager(&self, shown: String, next: Option<String>) -> Pager {
        let mut trail: Vec<&str> =
            self.trail.as_deref().map(|trail| trail.split('.').collect()).unwrap_or_default();
        let own = self.cursor.as_deref().unwrap_or("-");
        let older = next.map(|next| {
            let from = (trail.len() + 1).saturating_sub(TRAIL_MAX);
            let passed: Vec<_> = trail.iter().copied().chain([own]).skip(from).collect();
            self.address(Some(&next), Some(&passed.join(".")))
        });
        let newer = (!self.is_first_part()).then(|| trail.pop()).flatten().map(|before| {
            let rest = trail.join(".");
            let cursor = (before != "-").then_some(before);
            self.address(cursor, (cursor.is_some() && !rest.is_empty()).then_some(&rest))
        });
        let first = (!self.is_first_part()).then(|| self.address(None, None));
        Pager { shown, first, newer, older }
    }

    /// The form.
    pub fn form(&self, options: &Options) -> Markup {
        let same = |words: &[&str]| {
            words.iter().map(|word| ((*word).to_owned(), (*word).to_owned())).collect::<Vec<_>>()
        };
        let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        html! {
            form.filters role="search" aria-label="Filter runs" method="get" action="/runs" data-filter {
                (options.tenant_field(self.tenant_id.as_deref()))
                (forms::select("type", "Operation", "Any", &operations(), self.r#type.as_deref()))
                (forms::select("status", "Status", "Any", &same(&statuses), self.status.as_deref()))
                (forms::select("outcome", "Outcome", "Any", &same(&outcomes), self.outcome.as_deref()))
                @if options.workspaces.len() > 1 {
                    (forms::select("workspace_id", "Workspace", "Any", &options.workspaces, self.workspace_id.as_deref()))
                }
                (forms::text("run_identity_hash", "Identity", self.run_identity_hash.as_deref(), "64 hex characters"))
                div.actions {
                    button { "Filter" }
                    @if self.is_any() { a.button.quiet href="/runs" { "Clear" } }
                }
            }
        }
    }
}

/// The operations to choose from, by their words.
pub fn operations() -> Vec<(String, String)> {
    let option = |one: &Operation| (one.as_str().to_owned(), words::operation(*one).to_owned());
    Operation::ALL.iter().map(option).collect()
}

/// What there is to choose from.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `None` where there are too many.
    tenants: Option<Vec<(String, String)>>,
    workspaces: Vec<(String, String)>,
}

impl Options {
    /// What the caller sees.
    pub async fn load(state: &AdminState, caller: &Principal) -> Result<Self, Problem> {
        let first = |limit| PageRequest { limit, cursor: None };
        let tenants = state.store.tenants(caller.workspace, first(TENANTS_MAX)).await?;
        let workspaces = state.store.workspaces(caller.workspace, first(TENANTS_MAX)).await?;
        let all = tenants.next_cursor.is_none();
        let tenants = tenants.items.into_iter().map(|tenant| (tenant.id.to_string(), tenant.name));
        let workspaces =
            workspaces.items.into_iter().map(|workspace| (workspace.id.to_string(), workspace.name));
        Ok(Self { tenants: all.then(|| tenants.collect()), workspaces: workspaces.collect() })
    }

    /// The field that names a tenant.
    pub fn tenant_field(&self, chosen: Option<&str>) -> Markup {
        match &self.tenants {
            Some(tenants) => forms::select("tenant_id", "Tenant", "Any", tenants, chosen),
            None => forms::text("tenant_id", "Tenant", chosen, "its id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_walked_down_and_up_again() {
        let link = |address: &Option<String>| {
            let query = address.as_ref().expect("a way on").split_once('?').map_or("", |(_, query)| query);
            actix_web::web::Query::<Filters>::from_query(query).expect("our own query").into_inner()
        };
        let first = Filters { status: Some("completed".to_owned()), ..Filters::default() };
        let pager = first.pager("50 runs".to_owned(), Some("AAA".to_owned()));
        assert!(pager.newer.is_none() && pager.first.is_none());
        let second = link(&pager.older);
        assert_eq!((second.cursor.as_deref(), second.trail.as_deref()), (Some("AAA"), Some("-")));
        let pager = second.pager(String::new(), Some("BBB".to_owned()));
        assert_eq!(pager.newer.as_deref(), Some("/runs?status=completed"));
        let third = link(&pager.older);
        assert_eq!(third.trail.as_deref(), Some("-.AAA"));
        let back = link(&third.pager(String::new(), None).newer);
        assert_eq!((back.cursor, back.trail), (second.cursor, second.trail));
    }

    #[test]
    fn the_way_back_is_bounded() {
        let deep = Filters {
            cursor: Some("ZZZ".to_owned()),
            trail: Some(vec!["AAAA"; TRAIL_MAX].join(".")),
            ..Filters::default()
        };
        let older = deep.pager(String::new(), Some("NEXT".to_owned())).older.expect("a way on");
        assert_eq!(older.matches("AAAA").count(), TRAIL_MAX - 1);
        assert!(older.ends_with(".ZZZ"));
    }

    #[test]
    fn an_empty_field_filters_nothing_and_a_wrong_one_is_named() {
        let caller = Principal { name: "t".to_owned(), role: crate::store::Role::Viewer, workspace: None };
        let query = |filters: Filters| filters.without_empty_ones().query(&caller, &HttpConfig::default());
        let empty =
            Filters { status: Some(String::new()), tenant_id: Some(" ".to_owned()), ..Filters::default() };
        assert!(query(empty).is_ok_and(|query| query.status.is_none() && query.tenant_id.is_none()));
        let wrong = Filters { tenant_id: Some("x".to_owned()), ..Filters::default() };
        assert_eq!(query(wrong).unwrap_err().code(), "request.invalid");
    }

    #[test]
    fn what_somebody_typed_stays_one_value() {
        let filters = Filters { run_identity_hash: Some("a&b=c\"<é".to_owned()), ..Filters::default() };
        assert_eq!(filters.address(None, None), "/runs?run_identity_hash=a%26b%3Dc%22%3C%C3%A9");
        let form = filters.form(&Options::default()).into_string();
        assert!(form.contains("value=\"a&amp;b=c&quot;&lt;é\""), "{form}");
    }
}
