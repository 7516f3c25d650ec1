//! What went wrong between us and Graph: a stable code, what is safe to keep of the answer, and whether another try
//! may help. Never a foreign message.
//!
//! The classification looks at status, error code and AADSTS number. The text of a message is looked at for three
//! fixed things only, because Graph has no code for them: the name of the header that Multi Admin Approval asks for,
//! the two sentences of the OData router and the one of a tenant without the licence, and names of permissions that
//! the catalogue knows.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use uuid::Uuid;

use super::retry_after;
use crate::clock::Instant;
use crate::domain::failure::{Code, Failure};
use crate::domain::policy_types::TABLE;

/// A failed call, or a failed item of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphError {
    /// The stable code.
    pub code: Code,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// Graph's own code, or `AADSTS…`, when it is a plain word.
    pub graph_code: Option<String>,
    /// Graph's id of the call, for Microsoft's support.
    pub request_id: Option<Uuid>,
    /// What the service asked to wait.
    pub retry_after: Option<Duration>,
    /// Another try may help.
    pub transient: bool,
}

impl std::error::Error for GraphError {}

impl std::fmt::Display for GraphError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.explanation())?;
        let facts = [
            self.status.map(|status| format!("status {status}")),
            self.graph_code.as_ref().map(|code| format!("code {code}")),
            self.request_id.map(|id| format!("request-id {id}")),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        if facts.is_empty() { Ok(()) } else { write!(f, " ({})", facts.join(", ")) }
    }
}

impl GraphError {
    /// An error without an answer.
    pub(super) fn local(code: Code, transient: bool) -> Self {
        Self { code, status: None, graph_code: None, request_id: None, retry_after: None, transient }
    }

    /// The caller's cancellation, seen at a wait.
    pub(super) fn cancelled() -> Self {
        Self::local(Code::RunCancelled, false)
    }

    /// A successful status with something else than what was asked for: a proxy's page, a cut body. Worth another
    /// try.
    pub(super) fn garbled(status: u16) -> Self {
        Self { status: Some(status), ..Self::local(Code::GraphProtocol, true) }
    }

    /// Whether the caller's cancellation is the cause.
    pub fn is_cancelled(&self) -> bool {
        self.code == Code::RunCancelled
    }

    /// From reqwest; its own text may hold a URL and is dropped.
    pub(super) fn of_transport(error: &reqwest::Error) -> Self {
        let code = if error.is_timeout() { Code::GraphTimeout } else { Code::GraphNetwork };
        Self::local(code, true)
    }

    /// From an answer of Graph that is no success.
    pub(super) fn of_answer(status: u16, headers: &HeaderMap, body: &[u8], now: Instant) -> Self {
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut error = Self::of_body(status, &body, now);
        error.retry_after = retry_after::of_headers(headers, now).or(error.retry_after);
        let header = headers.get("request-id").and_then(|value| value.to_str().ok());
        error.request_id = header.and_then(|id| Uuid::parse_str(id).ok()).or(error.request_id);
        error
    }

    /// From a status and the JSON of an answer or of a batch item.
    pub(super) fn of_body(status: u16, body: &Value, now: Instant) -> Self {
        let envelope = body.get("error").filter(|error| error.is_object());
        let text =
            |name| envelope.and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or_default();
        let (graph_code, message) = (text("code"), text("message"));
        let inner = envelope.and_then(|error| error.get("innerError").or_else(|| error.get("innererror")));
        let request_id = inner.and_then(|inner| inner.get("request-id")).and_then(Value::as_str);
        let (code, transient) = classify(status, envelope.is_some(), graph_code, message);
        Self {
            code,
            status: Some(status),
            graph_code: word(graph_code),
            request_id: request_id.and_then(|id| Uuid::parse_str(id).ok()),
            retry_after: retry_after::of_intune_message(message, now),
            transient,
        }
    }

