use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn what_is_safe_stays_as_it_is() {
    for message in [
        "",
        "graph answered 429 TooManyRequests, request-id=11111111-aaaa-4bbb-8ccc-000000000001",
        "request-id 11111111-aaaa-4bbb-8ccc-000000000001_22222222-aaaa-4bbb-8ccc-000000000001",
        "the token lacks DeviceManagementConfiguration.ReadWrite.All, DeviceManagementServiceConfig.Read.All",
        "expected windowsDefenderApplicationControlSupplementalPolicyAssignment",
        "AADSTS7000215 in /deviceManagement/virtualEndpoint/provisioningPolicies",
        "Lifetime validation failed, the token is expired.",
        "an item has no @odata.type",
        "Müller's policy (日本) – 100 % of 3 items",
    ] {
        assert_eq!(sanitise(message), message);
    }
}

#[test]
fn secrets_and_personal_data_are_redacted() {
    let long = "Zm9vYmFyYmF6MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A";
    let cases = [
        ("sent to jane.doe+x@contoso.com.", "sent to [e-mail]"),
        ("o'brien@contoso.co.uk failed", "[e-mail] failed"),
        ("user john_contoso.com#EXT#@fabrikam.onmicrosoft.com", "user [e-mail]"),
        ("user john_contoso.com#EXT# gone", "user [e-mail] gone"),
        ("\"jane doe\"@contoso.com", "[e-mail]"),
        ("jane%40contoso.com", "[e-mail]"),
        ("jane@contoso@x", "[e-mail]"),
        ("ja\u{200b}ne@con\u{ad}toso.com", "[e-mail]"),
        ("at https://fef.manage.microsoft.com/a('b')?x=1#y now", "at [url] now"),
        ("next https%3A%2F%2Fgraph.microsoft.com%2Fbeta", "next [url]"),
        ("postgres://atlas:hunter2@db/x", "[url]"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("{\"authorization\":\"Basic YWJjOmRlZg==\"}", "{\"authorization: [redacted]"),
        ("got bearer abcdef", "got bearer [redacted]"),
        ("Basic dXNlcjpwYXNz", "Basic [redacted]"),
        ("basic authentication is off", "basic authentication is off"),
        ("x eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.e30. y", "x [token] y"),
        ("client_secret=hunter2&grant_type=x", "client_secret=[redacted]&grant_type=x"),
        ("{\"client_secret\": \"hunter 2\"}", "{\"client_secret=[redacted]}"),
        ("{\\\"password\\\":\\\"hunter 2\\\"}", "{\\\"password=[redacted]}"),
        ("?sig=ab%2Fcd&se=1", "?sig=[redacted]&se=1"),
        ("$skiptoken=abc", "$skiptoken=[redacted]"),
        ("client_assertion = abc", "client_assertion=[redacted]"),
        ("AccountKey=abc;x y", "AccountKey=[redacted] y"),
        ("access_token: Bearer abc", "access_token=[redacted]"),
        ("Authorization: Bearer client_secret : abc", "Authorization: [redacted]"),
        ("Bearer (client_secret= abc== def", "Bearer [redacted]"),
        ("secret abC8Q~dkJ.x-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "secret [secret]"),
        (&format!("found {long}="), "found [secret]"),
        ("hash 0123456789abcdef0123456789abcdef", "hash [secret]"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\nab\n-----END PRIVATE KEY----- x", "[secret] x"),
        ("a\r\n\tb\u{2028}c\u{7}d", "a b c d"),
    ];
    for (message, expected) in cases {
        assert_eq!(sanitise(message), expected, "{message}");
    }
}

#[test]
fn graphs_own_envelope_loses_its_urls_and_keeps_its_ids() {
    let message = "{\r\n  \"_version\": 3,\r\n  \"Message\": \"An error has occurred - Operation ID (for customer support): \
        00000000-0000-0000-0000-000000000000 - Activity ID: 11111111-aaaa-4bbb-8ccc-000000000001 - Url: \
        https://fef.msub00.manage.microsoft.com/DCV2/33333333-ffff-4021-0607-030000000000/x('22222222-2222-4222-8222-222222222222')?api-version=5025-01-01\",\r\n}";
    let safe = sanitise(message);
    assert!(safe.contains("Activity ID: 11111111-aaaa-4bbb-8ccc-000000000001"), "{safe}");
    assert!(!safe.contains("33333333") && !safe.contains("fef"), "{safe}");
}

#[test]
fn a_long_message_is_cut_between_words() {
    let safe = sanitise(&"word ".repeat(100));
    assert!(safe.chars().count() <= MESSAGE_CHARS_MAX && safe.ends_with("word…"), "{safe}");
    assert_eq!(sanitise(&"é".repeat(300)).chars().count(), MESSAGE_CHARS_MAX);
    assert_eq!(sanitise(&"x ".repeat(100)).len(), 199);
}

#[test]
fn a_huge_message_shows_nothing_of_a_word_at_the_cut() {
    let message = format!("{} jane@contoso.com", "a ".repeat(2046));
    assert!(!sanitise(&message).contains("jane"));
    assert_eq!(sanitise(&format!("password={}", "x".repeat(1_000_000))), "");
}

#[test]
fn a_failure_is_read_from_the_ledger_as_it_was_written() {
    let failure = Failure::new(Code::GraphThrottled, "still throttled after 5 tries");
    let text = serde_json::to_string(&failure).expect("text");
    assert_eq!(text, r#"{"code":"graph.throttled","message":"still throttled after 5 tries"}"#);
    assert_eq!(serde_json::from_str::<Failure>(&text).expect("a failure"), failure);
    assert!(serde_json::from_value::<Failure>(json!({"code": "graph.unknown", "message": ""})).is_err());
}

#[test]
fn codes_are_the_closed_list_of_the_spec() {
    let spec = "graph.auth_failed graph.permission_missing graph.forbidden graph.approval_required \
        graph.type_unavailable graph.not_found graph.bad_request graph.conflict graph.throttled graph.unavailable \
        graph.timeout graph.network graph.protocol assignments.policy_missing assignments.group_unmapped \
        assignments.group_deleted assignments.filter_missing assignments.target_unsupported \
        assignments.read_incomplete assignments.drifted_since_plan assignments.verify_mismatch \
        assignments.guard_blocked assignments.partial_failure run.cancelled run.timeout run.lease_expired \
        run.attempts_exhausted run.stale_attempt_result run.stale_queued run.adapter_out_of_sync \
        run.credentials_missing internal.unexpected";
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes, spec.split_whitespace().collect::<Vec<_>>());
    for code in Code::ALL {
        assert_eq!(code.as_str().parse(), Ok(*code));
        assert_eq!(serde_json::to_value(code).expect("a text"), json!(code.as_str()));
    }
}

#[test]
fn a_summary_counts_items_most_frequent_first() {
    let of = |code, message: &str| Failure::new(code, message);
    let summary = summarise(&[
        of(Code::GraphTimeout, "no answer in 30 s"),
        of(Code::GraphThrottled, "first"),
        of(Code::GraphNotFound, "gone"),
        of(Code::GraphThrottled, "second"),
    ]);
    assert_eq!(
        summary,
        [
            of(Code::GraphThrottled, "first (2 items)"),
            of(Code::GraphNotFound, "gone"),
            of(Code::GraphTimeout, "no answer in 30 s"),
        ]
    );
    assert!(summarise(&[]).is_empty());
}

#[test]
fn a_summary_keeps_its_limits() {
    let every: Vec<_> = Code::ALL.iter().map(|code| Failure::new(*code, "x")).collect();
    assert_eq!(summarise(&every).len(), SUMMARY_ENTRIES_MAX);
    for message in ["word ".repeat(60), "é".repeat(300)] {
        let long = Failure::new(Code::GraphNetwork, &message);
        let summary = summarise(&vec![long; 12_345]);
        assert!(summary[0].message().ends_with(" (12345 items)"), "{}", summary[0].message());
        assert!(summary[0].message().chars().count() <= MESSAGE_CHARS_MAX);
    }
}

/// Pieces that messages are made of, so that random ones come near the patterns.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,60}",
        "[A-Za-z0-9_-]{20,80}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "(https|ldap)://[a-z./@?=]{0,30}",
        "[a-z.]{1,8}(#EXT#)?@[a-z.@]{1,12}",
        Just("password".to_owned()),
        Just("Authorization: Bearer ".to_owned()),
        Just("eyJ".to_owned()),
        Just("=".to_owned()),
        Just("\"".to_owned()),
        Just(" ".to_owned()),
        Just("[redacted]".to_owned()),
        Just("-----BEGIN X-----".to_owned()),
    ]
}

fn message() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

/// A gap around something planted, such as messages have.
fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(" "), Just("\n"), Just("\""), Just("'"), Just("("), Just(", "), Just(": "), Just("<")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn sanitising_is_idempotent_one_line_and_short(message in message()) {
        let once = sanitise(&message);
        prop_assert_eq!(&sanitise(&once), &once);
        prop_assert!(once.chars().count() <= MESSAGE_CHARS_MAX);
        prop_assert!(!once.chars().any(char::is_control));
    }

    #[test]
    fn an_address_never_survives(
        before in message(), gap in gap(), local in "[a-z]{6,12}(\\.[a-z]{6,9})?", guest: bool, after in message(),
    ) {
        let guest = if guest { "_contoso.com#EXT#" } else { "" };
        let address = format!("{local}{guest}@fabrikam.onmicrosoft.com");
        let safe = sanitise(&format!("{before}{gap}{address}{gap}{after}"));
        prop_assume!(!before.contains(&local) && !after.contains(&local));
        prop_assert!(!safe.contains(&local), "{}", safe);
    }

    #[test]
    fn a_token_never_survives(
        before in message(), gap in gap(), body in "[A-Za-z0-9_-]{20,60}", sign in "[A-Za-z0-9_-]{6,60}", after in message(),
    ) {
        let safe = sanitise(&format!("{before}{gap}eyJhbGciOiJSUzI1NiJ9.eyJ{body}.{sign}{gap}{after}"));
        prop_assert!(!safe.contains(&body) && !safe.contains(&sign), "{}", safe);
        prop_assert!(!safe.contains("eyJhbGci"), "{}", safe);
    }

    #[test]
    fn a_named_secret_never_survives(
        before in message(), gap in gap(),
        key in "(client_secret|password|access_token|client_assertion|sig|\\$skiptoken|refresh_token|api_key)",
        equals in "( ?[=:] ?|\":\"|\\\\\":\\\\\")", value in "[A-Za-z0-9~._-]{12,30}", after in message(),
    ) {
        let safe = sanitise(&format!("{before}{gap}{key}{equals}{value}{gap}{after}"));
        prop_assert!(!safe.contains(&value), "{}", safe);
    }

    #[test]
    fn a_long_secret_never_survives(
        before in message(), gap in gap(), head in "[A-Za-z][0-9]", secret in "[A-Za-z0-9_-]{31,90}", after in message(),
    ) {
        let secret = format!("{head}{secret}");
        let safe = sanitise(&format!("{before}{gap}{secret}{gap}{after}"));
        prop_assert!(!safe.contains(&secret), "{}", safe);
    }

    #[test]
    fn a_summary_loses_no_item_and_repeats_no_code(codes in proptest::collection::vec(0..Code::ALL.len(), 0..60)) {
        let failures: Vec<_> = codes.iter().map(|at| Failure::new(Code::ALL[*at], "m")).collect();
        let summary = summarise(&failures);
        let items = |failure: &Failure| {
            failure.message().split(['(', ' ']).find_map(|word| word.parse::<usize>().ok()).unwrap_or(1)
        };
        let counts: Vec<_> = summary.iter().map(items).collect();
        prop_assert!(counts.is_sorted_by(|a, b| a >= b));
        let distinct: std::collections::BTreeSet<_> = failures.iter().map(|failure| failure.code).collect();
        prop_assert_eq!(summary.len(), distinct.len().min(SUMMARY_ENTRIES_MAX));
        if distinct.len() <= SUMMARY_ENTRIES_MAX {
            prop_assert_eq!(counts.iter().sum::<usize>(), failures.len());
        }
    }
}
