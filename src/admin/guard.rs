//! What stands around every route, whoever asks: the host that is asked for must be ours, every answer tells browsers
//! what they may do with it, and a HEAD is a GET without a body.
//!
//! The host: a page of another site can make its own name point at this machine (DNS rebinding), and would then be of
//! one origin with us. It cannot choose the `Host` header, which has that name. So names must be known
//! (`http.hosts`), while addresses, which nobody can point elsewhere, must only be plausible.

use std::net::IpAddr;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use super::AdminState;
use super::problem::Problem;

/// What pages may load: their own parts, nothing from elsewhere, nothing written into the page itself.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// What is no page loads nothing.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// On every answer. `same-origin`, not `no-referrer`: with that, browsers send forms with `Origin: null`.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
];

/// The middleware.
pub(super) async fn around(
    state: web::Data<AdminState>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let config = state.config();
    let without_body = request.method() == Method::HEAD;
    if without_body {
        request.head_mut().method = Method::GET;
    }
    let mut response = match check_host(&request, &config.http.hosts) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(problem.error_response()),
    };
    protect(response.headers_mut(), config.is_https());
    // The server leaves a body of known size out and keeps its size; a stream would be held open for nobody.
    if without_body && response.response().body().size() == BodySize::Stream {
        response = response.map_body(|_, _| BoxBody::new(()));
    }
    Ok(response)
}

/// Adds what is not there already: assets say themselves how long they may be kept.
fn protect(headers: &mut HeaderMap, https: bool) {
    let is_page =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_static(if is_page { PAGE_POLICY } else { DATA_POLICY });
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if https {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
}

/// Refuses a request for a host that is not ours.
fn check_host(request: &ServiceRequest, hosts: &[String]) -> Result<(), Problem> {
    let ours = |name: &str| is_ours(name, hosts, request.app_config().local_addr().ip());
    let mut given = request.headers().get_all(header::HOST);
    let header = match (given.next(), given.next()) {
        (Some(_), Some(_)) => return Err(Problem::malformed("expected one `Host` header, found several")),
        (Some(value), None) => Some(authority(value.as_bytes())?),
        (None, _) => None,
    };
    let target = request.uri().authority();
    let agree = match (&header, target) {
        (Some(header), Some(target)) => header.as_str().eq_ignore_ascii_case(target.as_str()),
        _ => true,
    };
    if !agree {
        return Err(Problem::malformed("expected the target and the `Host` header to name one host"));
    }
    match header.as_ref().or(target) {
        Some(host) if ours(host.host()) => Ok(()),
        Some(_) => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "request.host_unknown",
            "the `Host` header names no host of this daemon: http.hosts lists the names that it is reached by",
        )),
        // No browser speaks it; monitors do.
        None if request.version() < Version::HTTP_11 => Ok(()),
        None => Err(Problem::malformed("expected a `Host` header, found none")),
    }
}

fn authority(value: &[u8]) -> Result<Authority, Problem> {
    let parsed = Authority::try_from(value).ok();
    parsed
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or_else(|| Problem::malformed("expected the `Host` header to be a host with or without a port"))
}

/// Whether a host's name or address is one of this daemon, which listens on `local`.
fn is_ours(host: &str, hosts: &[String], local: IpAddr) -> bool {
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address == local.to_canonical() || local.is_unspecified()
        }
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plausible_and_names_are_known() {
        let hosts = ["atlasd.example.com".to_owned(), "10.9.9.9".to_owned()];
        let (loopback, one): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap());
        for host in ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_ours(host, &hosts, loopback) && is_ours(host, &hosts, one), "{host}");
        }
        for host in ["atlasd.example.com", "Atlasd.Example.Com.", "10.9.9.9"] {
            assert!(is_ours(host, &hosts, one), "{host}");
        }
        assert!(is_ours("192.0.2.7", &hosts, one) && !is_ours("192.0.2.7", &hosts, loopback));
        assert!(is_ours("192.0.2.8", &hosts, "0.0.0.0".parse().unwrap()), "whoever listens on all has many");
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "2130706433", "0x7f.1"]
        {
            assert!(!is_ours(host, &hosts, loopback), "{host}");
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        assert_eq!(authority(b"a.example:80").unwrap().host(), "a.example");
        assert_eq!(authority(b"[::1]:80").unwrap().host(), "[::1]");
        for odd in [&b""[..], b"a b", b"user@a", b"a/b", b"\xff", b"a:b:c:"] {
            let refused =
                authority(odd).map(|authority| !is_ours(authority.host(), &[], [127, 0, 0, 1].into()));
            assert!(refused.unwrap_or(true), "{odd:?}");
        }
    }

    #[test]
    fn every_answer_is_protected_and_assets_keep_their_time() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        protect(&mut headers, true);
        assert_eq!(headers.get("cache-control").unwrap(), "max-age=1");
        assert_eq!(headers.get("content-security-policy").unwrap(), DATA_POLICY);
        assert!(headers.contains_key("strict-transport-security"));
        let mut page = HeaderMap::new();
        page.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        protect(&mut page, false);
        assert_eq!(page.get("content-security-policy").unwrap(), PAGE_POLICY);
        assert_eq!(page.get("cache-control").unwrap(), "no-store");
        assert!(!page.contains_key("strict-transport-security"));
    }
}
