use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn refused(operation: Operation, inputs: Value) -> (String, String) {
    let error = Inputs::normalise(operation, &inputs).expect_err("the inputs are wrong");
    (error.field, error.problem)
}

fn scope() -> ScopeIds {
    ScopeIds { workspace: "contoso".into(), tenant: Some(Uuid::from_u128(7)) }
}

fn parsed(operation: Operation, inputs: Value) -> Value {
    let inputs = Inputs::normalise(operation, &inputs).expect("the inputs are right");
    serde_json::from_slice(&canonical(operation, &scope(), &inputs)).expect("canonical JSON is JSON")
}

#[test]
fn wrong_inputs_name_their_field() {
    use Operation::{Fetch, Reconcile, Restore};
    let key = "0f0f0f0f-0000-4000-8000-000000000001";
    let cases = [
        (Fetch, json!([]), "inputs"),
        (Fetch, json!("all"), "inputs"),
        (Fetch, json!({"foo": 1}), "inputs.foo"),
        (Fetch, json!({"policy_types": []}), "inputs.policy_types"),
        (Fetch, json!({"policy_types": "mobileApp"}), "inputs.policy_types"),
        (Fetch, json!({"policy_types": {}}), "inputs.policy_types"),
        (Fetch, json!({"policy_types": ["mobileApp", "intent", 3]}), "inputs.policy_types[2]"),
        (Fetch, json!({"policy_types": ["mobileApp", "MobileApp"]}), "inputs.policy_types[1]"),
        (Fetch, json!({"policy_types": [null]}), "inputs.policy_types[0]"),
        (Fetch, json!({"policy_ids": []}), "inputs.policy_ids"),
        (Fetch, json!({"policy_ids": ["a", ""]}), "inputs.policy_ids[1]"),
        (Fetch, json!({"policy_ids": ["a", ["b"]]}), "inputs.policy_ids[1]"),
        (Fetch, json!({"snapshot_id": 1}), "inputs.snapshot_id"),
        (Restore, json!(null), "inputs.snapshot_id"),
        (Restore, json!({}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": null}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": 0}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": -1}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": 41.0}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": "41"}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": 9_007_199_254_740_992_u64}), "inputs.snapshot_id"),
        (Restore, json!({"snapshot_id": 1, "plan_run_id": 0}), "inputs.plan_run_id"),
        (Restore, json!({"snapshot_id": 1, "mode": "Exact"}), "inputs.mode"),
        (Restore, json!({"snapshot_id": 1, "mode": null}), "inputs.mode"),
        (Restore, json!({"snapshot_id": 1, "dry_run": "true"}), "inputs.dry_run"),
        (Restore, json!({"snapshot_id": 1, "allow_widening": 1}), "inputs.allow_widening"),
        (Restore, json!({"snapshot_id": 1, "policy_types": ["intent"]}), "inputs.policy_types"),
        (Restore, json!({"snapshot_id": 1, "group_map": null}), "inputs.group_map"),
        (Restore, json!({"snapshot_id": 1, "group_map": {"sales": key}}), "inputs.group_map.sales"),
        (
            Restore,
            json!({"snapshot_id": 1, "group_map": {key: 7}}),
            "inputs.group_map.0f0f0f0f-0000-4000-8000-000000000001",
        ),
        (Reconcile, json!({"dry_run": true}), "inputs.dry_run"),
    ];
    for (operation, inputs, field) in cases {
        assert_eq!(refused(operation, inputs.clone()).0, field, "{operation} {inputs}");
    }
}

#[test]
fn errors_say_what_was_expected_and_found() {
    let (_, problem) = refused(Operation::Restore, json!({"snapshot_id": 41.0}));
    assert_eq!(problem, "expected an integer from 1 to 9007199254740991, found 41.0");
    let (_, problem) = refused(Operation::Fetch, json!({"policy_types": ["apps"]}));
    assert_eq!(problem, "expected a policy type of the catalogue, found `apps`");
    let error = Inputs::normalise(Operation::Fetch, &json!({"foo": 1})).expect_err("unknown");
    assert_eq!(error.to_string(), "`inputs.foo`: unknown field of assignments.fetch");
}

