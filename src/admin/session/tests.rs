use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(header::HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

#[test]
fn a_session_is_read_from_the_one_cookie_of_its_name() {
    let id = SessionId::fresh();
    let value = URL_SAFE_NO_PAD.encode(id.0);
    let of = |cookies: &[&str]| {
        let pairs: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
        SessionId::of(&headers(&pairs))
    };
    let own = format!("a=b; {COOKIE}={value}; c");
    assert!(of(&[&own]) == Some(id));
    assert!(of(&["a=b", &own]) == Some(id));
    for odd in [String::new(), format!("{COOKIE}="), format!("{COOKIE}=abc"), format!("x{COOKIE}={value}")] {
        assert!(of(&[&odd]).is_none(), "{odd}");
    }
    assert!(of(&[&own, &own]).is_none(), "two of them are none");
    assert!(of(&[]).is_none());
}

#[test]
fn a_session_is_not_its_token_of_forms_and_each_session_has_its_own() {
    let [one, other] = [SessionId::fresh(), SessionId::fresh()];
    assert!(one.csrf().matches(one.csrf().token().as_bytes()));
    assert!(!one.csrf().matches(other.csrf().token().as_bytes()));
    assert!(!one.csrf().matches(b"") && !one.csrf().matches(URL_SAFE_NO_PAD.encode(one.0).as_bytes()));
}

#[test]
fn the_cookie_is_kept_from_scripts_and_other_sites() {
    let plain = SessionId::fresh().set_cookie(&Config::default());
    let plain = plain.to_str().unwrap();
    assert!(plain.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{plain}");
    assert!(forget_cookie(&Config::default()).to_str().unwrap().starts_with("atlasd_session=; Path=/; "));
}

#[test]
fn only_this_host_s_pages_may_change_something() {
    let own = [("host", "127.0.0.1:7717")];
    let with = |more: &[(&'static str, &'static str)]| check_site(&headers(&[&own, more].concat())).is_ok();
    assert!(with(&[]));
    assert!(with(&[("origin", "http://127.0.0.1:7717"), ("sec-fetch-site", "same-origin")]));
    assert!(with(&[("origin", "https://127.0.0.1:7717")]), "a proxy may speak TLS for us");
    for origin in
        ["null", "", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:7718", "127.0.0.1:7717"]
    {
        assert!(!with(&[("origin", origin)]), "{origin}");
    }
    for site in ["cross-site", "same-site", "", "Same-Origin"] {
        assert!(!with(&[("sec-fetch-site", site)]), "{site}");
    }
    assert!(!with(&[("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")]));
    assert!(check_site(&headers(&[("origin", "http://")])).is_err(), "no host is nobody's host");
}

#[test]
fn the_way_after_the_sign_in_stays_on_this_host() {
    for good in ["/", "/runs?status=queued&limit=5", "/runs/7", "/a//b"] {
        assert!(is_local(good), "{good}");
    }
    let long = format!("/{}", "a".repeat(1024));
    for bad in [
        "",
        "runs",
        "//evil.example",
        "/\\evil.example",
        "http://evil.example",
        "/a\r\nb",
        "/a b",
        "/\u{e9}",
        &long,
    ] {
        assert!(!is_local(bad), "{bad}");
    }
}

#[test]
fn a_form_is_read_without_its_token() {
    let fields: Vec<(String, String)> = form(b"a=1&_csrf=abc&a=2&b=%C3%A9+x").unwrap();
    let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("a", "1"), ("a", "2"), ("b", "\u{e9} x")]);
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct One {
        a: u8,
    }
    assert_eq!(form::<One>(b"_csrf=abc&a=1").unwrap().a, 1);
    assert_eq!(form::<One>(b"a=1&b=2").unwrap_err().code(), "request.invalid");
    assert_eq!(form::<One>(b"a=\xff").unwrap_err().code(), "request.malformed");
}
