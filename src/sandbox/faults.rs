//! Faults: rules that make calls go wrong, in order of their making; the first that fires for a call wins.
//!
//! As JSON (`POST /_sandbox/faults`), every field but `kind` optional:
//!
//! ```json
//! {"tenant": "7c1f…", "policy_type": "intent", "policy_id": "…", "on": "nav",
//!  "kind": {"status": {"status": 503, "retry_after": "2"}}, "times": 3, "every": 2}
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::answer::{self, Answer, Body, Transport};
use super::call::Call;
use crate::clock::Instant;

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only calls for this tenant.
    #[serde(default)]
    pub tenant: Option<Uuid>,
    /// Only calls that concern this policy type (a list that several types share concerns all of them).
    #[serde(default)]
    pub policy_type: Option<String>,
    /// Only calls that concern this policy.
    #[serde(default)]
    pub policy_id: Option<String>,
    /// Only calls of this kind.
    #[serde(default)]
    pub on: On,
    /// What happens.
    pub kind: FaultKind,
    /// How often it may happen; `None` until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// It happens to every n-th call that matches; 0 and 1 mean each.
    #[serde(default)]
    pub every: u32,
    /// So many calls that match are let through first.
    #[serde(default)]
    pub skip: u32,
}

/// Which calls a rule looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Every HTTP request to Graph; items of batches only when the rule names a policy type or a policy.
    #[default]
    Any,
    /// Sign-in.
    Token,
    /// Lists of policies, alone or in a batch.
    List,
    /// One policy's object, alone or in a batch.
    Get,
    /// One policy's assignments, alone or in a batch.
    Nav,
    /// Changes of assignments, alone or in a batch.
    Write,
    /// Groups, directory objects and the organisation, alone or in a batch.
    Directory,
    /// Assignment filters, alone or in a batch.
    Filters,
    /// A batch as a whole.
    Batch,
    /// Any item of a batch.
    BatchItem,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// 403 of Intune: a scope is missing.
    Forbidden,
    /// 403 of Intune: "called in app only context", although the permission was granted.
    ForbiddenAppOnly,
    /// 403 with an empty `code`.
    ForbiddenEmptyCode,
    /// 403 of Entra.
    EntraDenied,
    /// 400 "Resource not found for the segment": the tenant's licence or cloud does not offer the type.
    SegmentNotFound,
    /// 404 of Intune.
    NotFound,
    /// 400: Multi Admin Approval asks for a justification, unless the call brings one.
    ApprovalRequired,
    /// 409 of Intune.
    Conflict,
    /// 429 with this `Retry-After`, or with none. At sign-in it is plain text.
    Throttled {
        /// The header's value, as it is.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// A status from 400 on, in the envelope that fits it.
    Status {
        /// The status.
        status: u16,
        /// The header's value, as it is.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The connection is closed; nothing was done.
    CloseBefore,
    /// The call is carried out, then the connection is closed.
    CloseAfter,
    /// The call is carried out, then this status is its answer.
    StatusAfter {
        /// The status, from 400 on.
        status: u16,
        /// The header's value, as it is.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Nothing is done and nothing is said for so long; then the connection is closed.
    TimeoutBefore {
        /// Milliseconds.
        millis: u64,
    },
    /// The call is carried out, then nothing is said for so long; then the connection is closed.
    TimeoutAfter {
        /// Milliseconds.
        millis: u64,
    },
    /// The call is carried out, then a web page is its answer.
    HtmlAfter,
    /// The body takes this long.
    SlowBody {
        /// Milliseconds.
        millis: u64,
    },
    /// 200 with a web page.
    HtmlBody,
    /// The JSON ends in the middle.
    CutJson,
    /// 302 to another host.
    Redirect {
        /// Where to; by default the sandbox itself under another host name, which counts what arrives.
        #[serde(default)]
        to: Option<String>,
    },
    /// The nextLink points to another host (the sandbox itself under another name, which counts what arrives).
    ForeignNextLink,
    /// The nextLink is the page's own URL.
    RepeatedNextLink,
    /// The item is missing from its batch.
    LostItem,
    /// A batch with a throttled item is 424 as a whole.
    BatchOuter424,
    /// `$expand=assignments` gives empty lists.
    EmptyExpand,
    /// Assignments are read as they were before the last change.
    StaleRead,
    /// All tokens of the tenant are expired, from this call on.
    ExpireTokens,
    /// Sign-in: the secret is expired (7000222).
    SecretExpired,
    /// Sign-in: Conditional Access says no (53003).
    BlockedByPolicy,
}

impl Fault {
    /// A rule for every call, until cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            tenant: None,
            policy_type: None,
            policy_id: None,
            on: On::Any,
            kind,
            times: None,
            every: 1,
            skip: 0,
        }
    }

    /// Only for this tenant.
    pub fn tenant(mut self, tenant: Uuid) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Only for this policy type.
    pub fn policy_type(mut self, key: &str) -> Self {
        self.policy_type = Some(key.to_owned());
        self
    }

    /// Only for this policy.
    pub fn policy_id(mut self, id: &str) -> Self {
        self.policy_id = Some(id.to_owned());
        self
    }

    /// Only for calls of this kind.
    pub fn on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    /// So often at the most.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after so many matching calls.
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// For every n-th matching call.
    pub fn every(mut self, every: u32) -> Self {
        self.every = every;
        self
    }
}

