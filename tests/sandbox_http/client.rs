//! A signed-in client of a sandbox of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{Fault, Policies, Sandbox, SandboxConfig, SandboxControl};
use reqwest::header::HeaderMap;
use reqwest::{Method, redirect};
use serde_json::{Value, json};
use uuid::Uuid;

pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub struct Client {
    pub sandbox: Sandbox,
    pub http: reqwest::Client,
    pub tenant: Uuid,
    pub token: String,
}

pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("expected JSON, got {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("an error has a code").to_owned()
    }
}

/// A configuration with so many policies of the named types and no others.
pub fn holding(counts: &[(&str, usize)]) -> SandboxConfig {
    let mut config = SandboxConfig::single(0);
    let counts: BTreeMap<String, usize> =
        counts.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
    config.tenants[0].policies = Policies::Exactly(counts);
    config
}

pub fn sign_in_form(base: &str) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", CLIENT_ID.to_owned()),
        ("client_secret", CLIENT_SECRET.to_owned()),
        ("scope", format!("{base}/.default")),
    ]
}

pub fn encoded(form: &[(&str, String)]) -> String {
    let mut url = reqwest::Url::parse("http://form/").expect("a URL");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

impl Client {
    pub async fn start(config: SandboxConfig) -> Self {
        let tenant = config.tenants[0].external_id;
        let sandbox = Sandbox::start(config, ANY_PORT).await.expect("the sandbox starts");
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client");
        let mut client = Self { sandbox, http, tenant, token: String::new() };
        client.sign_in().await;
        client
    }

    pub async fn single(policies: usize) -> Self {
        Self::start(SandboxConfig::single(policies)).await
    }

    pub fn control(&self) -> SandboxControl {
        self.sandbox.state()
    }

    pub fn fault(&self, fault: Fault) {
        self.control().add_fault(fault);
    }

    pub async fn sign_in(&mut self) {
        let got = self.token(self.tenant, &sign_in_form(&self.sandbox.url())).await;
        assert_eq!(got.status, 200, "{}", got.text);
        self.token = got.json()["access_token"].as_str().expect("a token").to_owned();
    }

    pub async fn token(&self, tenant: Uuid, form: &[(&str, String)]) -> Got {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.sandbox.url());
        let request = self.http.post(url).header("Content-Type", "application/x-www-form-urlencoded");
        read(request.body(encoded(form)).send().await.expect("sign-in answers")).await
    }

    pub async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Got, reqwest::Error> {
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Got { status, headers, text: response.text().await? })
    }

    pub fn beta(&self, path: &str) -> String {
        format!("{}/beta{path}", self.sandbox.url())
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, &self.beta(path), None).await.expect("Graph answers")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Got {
        self.send(Method::POST, &self.beta(path), Some(body)).await.expect("Graph answers")
    }

    pub async fn delete(&self, path: &str) -> Got {
        self.send(Method::DELETE, &self.beta(path), None).await.expect("Graph answers")
    }

    /// The pages of a collection.
    pub async fn pages(&self, path: &str) -> Vec<Value> {
        let mut pages = Vec::new();
        let mut next = Some(self.beta(path));
        while let Some(url) = next {
            let got = self.send(Method::GET, &url, None).await.expect("Graph answers");
            assert_eq!(got.status, 200, "{url}: {}", got.text);
            let page = got.json();
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
            pages.push(page);
            assert!(pages.len() < 1000, "{path} does not end");
        }
        pages
    }

    /// The items of a collection.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        let pages = self.pages(path).await;
        pages.iter().flat_map(|page| page["value"].as_array().expect("a page has items").clone()).collect()
    }
}

/// The types that most tests are content with, and where they are.
pub const COMPLIANCE: &str = "compliancePolicy";
pub const COMPLIANCE_LIST: &str = "/deviceManagement/deviceCompliancePolicies";

/// An assignment to a group.
pub fn to_group(id: &str) -> Value {
    json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": id}})
}

impl Client {
    /// The id of the `at`-th policy of a type.
    pub fn policy(&self, key: &str, at: usize) -> String {
        let truth = self.control().expected(self.tenant);
        truth.keys().filter(|(own, _)| own == key).nth(at).expect("it was seeded").1.clone()
    }

    /// What a policy's assignments are.
    pub fn live(&self, key: &str, id: &str) -> Vec<Value> {
        self.control().expected(self.tenant)[&(key.to_owned(), id.to_owned())].clone()
    }

    /// The `at`-th group of the tenant.
    pub fn group(&self, at: usize) -> String {
        self.control().group_ids(self.tenant)[at].clone()
    }

    /// Sends the whole set of a compliance policy.
    pub async fn assign(&self, id: &str, items: &[Value]) -> Result<Got, reqwest::Error> {
        let url = self.beta(&format!("{COMPLIANCE_LIST}/{id}/assign"));
        self.send(Method::POST, &url, Some(&json!({"assignments": items}))).await
    }

    /// Reads the assignments of a compliance policy.
    pub async fn assignments(&self, id: &str) -> Vec<Value> {
        self.items(&format!("{COMPLIANCE_LIST}/{id}/assignments")).await
    }

    /// Calls the control API.
    pub async fn control_call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/_sandbox{path}", self.sandbox.url());
        let got = self.send(method, &url, body.as_ref()).await.expect("answers");
        (got.status, serde_json::from_str(&got.text).unwrap_or_default())
    }
}

pub async fn read(response: reqwest::Response) -> Got {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, text: response.text().await.expect("a body") }
}

pub fn tenant() -> Uuid {
    SINGLE_TENANT
}
