//! The client of a daemon's HTTP interface (SPEC section 10).
//!
//! Every answer that is no success becomes a [`ClientError`] with the code of its problem document. The token goes to
//! the daemon's address alone: redirects are not followed.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::CliError;
use super::output::printable;

/// Which daemon.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// The daemon's address; the token is taken from ATLASD_TOKEN
    #[arg(long, env = "ATLASD_URL", default_value = URL_DEFAULT)]
    pub url: String,
}

/// The daemon's address when nobody names one.
pub const URL_DEFAULT: &str = "http://127.0.0.1:7717";

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: the longest is a bulk admission.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a file may take on its way.
const FILE_TIMEOUT: Duration = Duration::from_secs(600);
/// Parts of a list at the most: a daemon that never ends a list is broken.
const PAGES_MAX: usize = 10_000;

/// A daemon, and the right to ask it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
}

/// The daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("`{0}` is no daemon's address: expected such as {URL_DEFAULT} (--url, ATLASD_URL)")]
    Url(String),
    /// There is no token.
    #[error(
        "ATLASD_TOKEN is not set: make a token with `atlasd token create --name NAME --role operator` and export it"
    )]
    TokenMissing,
    /// The token cannot be one: a line break, or what surrounds the token where it was printed.
    #[error("ATLASD_TOKEN is no token: expected one word of letters, digits and punctuation")]
    TokenMalformed,
    /// Nobody listens.
    #[error("no daemon at {url}: start one with `atlasd serve`, or name its address (--url, ATLASD_URL)")]
    NoDaemon {
        /// Where.
        url: String,
    },
    /// The connection broke, or the answer took too long.
    #[error("{method} {path}: no answer from the daemon")]
    Transport {
        /// Of the call.
        method: Method,
        /// Of the call.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The daemon said no, and why.
    #[error("{problem}")]
    Problem {
        /// The answer.
        problem: Problem,
    },
    /// Whoever answered is no atlasd.
    #[error(
        "{method} {path}: expected an answer of atlasd, got {status} {what}: is something else at this address?"
    )]
    Foreign {
        /// Of the call.
        method: Method,
        /// Of the call.
        path: String,
        /// Of the answer.
        status: StatusCode,
        /// Such as "without JSON".
        what: &'static str,
    },
}

/// A problem document (RFC 9457) with its stable code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// For programs.
    pub code: String,
    /// For people, the same for each code.
    pub title: String,
    /// For people, about this very request.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        let text = if text.is_empty() { "the daemon refused without saying why" } else { text.as_str() };
        f.write_str(&printable(text))?;
        let code = if self.code.is_empty() { "no code" } else { &self.code };
        write!(f, " ({}, status {})", printable(code), self.status)?;
        match self.status {
            401 => f.write_str("; is ATLASD_TOKEN right, and for this daemon?"),
            403 if self.code == "auth.role_too_low" => f.write_str(
                "; `atlasd token create --role ROLE` makes one, `atlasd token list` shows what there is",
            ),
            503 => f.write_str("; nothing was changed, try again"),
            _ => Ok(()),
        }
    }
}

impl ClientError {
    /// Whether the caller has to change the command rather than try again.
    pub fn is_wrong_usage(&self) -> bool {
        match self {
            Self::Url(_) | Self::TokenMissing | Self::TokenMalformed => true,
            Self::Problem { problem } => matches!(problem.status, 400 | 422),
            Self::NoDaemon { .. } | Self::Transport { .. } | Self::Foreign { .. } => false,
        }
    }

    /// Whether the same call may succeed soon: what a watch waits through.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NoDaemon { .. } | Self::Transport { .. } => true,
            Self::Problem { problem } => problem.status == 503,
            Self::Url(_) | Self::TokenMissing | Self::TokenMalformed | Self::Foreign { .. } => false,
        }
    }
}

