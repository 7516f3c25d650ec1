//! Answers and the documented envelopes of errors, with planted poison: what a real error leaks (internal URLs,
//! account ids, user names, secret references) is in these, so that tests can look for it where it must not be.

use chrono::SecondsFormat;
use serde_json::{Value, json};
use std::time::Duration;

use super::call::Call;
use super::throttle::RetryAfterForm;

/// A user principal name, planted in error texts and descriptions.
pub const CANARY_USER: &str = "adele.vance@canary-contoso.onmicrosoft.com";
/// An internal host, planted in Intune's error texts.
pub const CANARY_HOST: &str = "fef.msub00.manage.microsoft.com";
/// An Intune account id, planted in Intune's error texts.
pub const CANARY_ACCOUNT: &str = "33333333-ffff-4021-0607-030000000000";
/// A reference to a secret, planted in Intune's error texts.
pub const CANARY_SECRET_REFERENCE: &str = "canary-secret-reference-7f31";
/// A password in script contents, custom settings and activation codes.
pub const CANARY_PASSWORD: &str = "Canary-Password-91c5";

/// What must never be found in a log, a ledger, a metric or an answer of the product, beside tokens and secrets.
pub const CANARIES: &[&str] =
    &[CANARY_USER, CANARY_HOST, CANARY_ACCOUNT, CANARY_SECRET_REFERENCE, CANARY_PASSWORD];

/// An answer, before it is put on the wire.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers besides `Content-Type` and the request ids.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
    /// How it travels.
    pub transport: Transport,
}

/// A body.
#[derive(Clone, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// Something else.
    Text {
        /// Its `Content-Type`.
        content_type: &'static str,
        /// Its bytes.
        text: String,
    },
}

/// How an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// As it should.
    Plain,
    /// Not at all: the connection is closed. An item of a batch takes its whole batch along.
    Closed,
    /// Not at all, and the rest of the batch is answered. A call outside a batch is closed.
    Lost,
    /// Not at all: nothing is said for so long, then the connection is closed. An item takes its whole batch along.
    Silent(Duration),
    /// The body takes this long.
    Slow(Duration),
    /// The body stops in the middle, its length says otherwise than its JSON.
    Cut,
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(body), transport: Transport::Plain }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self { status: 204, headers: Vec::new(), body: Body::Empty, transport: Transport::Plain }
    }

    /// Plain text or HTML.
    pub fn text(status: u16, content_type: &'static str, text: &str) -> Self {
        let body = Body::Text { content_type, text: text.to_owned() };
        Self { status, headers: Vec::new(), body, transport: Transport::Plain }
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Travelling otherwise.
    pub fn by(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

/// An error of the Graph gateway or of Entra: a plain message.
pub fn plain(call: &Call, status: u16, code: &str, message: &str) -> Answer {
    let client = call.client_request_id.clone().unwrap_or_else(|| call.request_id.to_string());
    let error = json!({"error": {"code": code, "message": message, "innerError": {
        "date": call.now.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true).trim_end_matches('Z'),
        "request-id": call.request_id.to_string(),
        "client-request-id": client,
    }}});
    Answer::json(status, error)
}

/// An error of the Intune service: the message is itself a JSON text.
pub fn intune(call: &Call, status: u16, code: &str, sentence: &str) -> Answer {
    intune_with_wait(call, status, code, sentence, Value::Null)
}

fn intune_with_wait(call: &Call, status: u16, code: &str, sentence: &str, retry_after: Value) -> Answer {
    let message = json!({
        "_version": 3,
        "Message": format!(
            "{sentence} - Operation ID (for customer support): 00000000-0000-0000-0000-000000000000 - \
             Activity ID: {} - Url: https://{CANARY_HOST}/DeviceConfigV2/DCV2GraphService/{CANARY_ACCOUNT}{}\
             ?api-version=5025-01-01&secretReferenceValueId={CANARY_SECRET_REFERENCE}&upn={CANARY_USER}",
            call.request_id, call.path
        ),
        "CustomApiErrorPhrase": "",
        "RetryAfter": retry_after,
        "ErrorSourceService": "",
        "HttpHeaders": "{}",
    });
    let message =
        serde_json::to_string_pretty(&message).expect("a JSON value is always written").replace('\n', "\r\n");
    plain(call, status, code, &message)
}

/// 429, saying how long to wait in one of its forms.
pub fn throttled(call: &Call, form: RetryAfterForm, wait: Duration) -> Answer {
    let whole = wait.as_secs_f64().ceil().max(1.0);
    let gateway = |value: String| {
        plain(call, 429, "TooManyRequests", "Too many requests.").header("Retry-After", value)
    };
    match form {
        RetryAfterForm::Integer => gateway(format!("{whole:.0}")),
        RetryAfterForm::Fraction => gateway(format!("{:.3}", wait.as_secs_f64().max(0.001))),
        RetryAfterForm::HttpDate => gateway(httpdate::fmt_http_date(form.tells(call.now, wait).into())),
        RetryAfterForm::InMessage => {
            intune_with_wait(call, 429, "TooManyRequests", "An error has occurred", json!(whole as u64))
        }
        RetryAfterForm::Absent => plain(call, 429, "TooManyRequests", "Please retry again later."),
    }
}

/// 401: the token is not taken.
pub fn unauthorized(call: &Call, message: &str) -> Answer {
    plain(call, 401, "InvalidAuthenticationToken", message).header(
        "WWW-Authenticate",
        r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000""#,
    )
}

/// 400: the type is not offered here.
pub fn segment_not_found(call: &Call) -> Answer {
    let segment =
        call.path.rsplit('/').find(|part| part.chars().all(char::is_alphabetic)).unwrap_or_default();
    plain(call, 400, "BadRequest", &format!("Resource not found for the segment '{segment}'."))
}

/// 404 of Intune: no such policy or assignment.
pub fn not_found(call: &Call) -> Answer {
    intune(call, 404, "ResourceNotFound", "An error has occurred")
}

/// 403 of Intune: a permission is missing.
pub fn missing_scope(call: &Call, scopes: &[&str]) -> Answer {
    let sentence = format!(
        "Application is not authorized to perform this operation. Application must have one of the following \
         scopes: {}",
        scopes.join(", ")
    );
    intune(call, 403, "Forbidden", &sentence)
}

/// 400 of Intune.
pub fn bad_request(call: &Call, sentence: &str) -> Answer {
    intune(call, 400, "BadRequest", sentence)
}

/// 400 of Intune: Multi Admin Approval.
pub fn approval_required(call: &Call) -> Answer {
    bad_request(call, "Header 'x-msft-approval-justification' is required to request approval")
}

/// 400 of the OData layer: this method is not offered on this path.
pub fn no_route(call: &Call) -> Answer {
    let message = format!(
        "No OData route exists that match template ~/singleton/navigation/key/navigation/key with http verb {} \
         for request /StatelessOnboardingService{}.",
        call.method, call.path
    );
    plain(call, 400, "No method match route template", &message)
}
