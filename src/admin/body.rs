//! Bodies and queries: read once, and every way of being wrong has its own answer.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::config::HttpConfig;
use crate::store::PageRequest;

/// A JSON body. 400 when it is no JSON, 413 when it is too large, 422 when it has the wrong form. The content type is
/// not looked at: there is one kind of body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = arrived(request, payload);
        Box::pin(async move { parse(&bytes.await?).map(Self) })
    }
}

/// A JSON body that may be left out: an empty one is all defaults. Else as [`Body`].
pub struct MaybeBody<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for MaybeBody<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = arrived(request, payload);
        Box::pin(async move {
            let bytes = bytes.await?;
            if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
        })
    }
}

/// A body as it is, for what is no JSON.
pub struct Arrived(pub web::Bytes);

impl FromRequest for Arrived {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = arrived(request, payload);
        Box::pin(async move { bytes.await.map(Self) })
    }
}

/// The bytes of a body, in time and within `http.body_bytes_max`.
pub(super) fn arrived(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<web::Bytes, Problem>> + use<> {
    let bytes = web::Bytes::from_request(request, payload);
    let patience = request.app_data::<BodyTimeout>().copied().unwrap_or_default().0;
    async move {
        let bytes = tokio::time::timeout(patience, bytes).await.map_err(|_| Problem::too_slow())?;
        bytes.map_err(Problem::from)
    }
}

/// How long a client may take to send a body (`http.client_timeout`): application data.
#[derive(Clone, Copy)]
pub struct BodyTimeout(pub Duration);

impl Default for BodyTimeout {
    /// Where nothing is configured.
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

/// Parses a body. The happy path is one plain parse; only a wrong form is parsed a second time, to learn where.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    refuse_array(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let mut document = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, T>(&mut document) {
            Err(located) => Problem::from_json(located.inner(), &located.path().to_string()),
            // The value was fine: what comes after it was not.
            Ok(_) => Problem::from_json(&error, "."),
        }
    })
}

/// Derived deserialisers also take a struct's fields as an array, in order: no contract of ours.
fn refuse_array(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        return Ok(());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Ok(_) => Err(Problem::invalid("body", "expected an object, found an array")),
        Err(error) => Err(Problem::from_json(&error, ".")),
    }
}

/// Converts a JSON value, for bodies whose parts are judged one by one.
pub fn convert<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    if value.is_array() {
        return Err(Problem::invalid("body", "expected an object, found an array"));
    }
    serde_path_to_error::deserialize(value)
        .map_err(|located| Problem::from_json(located.inner(), &located.path().to_string()))
}

/// A query string. Unknown and repeated parameters and values of the wrong type are 422.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(parse_query(request.query_string()).map(Self))
    }
}

/// Parses what a query string holds; a form's body is written the same way.
pub(super) fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    web::Query::<T>::from_query(query).map(web::Query::into_inner).map_err(|error| {
        let actix_web::error::QueryPayloadError::Deserialize(error) = error else {
            return Problem::malformed("expected a query string");
        };
        let text = error.to_string();
        let field = text.split('`').nth(1).unwrap_or("query");
        Problem::invalid(field, &text)
    })
}

/// The parameters that every list has.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    pub limit: Option<String>,
    /// The `next_cursor` of the part before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Checks the limit.
    pub fn page(self, limits: &HttpConfig) -> Result<PageRequest, Problem> {
        page(self.limit.as_deref(), self.cursor, limits)
    }
}

/// Which part of a list is asked for.
pub fn page(
    limit: Option<&str>,
    cursor: Option<String>,
    limits: &HttpConfig,
) -> Result<PageRequest, Problem> {
    let limit = match limit {
        None => limits.page_default,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=limits.page_max).contains(limit)).ok_or_else(|| {
                Problem::invalid(
                    "limit",
                    &format!("expected a number in 1..={}, found `{text}`", limits.page_max),
                )
            })?
        }
    };
    if cursor.as_ref().is_some_and(|cursor| !well_formed_cursor(cursor)) {
        return Err(Problem::bad_cursor());
    }
    Ok(PageRequest { limit, cursor })
}