/// What a call is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Whose.
    pub tenant: Uuid,
    /// The types that it concerns.
    pub policy_types: Vec<&'static str>,
    /// The policy that it concerns.
    pub policy_id: Option<&'a str>,
    /// Its kind; never `Any` or `BatchItem`.
    pub kind: Option<On>,
    /// Whether it is an item of a batch.
    pub in_batch: bool,
}

/// The rules and how often each fired.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<(Fault, Counts)>,
}

#[derive(Debug, Default)]
struct Counts {
    matched: u32,
    fired: u32,
}

impl Faults {
    /// Adds a rule, the last in order.
    pub fn add(&mut self, fault: Fault) {
        self.rules.push((fault, Counts::default()));
    }

    /// Forgets all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules.
    pub fn list(&self) -> Vec<Fault> {
        self.rules.iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// What goes wrong for this call, if anything.
    pub fn take(&mut self, subject: &Subject<'_>) -> Option<FaultKind> {
        self.rules.iter_mut().find_map(|(fault, counts)| {
            let spent = fault.times.is_some_and(|times| counts.fired >= times);
            if spent || !fault.matches(subject) {
                return None;
            }
            counts.matched += 1;
            let turn = counts.matched.checked_sub(fault.skip).filter(|turn| *turn > 0)?;
            if turn % fault.every.max(1) != 0 {
                return None;
            }
            counts.fired += 1;
            Some(fault.kind.clone())
        })
    }
}

impl Fault {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let names_policy = self.policy_type.is_some() || self.policy_id.is_some();
        let kind = match self.on {
            On::Any => subject.kind != Some(On::Token) && (!subject.in_batch || names_policy),
            On::BatchItem => subject.in_batch,
            on => subject.kind == Some(on),
        };
        kind && self.tenant.is_none_or(|tenant| tenant == subject.tenant)
            && self.policy_type.as_deref().is_none_or(|key| subject.policy_types.contains(&key))
            && self.policy_id.as_deref().is_none_or(|id| subject.policy_id == Some(id))
    }
}

/// The answer of a fault that keeps the call from being carried out; `None` for those that change it otherwise.
pub fn instead(kind: &FaultKind, call: &Call) -> Option<Answer> {
    let answer = match kind {
        FaultKind::Forbidden => answer::missing_scope(
            call,
            &["DeviceManagementConfiguration.Read.All", "DeviceManagementConfiguration.ReadWrite.All"],
        ),
        FaultKind::ForbiddenAppOnly => answer::intune(
            call,
            403,
            "Forbidden",
            "Application is not authorized to perform this operation as called in app only context but does not \
             have application permissions configured.",
        ),
        FaultKind::ForbiddenEmptyCode => {
            answer::plain(call, 403, "", "You do not have the required permissions to access this item.")
        }
        FaultKind::EntraDenied => answer::plain(
            call,
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        ),
        FaultKind::SegmentNotFound => answer::segment_not_found(call),
        FaultKind::NotFound => answer::not_found(call),
        FaultKind::ApprovalRequired => answer::approval_required(call),
        FaultKind::Conflict => {
            answer::intune(call, 409, "Conflict", "The object was changed by somebody else")
        }
        FaultKind::Throttled { retry_after } => {
            with_retry_after(answer::plain(call, 429, "TooManyRequests", "Too many requests."), retry_after)
        }
        FaultKind::Status { status, retry_after } => with_retry_after(of_status(call, *status), retry_after),
        FaultKind::CloseBefore => Answer::no_content().by(Transport::Closed),
        FaultKind::TimeoutBefore { millis } => silence(*millis),
        FaultKind::LostItem => Answer::no_content().by(Transport::Lost),
        FaultKind::HtmlBody => web_page(),
        FaultKind::Redirect { to } => {
            let to = to.clone().unwrap_or_else(|| trap(&call.base));
            Answer::text(302, "text/html", "<html><body>moved</body></html>").header("Location", to)
        }
        _ => return None,
    };
    Some(answer)
}