    /// From an answer of the token endpoint that is no success: JSON with `error_codes`, or plain text.
    pub(super) fn of_token_answer(status: u16, headers: &HeaderMap, body: &[u8], now: Instant) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let number = body.get("error_codes").and_then(|codes| codes.get(0)).and_then(Value::as_u64);
        let word_of = body.get("error").and_then(Value::as_str).unwrap_or_default();
        let busy = word_of == "temporarily_unavailable" || number.is_some_and(|n| AADSTS_BUSY.contains(&n));
        let (code, transient) = match status {
            429 => (Code::GraphThrottled, true),
            500.. => (Code::GraphUnavailable, true),
            _ if busy => (Code::GraphUnavailable, true),
            400 | 401 | 403 => (Code::GraphAuthFailed, false),
            _ if !word_of.is_empty() => (Code::GraphAuthFailed, false),
            _ => (Code::GraphProtocol, false),
        };
        Self {
            code,
            status: Some(status),
            graph_code: number.map(|number| format!("AADSTS{number}")).or_else(|| word(word_of)),
            request_id: body.get("trace_id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok()),
            retry_after: retry_after::of_headers(headers, now),
            transient,
        }
    }

    /// As the ledger may show it; `subject` is what was being done, in our own words.
    pub fn failure(&self, subject: &str) -> Failure {
        Failure::new(self.code, &format!("{subject}: {self}"))
    }

    /// In our own words.
    fn explanation(&self) -> &'static str {
        match (self.code, self.graph_code.as_deref()) {
            (Code::GraphAuthFailed, Some("AADSTS7000215")) => "the client secret is wrong",
            (Code::GraphAuthFailed, Some("AADSTS7000222")) => "the client secret has expired",
            (Code::GraphAuthFailed, Some("AADSTS700016")) => "the application is not known in the tenant",
            (Code::GraphAuthFailed, Some("AADSTS700027")) => "the certificate is not one of the application",
            (Code::GraphAuthFailed, Some("AADSTS90002")) => "the tenant is not known in this cloud",
            (Code::GraphAuthFailed, Some("AADSTS53003")) => "sign-in is blocked by Conditional Access",
            (Code::GraphAuthFailed, _) => "sign-in was refused",
            (Code::GraphPermissionMissing, _) => "an application permission is missing",
            (Code::GraphForbidden, _) => "access was refused",
            (Code::GraphApprovalRequired, _) => "Multi Admin Approval asks for a justification",
            (Code::GraphTypeUnavailable, _) => "the tenant does not offer it",
            (Code::GraphNotFound, _) => "not found",
            (Code::GraphBadRequest, _) => "the request was not understood",
            (Code::GraphConflict, _) => "it was changed by somebody else at the same time",
            (Code::GraphThrottled, _) => "throttled after all tries",
            (Code::GraphUnavailable, _) => "the service did not work after all tries",
            (Code::GraphTimeout, _) => "no answer in time",
            (Code::GraphNetwork, _) => "no connection",
            (Code::GraphProtocol, _) => "the answer breaks the protocol",
            (Code::RunCancelled, _) => "cancelled",
            _ => "failed",
        }
    }
}

/// Sign-in numbers that pass by themselves: the directory is busy or unavailable.
const AADSTS_BUSY: [u64; 2] = [90024, 90033];

/// Codes of a missing permission.
const AUTHORIZATION_CODES: [&str; 3] = [
    "Authorization_RequestDenied",
    "Authorization_IdentityNotFound",
    "Authentication_MSGraphPermissionMissing",
];

/// The code that says by itself that the tenant has no licence.
const UNLICENSED_CODE: &str = "Authentication_RequestFromNonPremiumTenantOrB2CTenant";

/// The code of the router that says by itself that nothing is there.
const NO_ROUTE_CODE: &str = "No method match route template";

/// Sentences of a route or feature that is not there; their code is the `BadRequest` of a hundred other causes.
const UNAVAILABLE_PHRASES: [&str; 3] = [
    "Resource not found for the segment",
    "No OData route exists that match template",
    "Request not applicable to target tenant",
];

/// The header that Multi Admin Approval asks for; its code, too, is `BadRequest`.
const APPROVAL_HEADER: &str = "x-msft-approval-justification";

