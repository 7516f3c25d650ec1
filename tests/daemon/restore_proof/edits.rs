//! Edits in the portal while a restore is under way, for every type that is written as a whole.

use atlasd::sandbox::{Edit, Fault, FaultKind, Gate, GateState, On, ScheduledEdit, Step, When};

use super::*;
use crate::bed::{block_on, run_id, tick};
use crate::support::for_each_engine;

/// For every type with an action, a policy that can be written and has something.
fn policies(bed: &Bed) -> Vec<Key> {
    let types = writable().filter(|row| matches!(row.write, Write::Replace { .. }));
    types.map(|row| policy(bed, row.key, vec![group_item(bed, row, 0)])).collect()
}

/// An assignment that any type takes.
fn group_item(bed: &Bed, row: &PolicyType, at: usize) -> Value {
    use atlasd::domain::policy_types::TargetKind::{CloudPcGroup, OfficeGroup};
    let groups = bed.sandbox.state().group_ids(SINGLE_TENANT);
    let kind = match () {
        () if row.targets.contains(&CloudPcGroup) => "cloudPcManagementGroup",
        () if row.targets.contains(&OfficeGroup) => "officeConfigurationGroup",
        () => "group",
    };
    let mut item = to(kind, Some(&groups[at]));
    if row.kept.contains(&"intent") {
        item["intent"] = if row.key == "mobileApp" { "required".into() } else { "apply".into() };
    }
    item
}

for_each_engine!(an_edit_between_plan_and_write_is_seen_and_survives, |engine| {
    let bed = Bed::with(engine, world(Policies::PerType(1)), QUICK);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let keys = policies(&bed);
    assert!(keys.len() > 35, "{keys:?}");
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        keys.iter().for_each(|key| set(&bed, key, vec![group_item(&bed, row(&key.0), 1)]));
        let inputs = json!({"snapshot_id": id, "policy_ids": ids(&keys), "allow_widening": true});
        let mut dry = inputs.clone();
        dry["dry_run"] = true.into();
        let (plan, planned) = restore(&client, tenant, dry).await;
        for key in &keys {
            assert_eq!(planned[key]["state"], "planned", "{}", planned[key]);
        }
        keys.iter().for_each(|key| set(&bed, key, vec![group_item(&bed, row(&key.0), 2)]));
        let edited = sets(&bed);
        let mut real = inputs;
        real["plan_run_id"] = plan["id"].clone();
        let (run, items) = restore(&client, tenant, real).await;
        assert_eq!(run["outcome"], "failed", "{run}");
        for key in &keys {
            assert_eq!(code(&items[key]), "assignments.drifted_since_plan", "{}", items[key]);
        }
        assert_eq!(sets(&bed), edited);
        assert!(bed.sandbox.state().writes_of(SINGLE_TENANT).is_empty());
    });
});

for_each_engine!(an_edit_between_the_plan_and_the_last_look_is_seen_and_survives, |engine| {
    let bed = Bed::with(engine, world(Policies::PerType(1)), QUICK);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let keys = policies(&bed);
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        keys.iter().for_each(|key| set(&bed, key, vec![group_item(&bed, row(&key.0), 1)]));
        let untouched = keys.len() / 4;
        for key in &keys[untouched..] {
            let edit = Edit::SetAssignments(vec![group_item(&bed, row(&key.0), 2)]);
            let scheduled = ScheduledEdit {
                tenant: SINGLE_TENANT,
                policy_type: key.0.clone(),
                policy_id: key.1.clone(),
                when: When::AfterRead(1),
                edit,
            };
            bed.sandbox.state().schedule_edit(scheduled).expect("the policy is there");
        }
        let inputs = json!({"snapshot_id": id, "policy_ids": ids(&keys), "allow_widening": true});
        let (_, items) = restore(&client, tenant, inputs).await;
        assert!(bed.sandbox.state().scheduled_edits().is_empty(), "each was made");
        let after = sets(&bed);
        for (at, key) in keys.iter().enumerate() {
            let item = &items[key];
            let left = if at < untouched { 0 } else { 2 };
            assert_eq!(after[key], direct(key, &[group_item(&bed, row(&key.0), left)]), "{item}");
            if at < untouched {
                assert_eq!(item["state"], "verified", "{item}");
            } else {
                assert_eq!(code(item), "assignments.drifted_since_plan", "{item}");
            }
        }
        assert_eq!(bed.sandbox.state().writes_of(SINGLE_TENANT).len(), untouched);
    });
});

