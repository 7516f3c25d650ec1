//! The one file that maps errors to HTTP: `application/problem+json` with a stable `code` (SPEC section 10).
//!
//! A problem says what the caller can do something about. What only the operator can is logged here, once, and
//! answered as `internal.unexpected` without its text.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::routes;
use crate::actors::AdmitError;
use crate::domain::failure::sanitise;
use crate::domain::identity::InputError;
use crate::domain::names::NameError;
use crate::domain::run::Run;
use crate::events::NoPlace;
use crate::ids::RunId;
use crate::intake::IntakeError;
use crate::store::StoreError;

/// An error on its way to a client. Boxed: errors are rare, and every handler's result carries the room for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Problem(#[schema(inline)] Box<Members>);

/// An error as clients get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:atlasd:problem:request.invalid",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "`inputs.policy_types`: expected at least one entry, found an empty list",
    "code": "request.invalid",
    "field": "inputs.policy_types"
}))]
struct Members {
    /// A URN made of the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: Kind,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[serde(serialize_with = "status_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What was expected and what was found.
    detail: String,
    /// Stable, for programs.
    code: &'static str,
    /// The field of the body or query to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The run that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    /// A header that belongs to the status.
    #[serde(skip)]
    header: Option<(header::HeaderName, String)>,
}

/// Writes the problem's `type`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind(&'static str);

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:atlasd:problem:{}", self.0))
    }
}

fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem with a status, a stable code and a sentence for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Members {
            kind: Kind(code),
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            code,
            field: None,
            run_id: None,
            header: None,
        }))
    }

    /// 422: `field` is not what was expected.
    pub fn invalid(field: &str, problem: &str) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "request.invalid",
            sanitise(&format!("`{field}`: {problem}")),
        )
        .with_field(field)
    }

    /// 404: there is no such thing, or none that the caller may see.
    pub fn not_found(what: Missing) -> Self {
        let (code, detail) = what.describe();
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 401 with the challenge that RFC 6750 asks for.
    pub fn unauthorised(code: &'static str, detail: &'static str, challenge: &'static str) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, code, detail);
        problem.0.header = Some((header::WWW_AUTHENTICATE, challenge.to_owned()));
        problem
    }

    /// 403: known, but not allowed.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 429: too many unknown tokens came from where this one comes from.
    pub fn too_many_failures(wait: std::time::Duration) -> Self {
        let wait_s = wait.as_secs_f64().ceil().max(1.0) as u64;
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "auth.too_many_failures",
            format!("too many unknown tokens from this address: try again in {wait_s} s"),
        );
        problem.0.header = Some((header::RETRY_AFTER, wait_s.to_string()));
        problem
    }

    /// 403: nothing may be changed through this daemon.
    pub fn read_only() -> Self {
        Self::forbidden("daemon.read_only", "this daemon only shows: http.read_only is set")
    }

    /// 405 with the methods that the path has.
    pub fn method_not_allowed(allowed: &str) -> Self {
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "route.method_not_allowed",
            format!("this path takes {allowed}"),
        );
        problem.0.header = Some((header::ALLOW, allowed.to_owned()));
        problem
    }

    /// 409: what is there already does not allow it.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 409: the run has ended before.
    pub fn already_completed(run: &Run) -> Self {
        let detail = format!("run {} completed before", run.id);
        let mut problem = Self::new(StatusCode::CONFLICT, "run.already_completed", detail);
        problem.0.run_id = Some(run.id);
        problem
    }

    /// 408: the body did not come in time.
    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "the body did not arrive within http.client_timeout",
        )
    }

    /// 413: the body is larger than the configuration's `key` says.
    pub fn too_large(key: &str) -> Self {
        let detail = format!("the body is larger than {key}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", detail)
    }

    /// 500 for what a contract within the program rules out; `what` goes to the log alone.
    pub fn broken_invariant(what: &'static str) -> Self {
        tracing::error!(what, "an invariant is broken");
        Self::unexpected()
    }

    /// 500: somebody should look; the log says at what.
    fn unexpected() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal.unexpected", "see the daemon's log")
    }

    fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    fn with_field(mut self, field: &str) -> Self {
        self.0.field = Some(sanitise(field));
        self
    }

    /// Whether it asks for another token.
    pub fn is_unauthorised(&self) -> bool {
        self.0.status == StatusCode::UNAUTHORIZED
    }

    /// The sentence for people.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }
}