#[test]
fn errors_repeat_no_personal_datum_and_no_long_text() {
    let (field, _) = refused(Operation::Fetch, json!({"jane@contoso.com": 1}));
    assert_eq!(field, "inputs.[e-mail]");
    let (_, problem) = refused(Operation::Fetch, json!({"policy_types": ["x".repeat(100_000)]}));
    assert!(problem.len() < 200, "{problem}");
}

#[test]
fn sizes_are_limited() {
    let ids = |count: usize| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();
    assert!(Inputs::normalise(Operation::Fetch, &json!({"policy_ids": ids(1000)})).is_ok());
    assert_eq!(refused(Operation::Fetch, json!({"policy_ids": ids(1001)})).0, "inputs.policy_ids");
    assert!(Inputs::normalise(Operation::Fetch, &json!({"policy_ids": ["é".repeat(200)]})).is_ok());
    assert_eq!(refused(Operation::Fetch, json!({"policy_ids": ["é".repeat(201)]})).0, "inputs.policy_ids[0]");
    let map = |count: u128| -> serde_json::Map<String, Value> {
        (0..count).map(|id| (Uuid::from_u128(id).to_string(), json!(Uuid::nil()))).collect()
    };
    let restore = |count| json!({"snapshot_id": 1, "group_map": map(count)});
    assert!(Inputs::normalise(Operation::Restore, &restore(1000)).is_ok());
    assert_eq!(refused(Operation::Restore, restore(1001)).0, "inputs.group_map");
}

#[test]
fn group_ids_take_the_hyphenated_form_only() {
    for id in ["{0f0f0f0f-0000-4000-8000-000000000001}", "0f0f0f0f-0000-4000-8000", ""] {
        let inputs = json!({"snapshot_id": 1, "group_map": {id: "0f0f0f0f-0000-4000-8000-000000000001"}});
        assert_eq!(refused(Operation::Restore, inputs).0, format!("inputs.group_map.{id}"));
    }
}

#[test]
fn two_spellings_of_one_group_may_not_contradict_each_other() {
    let (a, b) = ("0f0f0f0f-0000-4000-8000-00000000000a", "0f0f0f0f-0000-4000-8000-00000000000b");
    let map = |second: &str| json!({"snapshot_id": 1, "group_map": {a: b, a.to_uppercase(): second}});
    assert!(Inputs::normalise(Operation::Restore, &map(&b.to_uppercase())).is_ok());
    assert!(Inputs::normalise(Operation::Restore, &map(a)).is_err());
}

#[test]
fn null_inputs_are_all_defaults() {
    assert_eq!(
        Inputs::normalise(Operation::Fetch, &Value::Null),
        Ok(Inputs::Fetch(FetchInputs { policy_types: None, policy_ids: None }))
    );
    assert_eq!(Inputs::normalise(Operation::Reconcile, &Value::Null), Ok(Inputs::Reconcile));
    let plan = json!({"snapshot_id": 1, "plan_run_id": null, "policy_ids": null});
    assert_eq!(
        Inputs::normalise(Operation::Restore, &plan),
        Inputs::normalise(Operation::Restore, &json!({"snapshot_id": 1}))
    );
}

#[test]
fn slugs_are_lower_case_letters_digits_and_inner_hyphens() {
    for slug in ["a", "0", "contoso-group", "a--b", &"x".repeat(63)] {
        assert_eq!(validate_slug(slug), Ok(()), "{slug}");
    }
    for slug in ["", "-", "-a", "a-", "A", "a_b", "a.b", "é", "a b", "a\n", &"x".repeat(64)] {
        assert!(validate_slug(slug).is_err(), "{slug}");
    }
}

#[test]
fn hashes_are_read_back_only_in_lower_case_and_full_length() {
    let hash = IdentityHash::of(b"");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(serde_json::to_value(hash).expect("a text"), json!(hash.to_string()));
    for text in [hash.to_string().to_uppercase(), hash.to_string()[1..].to_owned(), "zz".repeat(32)] {
        assert_eq!(text.parse::<IdentityHash>(), Err(MalformedHash), "{text}");
    }
}