/// Changes the answer of a call that was carried out.
pub fn afterwards(kind: &FaultKind, call: &Call, mut answer: Answer) -> Answer {
    match kind {
        FaultKind::CloseAfter => answer.by(Transport::Closed),
        FaultKind::TimeoutAfter { millis } => silence(*millis),
        FaultKind::StatusAfter { status, retry_after } => {
            with_retry_after(of_status(call, *status), retry_after)
        }
        FaultKind::HtmlAfter => web_page(),
        FaultKind::SlowBody { millis } => answer.by(Transport::Slow(Duration::from_millis(*millis))),
        FaultKind::CutJson => answer.by(Transport::Cut),
        FaultKind::ForeignNextLink | FaultKind::RepeatedNextLink => {
            let link = if *kind == FaultKind::RepeatedNextLink { call.url() } else { trap(&call.base) };
            if let Body::Json(serde_json::Value::Object(body)) = &mut answer.body {
                body.insert("@odata.nextLink".to_owned(), link.into());
            }
            answer
        }
        _ => answer,
    }
}

/// Until when the header of a planned 429 or 503 tells the client to wait.
pub fn told_until(answer: &Answer, now: Instant) -> Option<Instant> {
    let (_, value) = answer.headers.iter().find(|(name, _)| *name == "Retry-After")?;
    match value.parse::<f64>() {
        Ok(secs) if secs.is_finite() && secs >= 0.0 => {
            Some(now + Duration::from_secs_f64(secs.min(86_400.0)))
        }
        _ => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(Instant::from(chrono::DateTime::<chrono::Utc>::from(date)))
        }
    }
}

/// The sandbox itself under another host name: whoever follows a link there with a token has failed.
pub(super) fn trap(base: &str) -> String {
    let other = if base.contains("//localhost") {
        base.replacen("//localhost", "//127.0.0.1", 1)
    } else {
        base.rsplit_once(':').map_or_else(|| base.to_owned(), |(_, port)| format!("http://localhost:{port}"))
    };
    format!("{other}/_sandbox/trap?$skiptoken=1")
}

fn silence(millis: u64) -> Answer {
    Answer::no_content().by(Transport::Silent(Duration::from_millis(millis)))
}

pub(super) fn web_page() -> Answer {
    Answer::text(
        200,
        "text/html",
        "<!DOCTYPE html><html><head><title>Sign in</title></head><body>…</body></html>",
    )
}

fn with_retry_after(answer: Answer, retry_after: &Option<String>) -> Answer {
    match retry_after {
        Some(value) => answer.header("Retry-After", value.as_str()),
        None => answer,
    }
}

fn of_status(call: &Call, status: u16) -> Answer {
    match status {
        401 => answer::unauthorized(call, "Lifetime validation failed, the token is expired."),
        404 => answer::not_found(call),
        500 => answer::intune(call, 500, "InternalError", "An internal server error has occurred"),
        502 => Answer::text(502, "text/html", "<html><body>Bad Gateway</body></html>"),
        503 => {
            let message = "The service is temporarily unavailable. Please retry.";
            answer::plain(call, 503, "ServiceUnavailable", message)
        }
        504 => answer::plain(call, 504, "UnknownError", ""),
        other => answer::intune(call, other, "UnknownError", "An error has occurred"),
    }
}
