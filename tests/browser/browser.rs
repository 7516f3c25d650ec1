//! A browser as a test uses it: go somewhere, look, click, type; what it logged and whom it asked.

use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use crate::chrome::Driver;

/// LIMIT: how long the page may take to show what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one tab.
pub struct Browser {
    // ORDER: the session ends before its driver.
    client: Client,
    raw: reqwest::Client,
    session: String,
    base: String,
    driver: Driver,
}

impl Browser {
    /// Starts one on the pages of `base`, such as `http://127.0.0.1:7717`.
    pub async fn start(base: &str) -> Self {
        // Nothing here is spoken over TLS; the client asks for a way to all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let driver = Driver::start();
        let Value::Object(capabilities) = driver.capabilities() else { panic!("capabilities are an object") };
        let client = ClientBuilder::rustls()
            .expect("TLS is not used")
            .capabilities(capabilities)
            .connect(&driver.url)
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start: {error}"));
        let session = client.session_id().await.expect("chromedriver answers").expect("a session");
        let raw = reqwest::Client::builder().no_proxy().build().expect("a client");
        let browser = Self { client, raw, session, base: base.to_owned(), driver };
        browser.resize(1280, 900).await;
        browser
    }

    /// Ends the session.
    pub async fn close(self) {
        self.client.close().await.expect("the session ends");
    }

    /// The size of what is seen, at one pixel each.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What the browser prefers: `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    /// A command of Chromium's own protocol.
    pub async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.raw_call("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    async fn raw_call(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.driver.url, self.session);
        let answer = self.raw.post(url).body(body.to_string()).header("content-type", "application/json");
        let text = answer.send().await.expect("chromedriver answers").text().await.expect("a whole answer");
        let answer: Value = serde_json::from_str(&text).expect("chromedriver answers in JSON");
        assert!(answer["value"].get("error").is_none(), "{path}: {text}");
        answer["value"].clone()
    }

    /// Goes to a page of the daemon.
    pub async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.expect("the page loads");
    }

    /// The path and query of where it is.
    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.expect("it is somewhere");
        format!("{}{}", url.path(), url.query().map(|query| format!("?{query}")).unwrap_or_default())
    }

    /// Signs in.
    pub async fn sign_in(&self, token: &str) {
        self.go("/login").await;
        self.fill("#token", token).await;
        self.press("form button").await;
    }

    /// The element; waits for it.
    pub async fn find(&self, css: &str) -> Element {
        match self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => {
                panic!("{css} is not on {}: {error}\n{}", self.path().await, self.text("body").await)
            }
        }
    }

    /// How many elements there are now.
    pub async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.expect("a selector").len()
    }

    /// The text that is seen of an element, whatever the page does meanwhile; empty where there is none.
    pub async fn text(&self, css: &str) -> String {
        let text = self
            .run(&format!("const e = document.querySelector({}); return e ? e.innerText : ''", json!(css)))
            .await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Types into a field, over what is there.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect("a field can be cleared");
        field.send_keys(text).await.expect("a field can be filled");
    }

    /// Chooses an option by its value.
    pub async fn choose(&self, css: &str, value: &str) {
        self.find(css)
            .await
            .select_by_value(value)
            .await
            .unwrap_or_else(|error| panic!("{css}: {value}: {error}"));
    }

    /// Clicks, and waits for the page that follows.
    pub async fn press(&self, css: &str) {
        let mark = "window.__before = true; return document.body !== null";
        self.run(mark).await;
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
        self.until(
            "the page that follows",
            "return window.__before === undefined && document.readyState === 'complete'",
        )
        .await;
    }

    /// Clicks a thing that stays on the page.
    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Presses keys, wherever the focus is.
    pub async fn keys(&self, keys: &str) {
        let active = self.client.active_element().await.expect("something has the focus");
        active.send_keys(keys).await.expect("keys can be pressed");
    }

    /// One key.
    pub async fn key(&self, key: Key) {
        self.keys(&char::from(key).to_string()).await;
    }

    /// Runs a script's body; a page that goes away meanwhile gives null.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap_or(Value::Null)
    }

    /// Waits until a script's body gives true.
    pub async fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script).await != Value::Bool(true) {
            if Instant::now() >= deadline {
                panic!("{what} did not come on {}:\n{}", self.path().await, self.text("body").await);
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Waits until the text that is seen of an element contains words, however they are laid out.
    pub async fn until_text(&self, css: &str, words: &str) {
        let script = format!(
            "const e = document.querySelector({}); \
             return Boolean(e && e.innerText.replace(/\\s+/g, ' ').includes({}))",
            json!(css),
            json!(words)
        );
        self.until(&format!("`{words}` in {css}"), &script).await;
    }

    /// What the console and the security policy said: nothing, on a good page.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.raw_call("se/log", json!({"type": "browser"})).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// The addresses that the browser has asked since this was asked last.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.raw_call("se/log", json!({"type": "performance"})).await;
        let url = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let is_request = message["message"]["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["message"]["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        entries.as_array().into_iter().flatten().filter_map(url).collect()
    }

    /// Whether the page is wider than what is seen of it.
    pub async fn overflows(&self) -> bool {
        let script = "const e = document.scrollingElement; return e.scrollWidth > e.clientWidth";
        self.run(script).await == Value::Bool(true)
    }

    /// A picture of the whole page, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        use base64::Engine as _;
        let shot =
            self.cdp("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true})).await;
        let text = shot["data"].as_str().expect("a picture");
        base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
    }
}
