//! What stops a restore: what widens, too many writes, a snapshot that is not complete, an approval, a permission.

use atlasd::sandbox::{Edit, Fault, FaultKind};

use super::*;
use crate::bed::{block_on, run_id};
use crate::support::for_each_engine;

for_each_engine!(what_widens_is_written_only_when_it_is_allowed, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 1)]), QUICK);
    let filter = bed.sandbox.state().add_filter(SINGLE_TENANT, "Proof", "unknownFutureValue", "devices");
    let (one, other) = (group(&bed), group(&bed));
    let filter = filter.expect("the tenant is there");
    let everybody = || to("allLicensedUsers", None);
    let narrow = filtered(to_group(&one), &filter, "include");
    // What the snapshot has, what the policy has now, and what is widened.
    let cases = [
        (vec![to_group(&one)], vec![to_group(&one), except(&other)], "exclusion_lost"),
        (vec![to_group(&one)], vec![narrow.clone()], "filter_lost"),
        (vec![filtered(to_group(&one), &filter, "exclude")], vec![narrow], "filter_lost"),
        (vec![everybody()], vec![to_group(&one)], "group_becomes_everybody"),
        (vec![everybody(), to("allDevices", None)], vec![everybody()], "group_becomes_everybody"),
    ];
    let keys: Vec<Key> =
        cases.iter().map(|(wanted, ..)| policy(&bed, "compliancePolicy", wanted.clone())).collect();
    // Another target is what a restore is for.
    let plain = policy(&bed, "compliancePolicy", vec![to_group(&one)]);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        let wanted = sets(&bed);
        for (key, (_, live, _)) in keys.iter().zip(&cases) {
            set(&bed, key, live.clone());
        }
        set(&bed, &plain, vec![to_group(&other)]);
        let before = sets(&bed);
        let (run, items) = restore(&client, tenant, json!({"snapshot_id": id})).await;
        assert_eq!(run["summary_counts"]["failed"], cases.len(), "{run}");
        for (key, (_, _, way)) in keys.iter().zip(&cases) {
            assert_eq!(code(&items[key]), "assignments.guard_blocked", "{}", items[key]);
            assert!(items[key]["widens"].as_array().is_some_and(|ways| ways.contains(&json!(way))));
        }
        let now = sets(&bed);
        assert_eq!(now[&plain], wanted[&plain]);
        assert!(keys.iter().all(|key| now[key] == before[key]));
        let (run, _) = restore(&client, tenant, json!({"snapshot_id": id, "allow_widening": true})).await;
        assert_eq!(run["summary_counts"]["updated"], cases.len(), "{run}");
        assert_eq!(sets(&bed), wanted);
    });
});

for_each_engine!(more_writes_than_allowed_are_none, |engine| {
    let limited = "[restore]\npolicies_max = 3\nverify_wait = \"20ms\"\n";
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 6)]), limited);
    let keys: Vec<Key> = truth(&bed).into_keys().collect();
    let (one, other) = (group(&bed), group(&bed));
    keys.iter().for_each(|key| set(&bed, key, vec![to_group(&one)]));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        keys[..4].iter().for_each(|key| set(&bed, key, vec![to_group(&other)]));
        let (run, items) = restore(&client, tenant, json!({"snapshot_id": id})).await;
        assert_eq!(run["outcome"], "failed", "{run}");
        assert!(keys[..4].iter().all(|key| code(&items[key]) == "assignments.guard_blocked"), "{items:#?}");
        assert!(bed.sandbox.state().writes_of(SINGLE_TENANT).is_empty());
        // As many as are allowed are not too many.
        let named = json!({"snapshot_id": id, "policy_ids": ids(&keys[..3])});
        let (run, _) = restore(&client, tenant, named).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        assert_eq!(bed.sandbox.state().writes_of(SINGLE_TENANT).len(), 3);
        keys[..4].iter().for_each(|key| set(&bed, key, vec![to_group(&other)]));
        let allowed = json!({"snapshot_id": id, "allow_widening": true});
        let (run, _) = restore(&client, tenant, allowed).await;
        assert_eq!(run["summary_counts"]["updated"], 4, "{run}");
    });
});

