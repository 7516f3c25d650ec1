//! What a policy cannot have, said in the plan; and what a restore does besides putting back a set as it was.

use atlasd::sandbox::{Edit, Fault, FaultKind, On};

use super::*;
use crate::bed::block_on;
use crate::support::for_each_engine;

for_each_engine!(what_is_gone_has_its_code_and_the_rest_goes_on, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 1)]), QUICK);
    let state = bed.sandbox.state();
    let (one, other, gone) = (group(&bed), group(&bed), group(&bed));
    let filter = state.add_filter(SINGLE_TENANT, "Proof", "unknownFutureValue", "devices").expect("a tenant");
    let of = |items| policy(&bed, "compliancePolicy", items);
    let no_group = of(vec![to_group(&one), to_group(&gone)]);
    let no_filter = of(vec![filtered(to_group(&one), &filter, "include")]);
    let no_policy = of(vec![to_group(&one)]);
    let no_change = of(vec![to_group(&gone)]);
    let emptied = of(Vec::new());
    let fine = of(vec![to_group(&one)]);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        let wanted = sets(&bed);
        for key in [&no_group, &no_filter, &emptied, &fine] {
            set(&bed, key, vec![to_group(&other)]);
        }
        state.delete_group(SINGLE_TENANT, &gone).expect("the group is there");
        state.delete_filter(SINGLE_TENANT, &filter).expect("the filter is there");
        state.delete_policy(SINGLE_TENANT, &no_policy.0, &no_policy.1).expect("the policy is there");
        let before = sets(&bed);
        let keys = [&no_group, &no_filter, &no_policy, &no_change, &emptied, &fine];
        let stranger = "00000000-0000-4000-8000-000000000000";
        let mut named = ids(keys);
        named.push(stranger);
        let (run, items) = restore(&client, tenant, json!({"snapshot_id": id, "policy_ids": named})).await;
        assert_eq!(code(&items[&no_group]), "assignments.group_deleted");
        assert_eq!(code(&items[&no_filter]), "assignments.filter_missing");
        assert_eq!(code(&items[&no_policy]), "assignments.policy_missing");
        assert_eq!(items[&no_change]["state"], "skipped", "what it has already needs no group");
        assert_eq!(items[&emptied]["state"], "verified", "the empty set is a set");
        assert_eq!(items[&fine]["state"], "verified");
        assert_eq!(
            run["summary_counts"]["failed"], 4,
            "with the policy that the snapshot does not hold: {run}"
        );
        let now = sets(&bed);
        assert!([&no_group, &no_filter].into_iter().all(|key| now[key] == before[key]));
        assert!([&no_change, &emptied, &fine].into_iter().all(|key| now[key] == wanted[key]));
        assert!(now[&emptied].is_empty());
        assert_eq!(state.writes_of(SINGLE_TENANT).len(), 2);
    });
});

for_each_engine!(a_merge_only_adds, |engine| {
    let types = [("compliancePolicy", 1), ("termsAndConditions", 1), ("roleAssignment", 1)];
    let bed = Bed::with(engine, exactly(&types), QUICK);
    let (one, other, third) = (group(&bed), group(&bed), group(&bed));
    let replaced = policy(&bed, "compliancePolicy", vec![to_group(&one), to_group(&third)]);
    let single = policy(&bed, "termsAndConditions", vec![to_group(&one), to_group(&third)]);
    let role = policy(&bed, "roleAssignment", Vec::new());
    let members = |ids: &[&String]| vec![json!({"members": ids, "scopeType": "allDevices"})];
    set(&bed, &role, members(&[&one, &third]));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        for key in [&replaced, &single] {
            set(&bed, key, vec![to_group(&third), to_group(&other)]);
        }
        set(&bed, &role, members(&[&third, &other]));
        let keys = [&replaced, &single, &role];
        let inputs = json!({"snapshot_id": id, "policy_ids": ids(keys), "mode": "merge"});
        let (run, items) = restore(&client, tenant, inputs).await;
        assert_eq!(run["outcome"], "succeeded", "{run} {items:#?}");
        let all = vec![to_group(&one), to_group(&other), to_group(&third)];
        let now = sets(&bed);
        assert_eq!(now[&replaced], direct(&replaced, &all));
        assert_eq!(now[&single], direct(&single, &all));
        let now = &truth(&bed)[&role][0]["members"];
        assert!([&one, &other, &third].into_iter().all(|id| now.as_array().unwrap().contains(&json!(id))));
        let writes = bed.sandbox.state().writes_of(SINGLE_TENANT);
        assert!(writes.iter().all(|write| write.method != "DELETE"), "{writes:#?}");
    });
});