fn classify(status: u16, enveloped: bool, graph_code: &str, message: &str) -> (Code, bool) {
    let phrase = || UNAVAILABLE_PHRASES.iter().any(|phrase| message.contains(phrase));
    let unavailable = || graph_code == NO_ROUTE_CODE || graph_code == UNLICENSED_CODE || phrase();
    match status {
        400 if message.contains(APPROVAL_HEADER) => (Code::GraphApprovalRequired, false),
        400 | 403 | 404 if unavailable() => (Code::GraphTypeUnavailable, false),
        // A status without Graph's envelope comes from something in between and proves nothing about the tenant.
        404 | 501 if !enveloped => (Code::GraphProtocol, false),
        501 => (Code::GraphTypeUnavailable, false),
        401 => (Code::GraphAuthFailed, false),
        403 if AUTHORIZATION_CODES.contains(&graph_code) || names_permission(message) => {
            (Code::GraphPermissionMissing, false)
        }
        403 => (Code::GraphForbidden, false),
        404 | 410 => (Code::GraphNotFound, false),
        408 => (Code::GraphTimeout, true),
        409 | 412 | 423 => (Code::GraphConflict, false),
        429 | 509 => (Code::GraphThrottled, true),
        424 | 500.. => (Code::GraphUnavailable, true),
        400..=499 => (Code::GraphBadRequest, false),
        // A redirect is never followed, and a batch item has no other business here.
        _ => (Code::GraphProtocol, false),
    }
}

/// Intune lists the permissions that would do; only names that the catalogue knows count.
fn names_permission(message: &str) -> bool {
    let known = TABLE.iter().flat_map(|row| [row.permission_read, row.permission_write]).flatten();
    known.into_iter().any(|permission| message.contains(permission))
}

