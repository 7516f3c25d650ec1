//! Any tenant, any snapshot, any faults: afterwards a policy has what it is to have, or its item says why not.

use std::collections::BTreeSet;

use atlasd::sandbox::{Fault, FaultKind, On, ReadDelay};

use super::chance::{Chance, Directory};
use super::*;
use crate::bed::block_on;
use crate::support::for_each_engine;

/// Policies of each type.
const EACH: usize = 4;

for_each_engine!(whatever_goes_wrong_a_policy_is_as_wanted_or_its_item_says_why_not, |engine| {
    let mut chance = Chance::new(3);
    let mut verified = BTreeSet::new();
    for round in 0..3 {
        println!("round {round}");
        // Each its own tenant: what a read still hides of one round's writes must not look like the next one's.
        let bed = Bed::with(engine, world(Policies::PerType(EACH)), QUICK);
        let daemon = bed.daemon();
        let client = bed.client(daemon.address());
        block_on(async {
            let (_, tenant) = client.single().await;
            let directory = directory(&bed);
            one_round(&bed, &client, tenant, &mut chance, &directory, &mut verified).await;
        });
    }
    let types: BTreeSet<&str> = writable().map(|row| row.key).collect();
    assert_eq!(verified.iter().map(String::as_str).collect::<BTreeSet<_>>(), types, "each was written");
});

fn directory(bed: &Bed) -> Directory {
    let state = bed.sandbox.state();
    let filter = |kind| {
        let filter = state.add_filter(SINGLE_TENANT, "Proof", "unknownFutureValue", kind);
        filter.expect("the tenant is there")
    };
    let mut groups = state.group_ids(SINGLE_TENANT);
    Directory {
        inherited: groups.split_off(40),
        groups,
        device_filters: vec![filter("devices"), filter("devices")],
        app_filters: vec![filter("apps"), filter("apps")],
    }
}

async fn one_round(
    bed: &Bed,
    client: &Client,
    tenant: i64,
    chance: &mut Chance,
    directory: &Directory,
    verified: &mut BTreeSet<String>,
) {
    let state = bed.sandbox.state();
    let keys: Vec<Key> = truth(bed).into_keys().filter(|key| row(&key.0).write != Write::Nothing).collect();
    for key in &keys {
        set(bed, key, chance.set(row(&key.0), directory));
    }
    let id = snapshot(client, tenant).await;
    let wanted = sets(bed);
    for key in &keys {
        if !chance.once_in(4) {
            set(bed, key, chance.set(row(&key.0), directory));
        }
    }
    let before = sets(bed);
    let ill = trouble(bed, chance, &keys);

    let inputs = json!({"snapshot_id": id, "policy_ids": ids(&keys), "allow_widening": true});
    let (run, items) = restore(client, tenant, inputs).await;
    let after = sets(bed);
    let mut failed = 0;
    for key in &keys {
        let item = items.get(key).unwrap_or_else(|| panic!("{key:?} has no item: {run}"));
        let (is_right, untouched) = (after[key] == wanted[key], after[key] == before[key]);
        match item["state"].as_str().expect("a state") {
            "verified" => {
                assert!(is_right, "verified and wrong: {item}\n{:#?}\n{:#?}", after[key], ill.get(key));
                verified.insert(key.0.clone());
            }
            "skipped" => assert!(is_right && untouched, "skipped and wrong: {item}\n{:#?}", after[key]),
            "failed" => {
                failed += 1;
                match code(item) {
                    "assignments.target_unsupported" | "assignments.group_deleted" => {
                        assert!(untouched, "refused and written: {item}");
                    }
                    code => {
                        let of = ill.get(key).unwrap_or_else(|| panic!("nothing was wrong with it: {item}"));
                        assert!(of.codes().contains(&code), "{of:?} is not {code}: {item}");
                    }
                }
            }
            other => panic!("a third state, {other}: {item}"),
        }
    }
    assert_eq!(run["outcome"], if failed == 0 { "succeeded" } else { "failed" }, "{run}");
    assert_eq!(run["summary_counts"]["failed"], failed, "{run}");
    let stats = state.stats();
    assert!(stats.refusals_per_rule.is_empty(), "found in the plan: {:?}", stats.refusals_per_rule);
    assert!(stats.faults_fired > 20, "{stats:?}");
    println!("{failed} of {} failed, {} ill, {} faults fired", keys.len(), ill.len(), stats.faults_fired);
}

/// What a policy has to suffer.
#[derive(Debug)]
struct Illness {
    kind: FaultKind,
    /// It stays; one that passes must not be seen in the end.
    lasting: bool,
}