/// What any cursor looks like; whether it is one of this list, the ledger knows.
fn well_formed_cursor(cursor: &str) -> bool {
    (1..=1024).contains(&cursor.len()) && cursor.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Parses a query parameter, naming it when it is wrong.
pub fn parameter<T: std::str::FromStr>(
    name: &str,
    value: Option<&str>,
    expected: &str,
) -> Result<Option<T>, Problem> {
    value
        .map(|text| {
            text.parse().map_err(|_| Problem::invalid(name, &format!("expected {expected}, found `{text}`")))
        })
        .transpose()
}

/// Parses a field that has to be there, naming it when it is wrong.
pub fn parameter_of<T: std::str::FromStr>(name: &str, text: &str, expected: &str) -> Result<T, Problem> {
    let parsed = parameter(name, Some(text), expected)?;
    parsed.ok_or_else(|| Problem::broken_invariant("expected a value of a text that is there, found none"))
}

/// Like [`parameter`], for the enums of the domain that are written as serde writes them.
pub fn word<T: DeserializeOwned>(
    name: &str,
    value: Option<&str>,
    expected: &str,
) -> Result<Option<T>, Problem> {
    value
        .map(|text| {
            serde_json::from_value(serde_json::Value::from(text))
                .map_err(|_| Problem::invalid(name, &format!("expected {expected}, found `{text}`")))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;
    use crate::intake::RunRequest;

    fn problem(body: &str) -> (u16, serde_json::Value) {
        let problem = parse::<RunRequest>(body.as_bytes()).unwrap_err();
        (problem.status_code().as_u16(), serde_json::to_value(&problem).unwrap())
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = format!("{{\"type\":\"x\",\"inputs\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for body in
            ["", "{", "type=x", "{\"type\":\"x\"} trailing", "\u{feff}{}", "{\"type\":\"\\ud800\"}", &deep]
        {
            let (status, json) = problem(body);
            assert_eq!((status, json["code"].as_str()), (400, Some("request.malformed")), "{body}");
        }
    }

    #[test]
    fn well_formed_and_wrong_names_the_field() {
        for (body, field) in [
            ("{}", "type"),
            ("{\"type\":\"x\",\"tenant\":1}", "tenant"),
            ("{\"type\":5}", "type"),
            ("{\"type\":\"x\",\"tenant_id\":\"5\"}", "tenant_id"),
            ("{\"type\":\"x\",\"tenant_id\":1.5}", "tenant_id"),
            ("{\"type\":\"x\",\"tenant_id\":99999999999999999999}", "tenant_id"),
            ("{\"type\":\"x\",\"tenant_external_id\":\"x\"}", "tenant_external_id"),
            ("{\"type\":\"x\",\"force\":\"yes\"}", "force"),
            ("{\"type\":\"x\",\"type\":\"y\"}", "type"),
            ("[]", "body"),
            ("null", "body"),
        ] {
            let (status, json) = problem(body);
            assert_eq!((status, json["field"].as_str()), (422, Some(field)), "{body}: {json}");
            assert_eq!(json["code"], "request.invalid");
        }
    }

    #[test]
    fn null_is_the_same_as_left_out() {
        let request: RunRequest =
            parse(b"{\"type\":\"x\",\"tenant_id\":null,\"inputs\":null,\"context\":null,\"force\":null}")
                .unwrap();
        assert_eq!((request.tenant_id, request.force), (None, None));
    }

    #[test]
    fn the_limit_of_a_page_has_bounds() {
        let limits = HttpConfig::default();
        assert_eq!(page(None, None, &limits).unwrap().limit, 50);
        assert_eq!(page(Some("500"), None, &limits).unwrap().limit, 500);
        for wrong in ["0", "501", "-1", "x", "", "1.5"] {
            let problem = page(Some(wrong), None, &limits).unwrap_err();
            assert_eq!(problem.code(), "request.invalid", "{wrong}");
        }
    }

    #[test]
    fn odd_cursors_are_refused_before_the_ledger_sees_them() {
        let limits = HttpConfig::default();
        for odd in ["", "a b", "\u{0}", "é", &"a".repeat(1025)] {
            assert_eq!(page(None, Some(odd.to_owned()), &limits).unwrap_err().code(), "request.bad_cursor");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        for (query, field) in [("foo=1", "foo"), ("limit=1&limit=2", "limit")] {
            let problem = parse_query::<PageQuery>(query).unwrap_err();
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!((json["status"].as_u64(), json["field"].as_str()), (Some(422), Some(field)), "{json}");
        }
        assert!(parse_query::<PageQuery>("").is_ok());
        assert!(parse_query::<PageQuery>("cursor=%ff%00").is_ok(), "the cursor check refuses it");
    }
}