/// A foreign code when it is one plain word; anything else could be a text.
fn word(code: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (!code.is_empty() && code.len() <= 64 && code.bytes().all(plain)).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use serde_json::json;

    use super::*;

    const ID: &str = "11111111-aaaa-4bbb-8ccc-000000000001";

    fn now() -> Instant {
        Instant::from_micros(1_700_000_000_000_000).expect("a calendar time")
    }

    fn body(code: &str, message: &str) -> Value {
        json!({"error": {"code": code, "message": message,
            "innerError": {"date": "2025-01-02T03:04:05", "request-id": ID, "client-request-id": ID}}})
    }

    /// Intune's envelope around a sentence, with everything that must not leak.
    fn intune(sentence: &str) -> String {
        json!({"_version": 3, "Message": format!("{sentence} - Operation ID (for customer support): {ID} - Url: \
            https://fef.msub00.manage.microsoft.com/Svc/33333333-ffff-4021-0607-030000000000/x('secret-policy')"),
            "CustomApiErrorPhrase": "", "RetryAfter": null, "ErrorSourceService": "", "HttpHeaders": "{}"})
        .to_string()
    }

    #[test]
    fn status_and_code_decide() {
        use Code::*;
        let missing =
            intune("Application must have one of the following scopes: DeviceManagementApps.Read.All");
        let app_only =
            intune("called in app only context but does not have application permissions configured");
        let approval = intune("Header 'x-msft-approval-justification' is required to request approval");
        for (status, code, message, expected, transient) in [
            (400, "BadRequest", "Invalid GroupId : a_b", GraphBadRequest, false),
            (400, "BadRequest", approval.as_str(), GraphApprovalRequired, false),
            (400, "BadRequest", "Resource not found for the segment 'x'.", GraphTypeUnavailable, false),
            (400, "BadRequest", "Request not applicable to target tenant.", GraphTypeUnavailable, false),
            (404, "No method match route template", "…", GraphTypeUnavailable, false),
            (403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "…", GraphTypeUnavailable, false),
            (501, "NotImplemented", "", GraphTypeUnavailable, false),
            (401, "InvalidAuthenticationToken", "expired", GraphAuthFailed, false),
            (403, "Authorization_RequestDenied", "Insufficient privileges", GraphPermissionMissing, false),
            (403, "Forbidden", missing.as_str(), GraphPermissionMissing, false),
            (403, "Forbidden", app_only.as_str(), GraphForbidden, false),
            (403, "", "You do not have the required permissions", GraphForbidden, false),
            (404, "ResourceNotFound", "An error has occurred", GraphNotFound, false),
            (404, "Request_ResourceNotFound", "Resource 'x' does not exist", GraphNotFound, false),
            (409, "Conflict", "", GraphConflict, false),
            (412, "PreconditionFailed", "", GraphConflict, false),
            (429, "TooManyRequests", "Too many requests.", GraphThrottled, true),
            (424, "FailedDependency", "", GraphUnavailable, true),
            (500, "InternalError", "", GraphUnavailable, true),
            (503, "ServiceUnavailable", "", GraphUnavailable, true),
            (504, "UnknownError", "", GraphUnavailable, true),
            (302, "", "", GraphProtocol, false),
        ] {
            let error = GraphError::of_body(status, &body(code, message), now());
            assert_eq!((error.code, error.transient), (expected, transient), "{status} {code} {message}");
            assert_eq!(error.request_id.map(|id| id.to_string()).as_deref(), Some(ID));
        }
    }

    #[test]
    fn an_answer_without_graphs_envelope_proves_nothing_about_the_tenant() {
        for status in [404, 501] {
            let error = GraphError::of_answer(status, &HeaderMap::new(), b"<html>Not here</html>", now());
            assert_eq!(error.code, Code::GraphProtocol, "{status}");
        }
    }

    #[test]
    fn nothing_of_a_message_is_kept() {
        let toxic = body("Forbidden", &intune("admin@contoso.example may not"));
        let error = GraphError::of_body(403, &toxic, now());
        let shown = format!("{error} {error:?}");
        for leak in ["contoso", "manage.microsoft", "33333333", "secret-policy", "Operation"] {
            assert!(!shown.contains(leak), "{leak} in {shown}");
        }
        assert!(shown.contains("status 403") && shown.contains(ID));
    }

    #[test]
    fn a_code_that_is_no_plain_word_is_dropped() {
        let long = "x".repeat(65);
        for code in ["", "admin@contoso.example", "two words", "https://x", long.as_str()] {
            assert_eq!(GraphError::of_body(400, &body(code, ""), now()).graph_code, None, "{code}");
        }
    }

    #[test]
    fn the_header_beats_the_wait_in_the_message() {
        let message = json!({"_version": 3, "RetryAfter": 9}).to_string();
        let text = body("TooManyRequests", &message).to_string();
        let alone = GraphError::of_answer(429, &HeaderMap::new(), text.as_bytes(), now());
        assert_eq!(alone.retry_after, Some(Duration::from_secs(9)));
        let headers =
            HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, HeaderValue::from_static("2.128"))]);
        let both = GraphError::of_answer(429, &headers, text.as_bytes(), now());
        assert_eq!(both.retry_after, Some(Duration::from_millis(2128)));
    }

    #[test]
    fn sign_in_errors_are_told_apart_by_their_number() {
        let answer =
            |status, body: &[u8]| GraphError::of_token_answer(status, &HeaderMap::new(), body, now());
        for (status, number, shown) in [
            (401, 7_000_215, "client secret is wrong"),
            (401, 7_000_222, "expired"),
            (400, 700_016, "application is not known"),
            (400, 90_002, "tenant is not known"),
            (400, 53_003, "Conditional Access"),
        ] {
            let body = json!({"error": "invalid_client", "error_description": "AADSTS0: in directory 'Contoso'",
                "error_codes": [number], "trace_id": ID});
            let error = answer(status, body.to_string().as_bytes());
            assert_eq!((error.code, error.transient), (Code::GraphAuthFailed, false));
            assert!(error.to_string().contains(shown) && !error.to_string().contains("Contoso"), "{error}");
        }
        let busy = answer(400, br#"{"error":"temporarily_unavailable","error_codes":[90033]}"#);
        assert_eq!((busy.code, busy.transient), (Code::GraphUnavailable, true));
        let plain = answer(429, b"Too Many Requests");
        assert_eq!((plain.code, plain.transient), (Code::GraphThrottled, true));
        assert_eq!(answer(404, b"<html>").code, Code::GraphProtocol);
    }
}