/// Runs a client command: builds the client and a runtime for it.
///
/// # Errors
/// [`ClientError::Url`], [`ClientError::TokenMissing`], [`ClientError::TokenMalformed`], and what `work` answers.
pub fn with_client<T>(
    args: &ClientArgs,
    work: impl AsyncFnOnce(&Client) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let token = std::env::var("ATLASD_TOKEN").ok().map(SecretString::from);
    let client = Client::new(&args.url, token)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("start the runtime"))?;
    runtime.block_on(work(&client))
}

impl Client {
    /// A client of the daemon at `url`.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::TokenMissing`], [`ClientError::TokenMalformed`].
    pub fn new(url: &str, token: Option<SecretString>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url(printable(url));
        let base: Url = url.parse().map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong());
        }
        let token = token.as_ref().map_or("", |token| token.expose_secret().trim());
        if token.is_empty() {
            return Err(ClientError::TokenMissing);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::TokenMalformed);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| wrong())?;
        Ok(Self { http, base, token: SecretString::from(token) })
    }

    /// `GET /api/v1{path}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.call(Method::GET, path, query, None).await
    }

    /// `POST /api/v1{path}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// `PATCH /api/v1{path}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(Method::PATCH, path, &[], Some(body)).await
    }

    /// `DELETE /api/v1{path}`, which answers nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.answer(self.request(&Method::DELETE, path, &[]), &Method::DELETE, path).await.map(|_| ())
    }

    /// The items of a list, all parts of it, but no more than `limit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        limit: usize,
    ) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let missing = limit - all.len();
            if missing == 0 {
                break;
            }
            // The daemon chooses the size of a part: its `http.page_max` is not known here.
            let mut query = query.to_vec();
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut part = self.get(path, &query).await?;
            match part.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => all.extend(items.into_iter().take(missing)),
                _ => return Err(foreign(Method::GET, path, StatusCode::OK, "without `items`")),
            }
            match part.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        Ok(all)
    }

    /// `GET /api/v1{path}` of a file: its text as it came, which is JSON.
    ///
    /// # Errors
    /// [`ClientError`]; also when the connection broke before its end.
    pub async fn download(&self, path: &str) -> Result<String, ClientError> {
        let request = self.request(&Method::GET, path, &[]).timeout(FILE_TIMEOUT);
        let (status, bytes) = self.answer(request, &Method::GET, path).await?;
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        String::from_utf8(bytes)
            .ok()
            .filter(|_| is_json)
            .ok_or_else(|| foreign(Method::GET, path, status, "without JSON"))
    }

    /// `POST /api/v1{path}` of a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn upload(
        &self,
        path: &str,
        query: &[(&str, String)],
        file: Vec<u8>,
    ) -> Result<Value, ClientError> {
        let request = self.request(&Method::POST, path, query).timeout(FILE_TIMEOUT);
        let request = request.header("content-type", "application/json").body(file);
        let (status, bytes) = self.answer(request, &Method::POST, path).await?;
        serde_json::from_slice(&bytes).map_err(|_| foreign(Method::POST, path, status, "without JSON"))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let mut request = self.request(&method, path, query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let (status, bytes) = self.answer(request, &method, path).await?;
        serde_json::from_slice(&bytes).map_err(|_| foreign(method, path, status, "without JSON"))
    }

    fn request(&self, method: &Method, path: &str, query: &[(&str, String)]) -> reqwest::RequestBuilder {
        let request = self.http.request(method.clone(), self.address(path));
        request.query(query).bearer_auth(self.token.expose_secret())
    }

    /// The body of a successful answer; every other answer is an error.
    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        method: &Method,
        path: &str,
    ) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let transport = |source: reqwest::Error| {
            if source.is_connect() {
                return ClientError::NoDaemon { url: self.base.origin().ascii_serialization() };
            }
            // The address is known and may be long.
            let source = source.without_url();
            ClientError::Transport { method: method.clone(), path: path.to_owned(), source }
        };
        let answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(transport)?;
        if status.is_success() {
            return Ok((status, bytes.into()));
        }
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        match value.and_then(|value| Problem::from_value(value, status)) {
            Some(problem) => Err(ClientError::Problem { problem }),
            None => Err(foreign(method.clone(), path, status, "without a problem document")),
        }
    }

    fn address(&self, path: &str) -> Url {
        let mut address = self.base.clone();
        address.set_query(None);
        address.set_path(&format!("{}/api/v1{path}", self.base.path().trim_end_matches('/')));
        address
    }
}