for_each_engine!(a_mapped_group_takes_the_place_of_the_one_in_the_snapshot, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 1)]), QUICK);
    let (old, new, other) = (group(&bed), group(&bed), group(&bed));
    let key = policy(&bed, "compliancePolicy", vec![to_group(&old)]);
    let ambiguous = policy(&bed, "compliancePolicy", vec![to_group(&old), except(&other)]);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        let before = sets(&bed);
        bed.sandbox.state().delete_group(SINGLE_TENANT, &old).expect("the group is there");
        let map = json!({old.as_str(): new, other.as_str(): new});
        let keys = [&key, &ambiguous];
        let inputs = json!({"snapshot_id": id, "policy_ids": ids(keys), "group_map": map});
        let (_, items) = restore(&client, tenant, inputs).await;
        assert_eq!(items[&key]["state"], "verified", "{}", items[&key]);
        assert_eq!(code(&items[&ambiguous]), "assignments.group_unmapped", "{}", items[&ambiguous]);
        let now = sets(&bed);
        assert_eq!(now[&key], direct(&key, &[to_group(&new)]));
        assert_eq!(now[&ambiguous], before[&ambiguous]);
    });
});

for_each_engine!(what_the_service_refuses_is_found_in_the_plan, |engine| {
    let types = [
        ("mobileApp", 8),
        ("iosManagedAppProtection", 1),
        ("autopilotProfile", 1),
        ("enrollmentLimit", 1),
        ("roleScopeTag", 1),
    ];
    let bed = Bed::with(engine, exactly(&types), QUICK);
    let state = bed.sandbox.state();
    let (one, other) = (group(&bed), group(&bed));
    let with = |mut item: Value, settings: Value| {
        item["intent"] = "required".into();
        item["settings"] = settings;
        item
    };
    let settings = json!({"@odata.type": "#microsoft.graph.win32LobAppAssignmentSettings"});
    let unpublished = policy(&bed, "mobileApp", vec![with(to_group(&one), Value::Null)]);
    let excluded =
        policy(&bed, "mobileApp", vec![with(to_group(&one), Value::Null), with(except(&other), settings)]);
    let protection = policy(&bed, "iosManagedAppProtection", vec![to("allLicensedUsers", None)]);
    let autopilot = policy(&bed, "autopilotProfile", vec![to("allLicensedUsers", None)]);
    let tag = policy(&bed, "roleScopeTag", vec![to_group(&one)]);
    let default = truth(&bed).into_keys().find(|key| key.0 == "enrollmentLimit").expect("it was seeded");
    let refused = [&unpublished, &excluded, &protection, &autopilot, &tag, &default];
    let fine = policy(&bed, "mobileApp", vec![with(to_group(&one), Value::Null)]);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        let wanted = sets(&bed);
        for key in refused {
            set(&bed, key, vec![to_group(&other)]);
        }
        set(&bed, &fine, vec![with(to_group(&other), Value::Null)]);
        let not_published = json!({"publishingState": "notPublished"}).as_object().unwrap().clone();
        let edited =
            state.edit(SINGLE_TENANT, &unpublished.0, &unpublished.1, Edit::SetProperties(not_published));
        edited.expect("the policy is there");
        let before = sets(&bed);
        let (_, items) = restore(&client, tenant, json!({"snapshot_id": id, "allow_widening": true})).await;
        for key in refused {
            assert_eq!(code(&items[key]), "assignments.target_unsupported", "{}", items[key]);
        }
        let now = sets(&bed);
        assert!(refused.into_iter().all(|key| now[key] == before[key]));
        assert_eq!(now[&fine], wanted[&fine], "{}", items[&fine]);
        let stats = state.stats();
        assert!(stats.refusals_per_rule.is_empty(), "{:?}", stats.refusals_per_rule);
        assert_eq!(stats.by_status.get(&400), None, "{stats:?}");
    });
});

for_each_engine!(
    a_group_goes_from_included_to_excluded_and_back_where_assignments_are_written_singly,
    |engine| {
        let types = ["autopilotProfile", "appleUserInitiatedEnrollmentProfile"];
        let bed = Bed::with(engine, exactly(&types.map(|key| (key, 1))), QUICK);
        let (one, other) = (group(&bed), group(&bed));
        let keys: Vec<Key> =
            types.iter().map(|key| policy(&bed, key, vec![to_group(&one), except(&other)])).collect();
        let daemon = bed.daemon();
        let client = bed.client(daemon.address());
        block_on(async {
            let (_, tenant) = client.single().await;
            let id = snapshot(&client, tenant).await;
            let wanted = sets(&bed);
            keys.iter().for_each(|key| set(&bed, key, vec![except(&one), to_group(&other)]));
            // The first write of each is carried out, and its answer is lost.
            for key in &keys {
                let fault = Fault::new(FaultKind::CloseAfter).on(On::Write).times(1);
                bed.sandbox.state().add_fault(fault.policy_type(&key.0).policy_id(&key.1));
            }
            let inputs = json!({"snapshot_id": id, "policy_ids": ids(&keys), "allow_widening": true});
            let (run, items) = restore(&client, tenant, inputs).await;
            assert_eq!(run["outcome"], "succeeded", "{items:#?}");
            assert_eq!(sets(&bed), wanted);
        });
    }
);
