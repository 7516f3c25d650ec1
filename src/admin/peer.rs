//! From where a request comes: the address that connected, or the one that the proxy in front has seen.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

/// The header in which proxies say who asked them, each behind those before.
const FORWARDED: &str = "x-forwarded-for";

/// The address. Behind a proxy its last word counts alone: whatever stands before it, the client may have written.
pub(super) fn of(request: &HttpRequest, behind_proxy: bool) -> Option<IpAddr> {
    let forwarded = behind_proxy.then(|| last_hop(request.headers())).flatten();
    let address = forwarded.or_else(|| request.peer_addr().map(|peer| peer.ip()))?;
    Some(address.to_canonical())
}

fn last_hop(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED).last()?.to_str().ok()?;
    let last = last.rsplit(',').next()?.trim();
    // Some write the port, too.
    last.trim_matches(['[', ']'])
        .parse()
        .ok()
        .or_else(|| last.parse::<SocketAddr>().ok().map(|peer| peer.ip()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(lines: &[&str], behind_proxy: bool) -> String {
        let request = TestRequest::default().peer_addr("192.0.2.1:5000".parse().unwrap());
        let request = lines.iter().fold(request, |request, line| request.append_header((FORWARDED, *line)));
        of(&request.to_http_request(), behind_proxy).unwrap().to_string()
    }

    #[test]
    fn only_a_proxy_may_say_who_asked_it_and_only_its_last_word_counts() {
        assert_eq!(seen(&["10.0.0.1"], false), "192.0.2.1");
        assert_eq!(seen(&[], true), "192.0.2.1");
        assert_eq!(seen(&["10.0.0.1, 10.0.0.2"], true), "10.0.0.2");
        assert_eq!(seen(&["10.0.0.1", "10.0.0.3:80"], true), "10.0.0.3");
        assert_eq!(seen(&["[2001:db8::1]:80"], true), "2001:db8::1");
        assert_eq!(seen(&["2001:db8::1"], true), "2001:db8::1");
        assert_eq!(seen(&["::ffff:10.0.0.9"], true), "10.0.0.9");
        assert_eq!(seen(&["10.0.0.1, unknown"], true), "192.0.2.1", "a word that is no address is none");
    }
}
