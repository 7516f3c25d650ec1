//! A verdict in memory, beside its floor: the same hash map asked for the same key.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use atlasd::clock::Instant;
use atlasd::domain::admission::Verdict;
use atlasd::domain::identities::{Answer, Identities};
use atlasd::domain::run::Run;
use atlasd::ids::{RunId, TenantId, WorkspaceId};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

const HELD: u64 = 100_000;

fn run(number: u64) -> Run {
    let at = Instant::from_micros(0).expect("1970 is in the calendar");
    let id = RunId(i64::try_from(number).expect("few"));
    support::request(WorkspaceId(1), TenantId(1), number).into_run(id, at)
}

fn verdict(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verdict");
    let runs: Vec<Run> = (0..HELD).map(run).collect();
    let map: HashMap<_, _> = runs.iter().map(|run| (run.identity, Arc::new(run.clone()))).collect();
    let identities = Identities::<()>::warm(runs);
    let keys: Vec<_> = (0..HELD).map(support::identity).collect();
    let now = Instant::from_micros(1).expect("1970 is in the calendar");
    let mut next = keys.iter().cycle();
    group.bench_function("refused_duplicate", |bencher| {
        bencher.iter(|| match identities.ask(black_box(next.next().expect("a cycle")), false, now) {
            Answer::Refuse(Verdict::Active(run)) => run.id,
            other => panic!("expected a refusal, got {other:?}"),
        });
    });
    let mut next = keys.iter().cycle();
    group.bench_function("floor_hash_map", |bencher| {
        bencher.iter(|| {
            map.get(black_box(next.next().expect("a cycle"))).expect("every key is held").clone().id
        });
    });
    group.finish();
}

criterion_group!(benches, verdict);
criterion_main!(benches);
