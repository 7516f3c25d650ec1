//! Many processes ask for the same thing again and again: one winner, and everybody else is told of its run.

use std::time::{Duration, Instant};

use atlasd::domain::counts::Counts;
use atlasd::domain::run::{Completion, Lease, Outcome, Run, Settlement};
use atlasd::ids::{InstanceId, RunId};
use atlasd::sandbox::SandboxConfig;
use atlasd::store::{Claim, Settled};
use serde::{Deserialize, Serialize};

use crate::PATIENT;
use crate::bed::{Bed, block_on, until};
use crate::door::{Door, Open, Verdict, arranged, registered};
use crate::field::{Task, race};
use crate::many::sized;
use crate::process::Process;
use crate::support::{Database, Engine, for_each_engine};
use crate::times::Times;

const RACERS: usize = 64;

/// Asks for run 0 so many times, one after the other.
#[derive(Serialize, Deserialize)]
pub struct Repeat {
    door: Door,
    requests: usize,
    /// The instance as which this racer executes the winner's run when it has asked half of its requests.
    executes_as: Option<InstanceId>,
}

/// What a racer was told, equal verdicts in a row as one; and how long each answer took.
#[derive(Serialize, Deserialize)]
pub struct Told {
    verdicts: Vec<(Verdict, usize)>,
    micros: Vec<u64>,
}

impl Repeat {
    pub async fn run(self, ready: &mut impl FnMut()) -> Told {
        let door = self.door.open().await;
        ready();
        let mut told = Told { verdicts: Vec::new(), micros: Vec::new() };
        for number in 0..self.requests {
            let begun = Instant::now();
            let verdict = door.ask(&[0]).await.remove(0);
            told.micros.push(u64::try_from(begun.elapsed().as_micros()).expect("a short time"));
            match told.verdicts.last_mut() {
                Some((last, times)) if *last == verdict => *times += 1,
                _ => told.verdicts.push((verdict, 1)),
            }
            if let (true, Some(instance)) = (number == self.requests / 2, self.executes_as) {
                execute(&door, instance).await;
            }
        }
        let all = told.verdicts.iter().flat_map(|(verdict, times)| std::iter::repeat_n(verdict, *times));
        door.count(all).await;
        told
    }
}

async fn execute(door: &Open, instance: InstanceId) {
    let Open::Store { store, tenant, .. } = door else { panic!("daemons execute by themselves") };
    let Ok(Claim::Claimed { run, .. }) = store.claim_next(*tenant, instance).await else {
        panic!("it is due")
    };
    assert!(matches!(store.settle(lease_of(&run), done()).await, Ok(Settled::Done(_))));
}

/// The lease that a claim gave.
pub fn lease_of(run: &Run) -> Lease {
    Lease { run_id: run.id, token: run.lease_token }
}

/// A success, with a cooldown.
pub fn done() -> Settlement {
    Settlement::Complete(Completion {
        outcome: Outcome::Succeeded,
        counts: Counts::default(),
        failures: Vec::new(),
        context: serde_json::Map::new(),
        cooldown: Duration::from_secs(900),
    })
}

/// One accepted; each racer then hears of that run alone, of its activity first and of its cooldown last.
fn judge(reports: &[Told]) -> i64 {
    let all = || reports.iter().flat_map(|told| &told.verdicts);
    let accepted: Vec<_> = all().filter(|(verdict, _)| verdict.word == "accepted").collect();
    assert!(matches!(accepted[..], [(_, 1)]), "expected one winner, got {accepted:?}");
    let run = accepted[0].0.run;
    assert!(all().all(|(verdict, _)| verdict.run == run), "a verdict names another run than {run}");
    for told in reports {
        let words: Vec<_> = told.verdicts.iter().map(|(verdict, _)| verdict.word.as_str()).collect();
        let words = words.strip_prefix(&["accepted"]).unwrap_or(&words);
        assert!(matches!(words, [] | ["active"] | ["cooldown"] | ["active", "cooldown"]), "{words:?}");
    }
    for word in ["active", "cooldown"] {
        assert!(all().any(|(verdict, _)| verdict.word == word), "nobody was told {word}: no race");
    }
    run
}

fn print(what: &str, engine: Engine, reports: Vec<Told>) {
    let times = Times::of(reports.into_iter().flat_map(|told| told.micros));
    println!("{what}, {engine:?}: {RACERS} processes, {times}");
}

for_each_engine!(processes_at_one_ledger_have_one_winner, |engine| {
    let requests = sized(50, 1000);
    let database = Database::migrated(engine);
    let url = database.url_text();
    block_on(async {
        let (store, workspace, tenant) = arranged(&url).await;
        let instance = registered(&store).await;
        let door = Door::Store { url: url.clone(), workspace: workspace.0, tenant: tenant.0 };
        let task = |index| {
            let executes_as = (index == 0).then_some(instance);
            Task::Repeat(Repeat { door: door.clone(), requests, executes_as })
        };
        let reports: Vec<Told> = race((0..RACERS).map(task).collect()).await;
        let run = judge(&reports);
        let kept = store.run(RunId(run)).await.expect("an answer").expect("it is there");
        assert_eq!(usize::try_from(kept.duplicate_count), Ok(RACERS * requests - 1));
        print("requests at the ledger", engine, reports);
        store.close().await;
    });
    assert_eq!(database.number("SELECT count(*) AS n FROM operation_runs"), 1);
});

for_each_engine!(processes_at_daemons_have_one_winner, |engine| {
    let requests = sized(25, 1000);
    let mut config = SandboxConfig::single(60);
    config.latency = Duration::from_millis(150);
    let bed = Bed::with(engine, config, PATIENT);
    block_on(async {
        let count = if engine == Engine::Sqlite { 1 } else { 4 };
        let mut daemons = Vec::new();
        for _ in 0..count {
            daemons.push(Process::start(&bed).await);
        }
        let client = daemons[0].client(&bed);
        let (_, tenant) = client.single().await;
        let task = |index: usize| {
            let base = format!("http://{}", daemons[index % count].address);
            let door = Door::Http { base, token: bed.token.clone(), tenant };
            Task::Repeat(Repeat { door, requests, executes_as: None })
        };
        let reports: Vec<Told> = race((0..RACERS).map(task).collect()).await;
        let run = judge(&reports);
        let refused = i64::try_from(RACERS * requests - 1).expect("a small number");
        until("the run counts every refusal", || async {
            client.get(&format!("/runs/{run}")).await.body["duplicate_count"] == refused
        })
        .await;
        assert_eq!(client.all("/runs?type=assignments.fetch").await.len(), 1);
        print(&format!("requests over HTTP to {count} daemons"), engine, reports);
    });
    bed.cli(&["doctor"]);
});