impl Illness {
    /// The codes with which its policy may end.
    fn codes(&self) -> &[&str] {
        match &self.kind {
            // A page that somebody put in between looks like success where no body is expected.
            FaultKind::HtmlBody => &["assignments.verify_mismatch", "graph.protocol"],
            _ if !self.lasting => &[],
            FaultKind::Forbidden => &["graph.permission_missing", "graph.forbidden"],
            FaultKind::ApprovalRequired => &["graph.approval_required"],
            FaultKind::Conflict => &["graph.conflict"],
            FaultKind::Throttled { .. } => &["graph.throttled"],
            FaultKind::Status { status: 400, .. } => &["graph.bad_request"],
            FaultKind::Status { status: 401, .. } => &["graph.auth_failed"],
            FaultKind::Status { .. } => &["graph.unavailable"],
            FaultKind::CloseBefore => &["graph.network"],
            // Gone: the policy for a write or a read, and nothing at all for a deletion.
            FaultKind::NotFound => {
                &["graph.not_found", "assignments.policy_missing", "assignments.verify_mismatch"]
            }
            _ => &[],
        }
    }
}

/// Faults for the tenant and for some policies.
fn trouble(bed: &Bed, chance: &mut Chance, keys: &[Key]) -> BTreeMap<Key, Illness> {
    let state = bed.sandbox.state();
    let delay = ReadDelay { reads: chance.below(4) as u32, millis: chance.below(400) as u64 };
    state.set_read_delay(delay);
    println!("{delay:?}");
    let of_batch = Fault::new(FaultKind::LostItem).on(On::BatchItem).every(31).times(10);
    state.add_fault(of_batch);
    // Once: a token that is refused right after it was renewed is no passing trouble.
    let skip = chance.below(keys.len() / 2) as u32;
    state.add_fault(Fault::new(FaultKind::ExpireTokens).on(On::Write).skip(skip).times(1));
    let unavailable = || FaultKind::Status { status: 503, retry_after: None };
    for on in [On::Directory, On::Filters, On::Batch, On::Token] {
        let kind = match chance.below(4) {
            0 => FaultKind::Throttled { retry_after: Some("1".to_owned()) },
            1 => FaultKind::CloseBefore,
            2 if on == On::Batch => FaultKind::BatchOuter424,
            _ => unavailable(),
        };
        let (times, skip) = (1 + chance.below(2) as u32, chance.below(3) as u32);
        state.add_fault(Fault::new(kind).on(on).times(times).skip(skip));
    }
    let mut ill = BTreeMap::new();
    for key in keys {
        if !chance.once_in(3) {
            continue;
        }
        let (illness, fault) = illness(chance);
        state.add_fault(fault.policy_type(&key.0).policy_id(&key.1));
        ill.insert(key.clone(), illness);
    }
    ill
}

fn illness(chance: &mut Chance) -> (Illness, Fault) {
    let retry_after =
        |chance: &mut Chance| (*chance.one_of(&[None, Some("1"), Some("0.3")])).map(str::to_owned);
    let status = *chance.one_of(&[500, 502, 503, 504]);
    if chance.once_in(6) {
        let kind = match chance.below(9) {
            0 => FaultKind::Forbidden,
            1 => FaultKind::ApprovalRequired,
            2 => FaultKind::Throttled { retry_after: None },
            3 => FaultKind::Status { status, retry_after: None },
            4 => FaultKind::Conflict,
            5 => FaultKind::NotFound,
            6 => FaultKind::Status { status: 400, retry_after: None },
            7 => FaultKind::Status { status: 401, retry_after: None },
            _ => FaultKind::CloseBefore,
        };
        return (Illness { kind: kind.clone(), lasting: true }, Fault::new(kind).on(On::Write));
    }
    if chance.once_in(12) {
        // None that breaks a whole batch: its neighbours could not be read either.
        let kind = match chance.below(4) {
            0 => FaultKind::Forbidden,
            1 => FaultKind::Status { status, retry_after: None },
            2 => FaultKind::Throttled { retry_after: None },
            _ => FaultKind::NotFound,
        };
        let fault = Fault::new(kind.clone()).on(On::Nav).skip(chance.below(4) as u32);
        return (Illness { kind, lasting: true }, fault);
    }
    let kind = match chance.below(11) {
        0 | 1 => FaultKind::Throttled { retry_after: retry_after(chance) },
        2 => FaultKind::Status { status, retry_after: retry_after(chance) },
        3 => FaultKind::StatusAfter { status, retry_after: retry_after(chance) },
        4 => FaultKind::CloseBefore,
        5 => FaultKind::CloseAfter,
        6 => FaultKind::HtmlAfter,
        7 => FaultKind::TimeoutBefore { millis: 200 },
        8 => FaultKind::TimeoutAfter { millis: 200 },
        9 => FaultKind::HtmlBody,
        _ => FaultKind::CutJson,
    };
    let on = *chance.one_of(&[On::Write, On::Write, On::Write, On::Nav]);
    // The plan's read, the last look before the write, or the reading back.
    let skip = if on == On::Nav { chance.below(3) as u32 } else { 0 };
    let fault = Fault::new(kind.clone()).on(on).times(1).skip(skip);
    (Illness { kind, lasting: false }, fault)
}
