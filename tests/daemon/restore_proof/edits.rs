//! Edits in the portal while a restore is under way, for every type that is written as a whole.

use atlasd::sandbox::{Edit, ScheduledEdit, When};

use super::*;
use crate::bed::block_on;
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