for_each_engine!(an_edit_right_after_the_write_is_seen_and_survives, |engine| {
    let bed = Bed::with(engine, world(Policies::PerType(1)), QUICK);
    let state = bed.sandbox.state();
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let keys = policies(&bed);
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        keys.iter().for_each(|key| set(&bed, key, vec![group_item(&bed, row(&key.0), 1)]));
        let mut gates = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let gate = Gate::at(Step::WriteApplied).tenant(SINGLE_TENANT).policy(&key.0, &key.1);
            gates.insert(state.place_gate(gate), key);
            // Of every second one the daemon does not even hear that it was applied.
            if at % 2 == 0 {
                let fault = Fault::new(FaultKind::CloseAfter).on(On::Write).times(1);
                state.add_fault(fault.policy_type(&key.0).policy_id(&key.1));
            }
        }
        let inputs = json!({"snapshot_id": id, "policy_ids": ids(&keys), "allow_widening": true});
        let request = json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": inputs});
        let run = run_id(&client.post("/runs", request).await);
        while client.get(&format!("/runs/{run}")).await.body["status"] != "completed" {
            let held = state.gates().into_iter().filter(|view| view.state == GateState::Holding);
            for gate_id in held.map(|view| view.gate_id) {
                let key = gates.remove(&gate_id).expect("each gate holds one write");
                set(&bed, key, vec![group_item(&bed, row(&key.0), 2)]);
                state.release_gate(gate_id).expect("it is there");
            }
            tick().await;
        }
        assert!(gates.is_empty(), "each was written: {gates:?}");
        let items = items(&client, &json!({"id": run})).await;
        let after = sets(&bed);
        for (at, key) in keys.iter().enumerate() {
            let expected = ["assignments.drifted_since_plan", "assignments.verify_mismatch"][at % 2];
            assert_eq!(code(&items[key]), expected, "{}", items[key]);
            assert_eq!(after[key], direct(key, &[group_item(&bed, row(&key.0), 2)]), "{}", items[key]);
        }
        assert_eq!(state.writes_of(SINGLE_TENANT).len(), keys.len(), "none was written twice");
    });
});

for_each_engine!(an_edit_while_a_throttled_write_waits_is_seen_and_survives, |engine| {
    let bed = Bed::with(engine, exactly(&[("compliancePolicy", 1)]), QUICK);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let key = policy(&bed, "compliancePolicy", vec![group_item(&bed, row("compliancePolicy"), 0)]);
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        set(&bed, &key, vec![group_item(&bed, row(&key.0), 1)]);
        let throttled = FaultKind::Throttled { retry_after: Some("2".to_owned()) };
        bed.sandbox.state().add_fault(Fault::new(throttled).on(On::Write).times(1));
        let request = json!({"type": "assignments.restore", "tenant_id": tenant,
            "inputs": {"snapshot_id": id, "policy_ids": [key.1]}});
        let accepted = client.post("/runs", request).await;
        let writes = || bed.sandbox.state().writes_of(SINGLE_TENANT);
        while writes().is_empty() {
            tick().await;
        }
        set(&bed, &key, vec![group_item(&bed, row(&key.0), 2)]);
        let run = client.completed(run_id(&accepted)).await;
        let items = items(&client, &run).await;
        assert_eq!(code(&items[&key]), "assignments.drifted_since_plan", "{}", items[&key]);
        assert_eq!(sets(&bed)[&key], direct(&key, &[group_item(&bed, row(&key.0), 2)]));
        assert_eq!(writes().iter().filter(|write| write.applied).count(), 0, "{:?}", writes());
    });
});

for_each_engine!(what_is_restored_by_name_alone_can_be_undone, |engine| {
    let bed = Bed::with(engine, exactly(&[("roleScopeTag", 1)]), QUICK);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let key = policy(&bed, "roleScopeTag", vec![group_item(&bed, row("roleScopeTag"), 0)]);
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        set(&bed, &key, vec![group_item(&bed, row(&key.0), 1)]);
        let edited = sets(&bed);
        let (run, items) = restore(&client, tenant, json!({"snapshot_id": id, "policy_ids": [key.1]})).await;
        assert_eq!(items[&key]["state"], "verified", "{}", items[&key]);
        assert_ne!(sets(&bed), edited);
        let undone = client.post(&format!("/runs/{}/undo", run["id"]), json!({})).await;
        let undone = client.completed(run_id(&undone)).await;
        assert_eq!(undone["outcome"], "succeeded", "{undone}");
        assert_eq!(sets(&bed), edited);
    });
});