/// What was looked for and not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No route has the path.
    Route,
    /// A workspace.
    Workspace,
    /// A tenant.
    Tenant,
    /// A run.
    Run,
    /// A snapshot.
    Snapshot,
    /// A schedule.
    Schedule,
}

impl Missing {
    /// What a path below the base is about.
    fn of(path: &str) -> Self {
        match path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next()) {
            Some("runs") => Self::Run,
            Some("tenants") => Self::Tenant,
            Some("snapshots") => Self::Snapshot,
            Some("schedules") => Self::Schedule,
            _ => Self::Route,
        }
    }

    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Route => ("route.not_found", "no such path"),
            Self::Workspace => ("workspace.not_found", "no such workspace"),
            Self::Tenant => ("tenant.not_found", "no such tenant"),
            Self::Run => ("run.not_found", "no such run"),
            Self::Snapshot => ("snapshot.not_found", "no such snapshot"),
            Self::Schedule => ("schedule.not_found", "no such schedule"),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.0.status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Some((name, value)) = &self.0.header {
            response.insert_header((name.clone(), value.as_str()));
        }
        response.body(serde_json::to_vec(self).expect("a problem is plain text and numbers"))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate { what } => {
                Self::new(StatusCode::CONFLICT, "resource.exists", format!("{what} exists already"))
            }
            StoreError::Cursor => Self::bad_cursor(),
            StoreError::Unavailable { operation, .. } => {
                tracing::debug!(operation, "the ledger is unavailable for a request");
                Self::unavailable("ledger.unavailable", "the ledger is unavailable: try again later")
            }
            other => {
                tracing::error!(error = %chain(&other), "the ledger failed a request");
                Self::unexpected()
            }
        }
    }
}

impl From<AdmitError> for Problem {
    fn from(error: AdmitError) -> Self {
        let code = match error {
            AdmitError::Draining => "daemon.draining",
            AdmitError::Full { .. } => "admission.full",
            AdmitError::Unavailable => "ledger.unavailable",
            AdmitError::ScopeGone => {
                return Self::new(StatusCode::NOT_FOUND, "scope.not_found", error.to_string());
            }
        };
        Self::unavailable(code, error.to_string())
    }
}

impl From<NoPlace> for Problem {
    fn from(error: NoPlace) -> Self {
        let code = match error {
            NoPlace::Full { .. } => "events.full",
            NoPlace::Closed => "daemon.draining",
        };
        Self::unavailable(code, error.to_string())
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let status = match error {
            IntakeError::Store(error) => return error.into(),
            IntakeError::TenantNotFound => return Self::not_found(Missing::Tenant),
            IntakeError::WorkspaceNotFound => return Self::not_found(Missing::Workspace),
            IntakeError::RunNotFound(_) => return Self::not_found(Missing::Run),
            IntakeError::UnknownOperation(_)
            | IntakeError::TenantAmbiguous
            | IntakeError::Field { .. }
            | IntakeError::Input(_)
            | IntakeError::InputsUnreadable { .. }
            | IntakeError::NothingToUndo { .. }
            | IntakeError::NothingToCompare(_) => StatusCode::UNPROCESSABLE_ENTITY,
            IntakeError::RunNotCompleted(_) => StatusCode::CONFLICT,
        };
        let problem = Self::new(status, error.code(), sanitise(&error.to_string()));
        match error.field_name() {
            Some(field) => problem.with_field(field),
            None => problem,
        }
    }
}

/// An input that is wrong, wherever it was checked.
impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        IntakeError::Input(error).into()
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        let field = match error {
            NameError::Name => "name",
            NameError::Slug => "slug",
        };
        Self::invalid(field, &error.to_string())
    }
}

/// A body that cannot be read: what the transport said (too large, cut off).
impl From<actix_web::Error> for Problem {
    fn from(error: actix_web::Error) -> Self {
        match error.as_response_error().status_code() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large("http.body_bytes_max"),
            _ => Self::malformed("the body ended early or broke the transfer coding"),
        }
    }
}

impl Problem {
    /// 400: nothing that could be understood.
    pub fn malformed(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request.malformed", sanitise(detail))
    }