for_each_engine!(nothing_of_a_type_that_was_not_read_completely_is_restored, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 5), ("configurationPolicy", 5)]), QUICK);
    let keys: Vec<Key> = truth(&bed).into_keys().collect();
    let (one, other) = (group(&bed), group(&bed));
    keys.iter().for_each(|key| set(&bed, key, vec![to_group(&one)]));
    let part = |key: &&Key| key.0 == "configurationPolicy";
    let unread = keys.iter().find(part).expect("there are some");
    let fault = Fault::new(FaultKind::Forbidden).policy_type(&unread.0).policy_id(&unread.1);
    bed.sandbox.state().add_fault(fault);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let run = client.completed(run_id(&client.fetch(tenant, json!({})).await)).await;
        let id = run["context"]["snapshot_id"].as_i64().expect("what could be read is kept");
        bed.sandbox.state().clear_faults();
        keys.iter().for_each(|key| set(&bed, key, vec![to_group(&other)]));
        let before = sets(&bed);
        let inputs = json!({"snapshot_id": id, "allow_widening": true});
        let (run, items) = restore(&client, tenant, inputs).await;
        assert_eq!(run["outcome"], "failed", "{run}");
        let now = sets(&bed);
        for key in keys.iter().filter(|key| !part(key)) {
            assert_eq!(now[key], direct(key, &[to_group(&one)]), "{}", items[key]);
        }
        assert!(keys.iter().filter(part).all(|key| now[key] == before[key]));
        let refused: Vec<_> = items.iter().filter(|(key, _)| part(key)).collect();
        assert!(!refused.is_empty(), "{items:#?}");
        assert!(refused.iter().all(|(_, item)| code(item) == "assignments.read_incomplete"), "{refused:#?}");
    });
});

for_each_engine!(a_policy_that_needs_an_approval_fails_and_the_others_go_on, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 6), ("termsAndConditions", 2)]), QUICK);
    let keys: Vec<Key> = truth(&bed).into_keys().collect();
    let (one, other) = (group(&bed), group(&bed));
    keys.iter().for_each(|key| set(&bed, key, vec![to_group(&one)]));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        keys.iter().for_each(|key| set(&bed, key, vec![to_group(&other)]));
        let before = sets(&bed);
        for key in keys.iter().step_by(2) {
            let edited = bed.sandbox.state().edit(SINGLE_TENANT, &key.0, &key.1, Edit::Approval(true));
            edited.expect("the policy is there");
        }
        let (run, items) = restore(&client, tenant, json!({"snapshot_id": id})).await;
        assert_eq!(run["summary_counts"]["failed"], 4, "{run}");
        assert_eq!(run["summary_counts"]["updated"], 4, "{run}");
        assert_eq!(run["attempt"], 1, "nobody approves by waiting: {run}");
        let now = sets(&bed);
        for (at, key) in keys.iter().enumerate() {
            if at % 2 == 0 {
                assert_eq!(code(&items[key]), "graph.approval_required", "{}", items[key]);
                assert_eq!(now[key], before[key]);
            } else {
                assert_eq!(items[key]["state"], "verified", "{}", items[key]);
            }
        }
    });
});

for_each_engine!(a_missing_permission_is_named_before_any_write, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 3), ("deviceHealthScript", 3)]), QUICK);
    let keys: Vec<Key> = truth(&bed).into_keys().collect();
    let (one, other) = (group(&bed), group(&bed));
    keys.iter().for_each(|key| set(&bed, key, vec![to_group(&one)]));
    let roles = ["DeviceManagementConfiguration.Read.All", "DeviceManagementScripts.ReadWrite.All"];
    let more = ["Group.Read.All", "Directory.Read.All", "DeviceManagementApps.Read.All"];
    let roles = roles.iter().chain(&more).map(|role| (*role).to_owned()).collect();
    bed.sandbox.state().set_roles(SINGLE_TENANT, Some(roles)).expect("the tenant is there");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let types = json!({"policy_types": ["compliancePolicy", "deviceHealthScript"]});
        let run = client.completed(run_id(&client.fetch(tenant, types).await)).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        let id = run["context"]["snapshot_id"].clone();
        keys.iter().for_each(|key| set(&bed, key, vec![to_group(&other)]));
        let before = sets(&bed);
        let (run, items) = restore(&client, tenant, json!({"snapshot_id": id, "allow_widening": true})).await;
        let named = json!(["DeviceManagementConfiguration.ReadWrite.All"]);
        assert_eq!(run["context"]["permissions_missing"], named, "{run}");
        let now = sets(&bed);
        for key in &keys {
            if key.0 == "compliancePolicy" {
                assert_eq!(code(&items[key]), "graph.permission_missing", "{}", items[key]);
                assert_eq!(now[key], before[key]);
            } else {
                assert_eq!(items[key]["state"], "verified", "{}", items[key]);
            }
        }
        let stats = bed.sandbox.state().stats();
        assert_eq!(stats.by_status.get(&403), None, "nothing was tried: {stats:?}");
    });
});