#[test]
fn differences_are_named_by_pointer_in_order() {
    let a = parsed(Operation::Restore, json!({"snapshot_id": 41, "policy_ids": ["a", "b"]}));
    let b = parsed(Operation::Restore, json!({"snapshot_id": 42, "policy_ids": ["b"], "dry_run": true}));
    let found: Vec<_> = differences(&a, &b).into_iter().map(|it| (it.path, it.request, it.against)).collect();
    assert_eq!(
        found,
        [
            ("/inputs/dry_run".to_owned(), json!(false), json!(true)),
            ("/inputs/policy_ids".to_owned(), json!(["a", "b"]), json!(["b"])),
            ("/inputs/snapshot_id".to_owned(), json!(41), json!(42)),
        ]
    );
    let fetch = parsed(Operation::Fetch, json!({}));
    let paths: Vec<_> = differences(&fetch, &a).into_iter().map(|it| it.path).collect();
    assert!(paths.contains(&"/operation".to_owned()) && paths.contains(&"/inputs/policy_types".to_owned()));
    assert!(paths.is_sorted());
}

#[test]
fn pointers_escape_tilde_and_slash() {
    let paths: Vec<_> =
        differences(&json!({"a/b": 1, "c~d": 1}), &json!({})).into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["/a~1b", "/c~0d"]);
    assert_eq!(differences(&json!(1), &json!(2))[0].path, "");
}

fn ids() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(any::<String>().prop_filter("not empty", |id| !id.is_empty()), 1..8)
        .prop_map(|ids| ids.into_iter().map(|id| id.chars().take(POLICY_ID_CHARS_MAX).collect()).collect())
}

proptest! {
    #[test]
    fn sets_are_in_the_order_of_code_points(ids in ids()) {
        let found = parsed(Operation::Fetch, json!({ "policy_ids": ids }));
        let mut expected: Vec<Vec<char>> = ids.iter().map(|id| id.chars().collect()).collect();
        expected.sort();
        expected.dedup();
        let expected: Vec<String> = expected.into_iter().map(|id| id.into_iter().collect()).collect();
        prop_assert_eq!(&found["inputs"]["policy_ids"], &json!(expected));
    }

    #[test]
    fn order_and_repeats_of_a_set_do_not_matter(ids in ids()) {
        let mut other = ids.clone();
        other.reverse();
        other.extend(ids.clone());
        prop_assert_eq!(
            parsed(Operation::Fetch, json!({ "policy_ids": ids })),
            parsed(Operation::Fetch, json!({ "policy_ids": other }))
        );
    }

    #[test]
    fn normalising_normalised_inputs_changes_nothing(
        ids in proptest::option::of(ids()),
        snapshot_id in 1..=ROW_ID_MAX,
        groups in proptest::collection::btree_map(any::<u128>(), any::<u128>(), 0..4),
        merge: bool, dry_run: bool, allow_widening: bool,
        plan_run_id in proptest::option::of(1..=ROW_ID_MAX),
    ) {
        let groups: BTreeMap<String, Uuid> = groups.into_iter()
            .map(|(from, to)| (Uuid::from_u128(from).to_string().to_uppercase(), Uuid::from_u128(to)))
            .collect();
        let mode = if merge { "merge" } else { "exact" };
        let raw = json!({
            "snapshot_id": snapshot_id, "policy_ids": ids, "group_map": groups, "mode": mode, "dry_run": dry_run,
            "plan_run_id": plan_run_id, "allow_widening": allow_widening,
        });
        let once = Inputs::normalise(Operation::Restore, &raw).expect("right");
        let twice = Inputs::normalise(Operation::Restore, &once.to_json()).expect("right");
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(once.to_json(), twice.to_json());
    }

    #[test]
    fn identities_differ_exactly_when_differences_are_found(a in ids(), b in ids()) {
        let (left, right) = (json!({ "policy_ids": a }), json!({ "policy_ids": b }));
        let hash_of = |raw: &Value| {
            hash(Operation::Fetch, &scope(), &Inputs::normalise(Operation::Fetch, raw).expect("right"))
        };
        let same = differences(&parsed(Operation::Fetch, left.clone()), &parsed(Operation::Fetch, right.clone()));
        prop_assert_eq!(hash_of(&left) == hash_of(&right), same.is_empty());
    }

    #[test]
    fn any_json_is_answered_without_a_panic(text in ".{0,40}", number: f64) {
        for raw in [json!(text), json!(number), json!([text]), json!({ text.clone(): number })] {
            for operation in Operation::ALL {
                let _ = Inputs::normalise(operation, &raw);
            }
        }
    }
}