impl Problem {
    /// A problem of an answer with `status`; `None` when the JSON is none.
    fn from_value(value: Value, status: StatusCode) -> Option<Self> {
        let mut problem: Self = serde_json::from_value(value).ok()?;
        if problem.code.is_empty() && problem.title.is_empty() && problem.detail.is_empty() {
            return None;
        }
        problem.status = status.as_u16();
        Some(problem)
    }
}

fn foreign(method: Method, path: &str, status: StatusCode, what: &'static str) -> ClientError {
    ClientError::Foreign { method, path: path.to_owned(), status, what }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(url: &str) -> Result<Client, ClientError> {
        Client::new(url, Some(SecretString::from("atlasd_x")))
    }

    #[test]
    fn an_address_keeps_its_path_and_nothing_else() {
        for url in ["http://127.0.0.1:7717", "http://127.0.0.1:7717/", "http://127.0.0.1:7717/?x=1"] {
            let address = client(url).expect("a client").address("/runs/1");
            assert_eq!(address.as_str(), "http://127.0.0.1:7717/api/v1/runs/1");
        }
        let behind_a_proxy = client("https://ops.example/atlasd/").expect("a client").address("/runs");
        assert_eq!(behind_a_proxy.as_str(), "https://ops.example/atlasd/api/v1/runs");
    }

    #[test]
    fn what_is_no_address_and_no_token_is_wrong_usage() {
        for url in ["", "127.0.0.1:7717", "ftp://127.0.0.1", "http://"] {
            assert!(client(url).expect_err("no address").is_wrong_usage(), "{url}");
        }
        for token in [None, Some(SecretString::from(" "))] {
            let error = Client::new(URL_DEFAULT, token).expect_err("no token");
            assert!(error.is_wrong_usage());
            assert!(error.to_string().contains("atlasd token create"), "{error}");
        }
        for token in ["atlasd_a\natlasd_b", "token atlasd_a", "atlasd_…"] {
            let error = Client::new(URL_DEFAULT, Some(SecretString::from(token))).expect_err("no token");
            assert!(error.is_wrong_usage() && !error.to_string().contains("atlasd_"), "{error}");
        }
    }

    #[test]
    fn a_problem_is_shown_with_its_code() {
        let document = json!({"type": "about:blank", "title": "Unprocessable", "status": 422, "detail": "`inputs.x`: unknown field", "code": "request.invalid"});
        let problem = Problem::from_value(document, StatusCode::UNPROCESSABLE_ENTITY).expect("a problem");
        assert_eq!(problem.to_string(), "`inputs.x`: unknown field (request.invalid, status 422)");
        assert!(ClientError::Problem { problem }.is_wrong_usage());
    }

    #[test]
    fn a_full_daemon_is_worth_another_try_and_a_conflict_is_not() {
        let problem = |status| ClientError::Problem { problem: Problem { status, ..Problem::default() } };
        assert!(problem(503).is_passing());
        assert!(!problem(409).is_passing());
        assert!(problem(503).to_string().ends_with("try again"));
    }

    #[test]
    fn json_that_is_no_problem_is_foreign() {
        assert_eq!(Problem::from_value(json!({"message": "nope"}), StatusCode::NOT_FOUND), None);
        assert_eq!(Problem::from_value(json!([]), StatusCode::NOT_FOUND), None);
    }
}