    /// A body that is no JSON (400), or JSON of the wrong form (422, naming `path` where the parser got to one).
    pub fn from_json(error: &serde_json::Error, path: &str) -> Self {
        let text = error.to_string();
        if error.classify() != serde_json::error::Category::Data {
            return Self::malformed(&format!("expected JSON, found: {text}"));
        }
        // "unknown field `x`, expected …" and "missing field `x`" name the field themselves.
        let named = ["unknown field `", "missing field `", "duplicate field `"]
            .iter()
            .find_map(|start| text.strip_prefix(start))
            .and_then(|rest| rest.split('`').next());
        let field = match (path, named) {
            ("." | "", None) => "body".to_owned(),
            ("." | "", Some(name)) => name.to_owned(),
            (path, None) => path.to_owned(),
            (path, Some(name)) if path.ends_with(name) => path.to_owned(),
            (path, Some(name)) => format!("{path}.{name}"),
        };
        Self::invalid(&field, &text)
    }

    /// 400: a cursor that no list of this kind has given out.
    pub fn bad_cursor() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "request.bad_cursor",
            "`cursor`: expected a `next_cursor` of the same list",
        )
        .with_field("cursor")
    }
}

/// Errors of path parameters: an id that is no number names nothing, unless it is a path of its own with other methods
/// (`GET /runs/batch`).
pub fn of_path(_error: actix_web::error::PathError, request: &HttpRequest) -> actix_web::Error {
    let allowed = routes::methods_of(request.path());
    if !allowed.is_empty() && !allowed.contains(&request.method().as_str()) {
        return Problem::method_not_allowed(&allowed.join(", ")).into();
    }
    Problem::not_found(Missing::of(request.path())).into()
}

/// An error and its sources, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(problem: &Problem) -> serde_json::Value {
        serde_json::to_value(problem).unwrap()
    }

    #[test]
    fn a_problem_has_the_members_of_the_contract() {
        assert_eq!(
            body(&Problem::not_found(Missing::Run)),
            json!({"type": "urn:atlasd:problem:run.not_found", "title": "Not Found", "status": 404,
                   "detail": "no such run", "code": "run.not_found"})
        );
        let response = Problem::not_found(Missing::Run).error_response();
        assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
    }

    #[test]
    fn an_id_that_is_no_number_names_nothing() {
        assert_eq!(Missing::of("/api/v1/runs/abc/cancel"), Missing::Run);
        assert_eq!(Missing::of("/api/v1/snapshots/1/diff/x"), Missing::Snapshot);
        assert_eq!(Missing::of("/other"), Missing::Route);
    }

    #[test]
    fn a_missing_token_is_challenged() {
        let response = Problem::unauthorised("auth.token_missing", "no token", "Bearer").error_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers().get("www-authenticate").unwrap(), "Bearer");
    }

    #[test]
    fn no_verdict_is_503_with_a_code_that_says_why() {
        for (error, code) in [
            (AdmitError::Draining, "daemon.draining"),
            (AdmitError::Full { waiting_max: 5 }, "admission.full"),
            (AdmitError::Unavailable, "ledger.unavailable"),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.0.status.as_u16(), problem.0.code), (503, code));
        }
    }

    #[test]
    fn the_text_of_a_database_error_is_not_answered() {
        let error = StoreError::Refused { operation: "admit", source: "relation secret_table".into() };
        let problem = Problem::from(error);
        assert_eq!((problem.0.status.as_u16(), problem.0.code), (500, "internal.unexpected"));
        assert!(!body(&problem).to_string().contains("secret_table"));
    }

    #[test]
    fn a_second_one_of_the_same_name_is_a_conflict() {
        let problem = Problem::from(StoreError::Duplicate { what: "a workspace with the slug `a`".into() });
        assert_eq!((problem.0.status.as_u16(), problem.0.code), (409, "resource.exists"));
    }

    #[test]
    fn intake_errors_name_their_field() {
        let error = "nope".parse::<crate::domain::operation::Operation>().unwrap_err();
        let problem = Problem::from(IntakeError::UnknownOperation(error));
        assert_eq!((problem.0.status.as_u16(), problem.0.code), (422, "operation.unknown"));
        assert_eq!(problem.0.field.as_deref(), Some("type"));
        let problem = Problem::from(IntakeError::TenantNotFound);
        assert_eq!((problem.0.status.as_u16(), problem.0.code), (404, "tenant.not_found"));
    }
}
