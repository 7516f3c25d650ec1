//! Many identities, each asked for at every instance, by each in an order of its own: one run per identity.

use std::collections::BTreeSet;

use atlasd::sandbox::SandboxConfig;
use serde::{Deserialize, Serialize};

use crate::PATIENT;
use crate::bed::{Bed, block_on, until};
use crate::door::{Door, Verdict, arranged};
use crate::field::{Task, race};
use crate::many::sized;
use crate::process::Process;
use crate::support::{Database, Engine, for_each_engine};

const INSTANCES: usize = 8;
/// None divides a number of identities, so each steps through all of them in an order of its own.
const STEPS: [usize; INSTANCES] = [1, 3, 7, 11, 13, 17, 19, 23];

/// Asks for each of so many identities once, a batch in a call.
#[derive(Serialize, Deserialize)]
pub struct AskAll {
    door: Door,
    identities: usize,
    batch: usize,
    step: usize,
    backwards: bool,
}

/// The verdicts, by identity.
#[derive(Serialize, Deserialize)]
pub struct Verdicts(Vec<Verdict>);

impl AskAll {
    pub async fn run(self, ready: &mut impl FnMut()) -> Verdicts {
        let door = self.door.open().await;
        let mut order: Vec<u64> =
            (0..self.identities).map(|index| (index * self.step % self.identities) as u64).collect();
        if self.backwards {
            order.reverse();
        }
        ready();
        let mut told = Vec::new();
        for numbers in order.chunks(self.batch) {
            let verdicts = door.ask(numbers).await;
            door.count(&verdicts).await;
            told.extend(numbers.iter().copied().zip(verdicts));
        }
        told.sort_by_key(|(number, _)| *number);
        Verdicts(told.into_iter().map(|(_, verdict)| verdict).collect())
    }
}

fn tasks(doors: impl IntoIterator<Item = Door>, identities: usize) -> Vec<Task> {
    let task = |(index, door): (usize, Door)| {
        let backwards = index % 2 == 1;
        Task::AskAll(AskAll { door, identities, batch: 100, step: STEPS[index], backwards })
    };
    doors.into_iter().enumerate().map(task).collect()
}

/// Each identity was accepted once, and all who asked were told of that run.
fn judge(reports: &[Verdicts], identities: usize) {
    assert_eq!(reports.len(), INSTANCES);
    let mut runs = BTreeSet::new();
    for number in 0..identities {
        let verdicts: Vec<&Verdict> = reports.iter().map(|Verdicts(told)| &told[number]).collect();
        let accepted = verdicts.iter().filter(|verdict| verdict.word == "accepted").count();
        assert_eq!(accepted, 1, "identity {number}: {verdicts:?}");
        assert!(verdicts.iter().all(|verdict| verdict.run == verdicts[0].run), "{number}: {verdicts:?}");
        runs.insert(verdicts[0].run);
    }
    assert_eq!(runs.len(), identities, "each identity has a run of its own");
    let winners =
        |Verdicts(told): &Verdicts| told.iter().filter(|verdict| verdict.word == "accepted").count();
    println!("accepted by each of {INSTANCES}: {:?}", reports.iter().map(winners).collect::<Vec<_>>());
}

/// Runs that do not count all but one of the instances as refused.
const MISCOUNTED: &str = "SELECT count(*) AS n FROM operation_runs WHERE duplicate_count <> 7";

for_each_engine!(each_identity_has_one_run_at_one_ledger, |engine| {
    let identities = sized(1000, 10_000);
    let database = Database::migrated(engine);
    let url = database.url_text();
    block_on(async {
        let (store, workspace, tenant) = arranged(&url).await;
        let door = Door::Store { url: url.clone(), workspace: workspace.0, tenant: tenant.0 };
        let reports = race(tasks(std::iter::repeat_n(door, INSTANCES), identities)).await;
        judge(&reports, identities);
        store.close().await;
    });
    let runs = database.number("SELECT count(*) AS n FROM operation_runs");
    assert_eq!(usize::try_from(runs), Ok(identities));
    assert_eq!(database.number(MISCOUNTED), 0, "each run counts those who were refused");
});

/// Daemons that execute while they are asked.
#[test]
fn each_identity_has_one_run_at_eight_daemons() {
    let identities = sized(1000, 10_000);
    let bed = Bed::with(Engine::Postgres, SandboxConfig::single(0), PATIENT);
    block_on(async {
        let mut daemons = Vec::new();
        for _ in 0..INSTANCES {
            daemons.push(Process::start(&bed).await);
        }
        let (_, tenant) = daemons[0].client(&bed).single().await;
        let door = |daemon: &Process| {
            let base = format!("http://{}", daemon.address);
            Door::Http { base, token: bed.token.clone(), tenant }
        };
        let reports = race(tasks(daemons.iter().map(door), identities)).await;
        judge(&reports, identities);
        let fetches = "SELECT count(*) AS n FROM operation_runs WHERE tenant_id IS NOT NULL";
        assert_eq!(usize::try_from(bed.database.number(fetches)), Ok(identities));
        let miscounted = format!("{MISCOUNTED} AND tenant_id IS NOT NULL");
        until("each run counts those who were refused", || async { bed.database.number(&miscounted) == 0 })
            .await;
        let twice = "SELECT count(*) AS n FROM operation_runs WHERE lease_token > 1";
        assert_eq!(bed.database.number(twice), 0, "nothing was claimed twice");
    });
    bed.cli(&["doctor"]);
}
