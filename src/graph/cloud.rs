//! Where a cloud lives: its login and Graph addresses, checked once, and the one place that builds URLs from them.
//!
//! Invariants: https, or plain http for a loopback address; a link that Graph gave is followed on the same scheme,
//! host and port only.

use std::net::IpAddr;

use reqwest::Url;
use uuid::Uuid;

use crate::config::CloudConfig;

/// The version of Graph: v1.0 has no assignment filters (SPEC section 9).
const GRAPH_VERSION: &str = "beta";

/// The checked addresses of a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Without a slash at the end.
    login: Url,
    /// Without a slash at the end.
    graph: Url,
}

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// It is no URL, or one without a host.
    #[error("expected {key} to be a URL with a host, such as https://graph.microsoft.com")]
    NoUrl {
        /// The key of the configuration.
        key: &'static str,
    },
    /// It would send secrets in the clear.
    #[error("expected {key} to be https, or http for a loopback address, got {scheme}://{host}")]
    Unprotected {
        /// The key of the configuration.
        key: &'static str,
        /// What was found.
        scheme: String,
        /// What was found.
        host: String,
    },
    /// It has a user, a query or a fragment.
    #[error("expected {key} without user, query and fragment")]
    Decorated {
        /// The key of the configuration.
        key: &'static str,
    },
}

impl Cloud {
    /// Checks a cloud's addresses.
    ///
    /// # Errors
    /// [`CloudError`], naming the key.
    pub fn new(config: &CloudConfig) -> Result<Self, CloudError> {
        Ok(Self {
            login: checked("login_url", &config.login_url)?,
            graph: checked("graph_url", &config.graph_url)?,
        })
    }

    /// The token endpoint of a tenant; also the audience of a client assertion.
    pub(super) fn token_url(&self, tenant: Uuid) -> Url {
        below(&self.login, &format!("/{tenant}/oauth2/v2.0/token"))
    }

    /// The scope of a token: tokens of one cloud are worth nothing in another.
    pub(super) fn scope(&self) -> String {
        format!("{}/.default", self.graph.as_str().trim_end_matches('/'))
    }

    /// The address of `path`, which begins with a slash and may have a query.
    pub(super) fn call_url(&self, path: &str) -> Url {
        below(&self.graph, &format!("/{GRAPH_VERSION}{path}"))
    }

    /// A link that Graph gave, when it stays where the token may go. Percent escapes are kept as they are: a
    /// continuation token may be escaped twice.
    pub(super) fn own_link(&self, link: &str) -> Option<Url> {
        let url = Url::parse(link).ok()?;
        let bare = url.username().is_empty() && url.password().is_none();
        (bare && url.origin() == self.graph.origin()).then_some(url)
    }
}

fn checked(key: &'static str, text: &str) -> Result<Url, CloudError> {
    let url = Url::parse(text).map_err(|_| CloudError::NoUrl { key })?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(CloudError::NoUrl { key })?;
    let protected = match url.scheme() {
        "https" => true,
        "http" => is_loopback(host),
        _ => false,
    };
    if !protected {
        return Err(CloudError::Unprotected { key, scheme: url.scheme().to_owned(), host: host.to_owned() });
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(CloudError::Decorated { key });
    }
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn below(base: &Url, path: &str) -> Url {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).expect("a checked base followed by a path is a URL")
}

/// `id` as one segment of a path: everything but unreserved characters is escaped, so that an id can neither leave
/// its segment nor begin a query.
pub(super) fn segment(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn cloud(login: &str, graph: &str) -> Result<Cloud, CloudError> {
        Cloud::new(&CloudConfig { login_url: login.to_owned(), graph_url: graph.to_owned() })
    }

    fn global() -> Cloud {
        cloud("https://login.microsoftonline.com", "https://graph.microsoft.com").expect("valid")
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for host in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "127.9.9.9"] {
            assert!(cloud(&format!("http://{host}"), &format!("http://{host}")).is_ok(), "{host}");
        }
        for url in [
            "http://graph.microsoft.com",
            "http://127.0.0.1.example.org",
            "ftp://127.0.0.1",
            "http://10.0.0.1",
        ] {
            let refused = cloud("https://login.microsoftonline.com", url).expect_err(url);
            assert!(matches!(refused, CloudError::Unprotected { key: "graph_url", .. }), "{refused}");
        }
    }

    #[test]
    fn addresses_with_user_query_or_fragment_are_refused() {
        for url in ["https://me:pw@g.example", "https://g.example/?a=1", "https://g.example/#x"] {
            assert_eq!(cloud(url, "https://g.example"), Err(CloudError::Decorated { key: "login_url" }));
        }
        assert_eq!(cloud("https://l.example", "graph"), Err(CloudError::NoUrl { key: "graph_url" }));
    }

    #[test]
    fn urls_are_built_below_the_bases() {
        let tenant = Uuid::nil();
        assert_eq!(
            global().token_url(tenant).as_str(),
            "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/oauth2/v2.0/token"
        );
        assert_eq!(global().scope(), "https://graph.microsoft.com/.default");
        let nested = cloud("http://127.0.0.1:1/login/", "http://127.0.0.1:1/graph/").expect("valid");
        assert_eq!(nested.call_url("/a?$top=1").as_str(), "http://127.0.0.1:1/graph/beta/a?$top=1");
    }

    #[test]
    fn each_built_in_cloud_has_hosts_of_its_own_and_a_scope_of_its_graph() {
        for (name, login, graph) in [
            ("global", "login.microsoftonline.com", "graph.microsoft.com"),
            ("usgov", "login.microsoftonline.us", "graph.microsoft.us"),
            ("usgov_dod", "login.microsoftonline.us", "dod-graph.microsoft.us"),
            ("china", "login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn"),
        ] {
            let addresses = Config::default().cloud(name).expect("built in");
            let cloud = Cloud::new(&addresses).expect("valid");
            assert_eq!(cloud.token_url(Uuid::nil()).host_str(), Some(login), "{name}");
            assert_eq!(cloud.call_url("/x").as_str(), format!("https://{graph}/beta/x"));
            assert_eq!(cloud.scope(), format!("https://{graph}/.default"));
            assert_eq!(cloud.own_link("https://graph.microsoft.com/beta/x").is_some(), name == "global");
        }
    }

    #[test]
    fn a_link_to_another_host_port_or_scheme_is_not_followed() {
        for link in [
            "https://graph.example.invalid/beta/x",
            "http://graph.microsoft.com/beta/x",
            "https://graph.microsoft.com:444/beta/x",
            "https://graph.microsoft.com@evil.example/beta/x",
            "https://me@graph.microsoft.com/beta/x",
            "/beta/x",
            "",
        ] {
            assert_eq!(global().own_link(link), None, "{link}");
        }
    }

    #[test]
    fn a_doubly_escaped_continuation_token_survives() {
        let link = "https://graph.microsoft.com/beta/deviceManagement/configurationPolicies?$top=100&$skiptoken=%255B%257B%2522t%2522%253A%2522%252BRID%257E%2522";
        assert_eq!(global().own_link(link).expect("own").as_str(), link);
    }

    #[test]
    fn an_id_stays_within_its_segment() {
        assert_eq!(segment("T_0-1.a~"), "T_0-1.a~");
        assert_eq!(segment("a/b?c#d%é"), "a%2Fb%3Fc%23d%25%C3%A9");
    }
}
