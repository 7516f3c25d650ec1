//! `kill -9` at every step of a restore's journal: the next attempt finds out what became of each policy by reading it,
//! so that nothing is applied twice, nothing is lost, and what somebody else did meanwhile stays.
//!
//! The double holds the call at which the daemon dies, and decides what becomes of it.

use std::collections::BTreeMap;

use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::sandbox::{Gate, Policies, SandboxConfig, Step, TenantSpec, WriteRecord};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, PATIENCE, block_on, run_id, until};
use crate::process::Process;
use crate::restore::{hashes, items, snapshot};
use crate::support::{Engine, for_each_engine};

/// Written whole, by `/assign`.
const WHOLE: &str = "compliancePolicy";
/// Written by one call for each assignment.
const ONE_BY_ONE: &str = "termsAndConditions";
/// Policies that differ from the snapshot; one more is right already.
const WRONG: usize = 3;

/// A tenant with policies of one type, and what each is to have.
struct Scene {
    bed: Bed,
    policy_type: &'static str,
    /// The last one is right already; the first one is where the daemon dies.
    ids: Vec<String>,
    groups: Vec<String>,
}

type Hashes = BTreeMap<(String, String), String>;

impl Scene {
    fn new(engine: Engine, policy_type: &'static str, extra: &str) -> Self {
        let mut config = SandboxConfig::single(0);
        let policies = Policies::Exactly([(policy_type.to_owned(), WRONG + 1)].into());
        config.tenants = vec![TenantSpec::new(SINGLE_TENANT, "Contoso Test", policies)];
        let mut extra = extra.to_owned();
        if !extra.contains("[restore]") {
            extra.push_str("\n[restore]\n");
        }
        let quick = "[restore]\nverify_timeout = \"1s\"\nverify_wait = \"100ms\"\n";
        let bed = Bed::with(engine, config, &extra.replace("[restore]\n", quick));
        let state = bed.sandbox.state();
        let ids = state.expected(SINGLE_TENANT).into_keys().map(|(_, id)| id).collect();
        let groups = state.group_ids(SINGLE_TENANT);
        Self { bed, policy_type, ids, groups }
    }

    /// Gives a policy the groups, as an administrator would.
    fn edit(&self, id: &str, groups: &[usize]) {
        let item = |group: &usize| {
            json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget",
                              "groupId": self.groups[*group]}})
        };
        let items = groups.iter().map(item).collect();
        let edited = self.bed.sandbox.state().set_assignments(SINGLE_TENANT, self.policy_type, id, items);
        edited.expect("the policy is there");
    }

    /// What all policies are to have: two groups each.
    fn wanted(&self) -> Hashes {
        for (at, id) in self.ids.iter().enumerate() {
            self.edit(id, &[2 * at, 2 * at + 1]);
        }
        self.now()
    }

    /// What a restore finds: another group, but for the policy that is right.
    fn disturb(&self) -> Hashes {
        for (at, id) in self.ids.iter().take(WRONG).enumerate() {
            self.edit(id, &[20 + at]);
        }
        self.bed.sandbox.state().reset_stats();
        self.now()
    }

    fn now(&self) -> Hashes {
        hashes(&self.bed.sandbox.state().expected(SINGLE_TENANT))
    }

    fn subject(&self) -> &str {
        &self.ids[0]
    }

    fn gate(&self, step: Step, nth: u32) -> u64 {
        let gate = Gate::at(step).tenant(SINGLE_TENANT).policy(self.policy_type, self.subject()).nth(nth);
        self.bed.sandbox.state().place_gate(gate)
    }

    async fn reached(&self, gate: u64) {
        self.bed.sandbox.state().gate_reached(gate, PATIENCE).await.expect("the call comes to the gate");
    }

    /// Calls that take a wrong policy to what it is to have.
    fn calls(&self) -> usize {
        if self.policy_type == WHOLE { 1 } else { 3 }
    }

    fn writes(&self) -> Vec<WriteRecord> {
        self.bed.sandbox.state().writes_of(SINGLE_TENANT)
    }

    /// Where the journal is with a policy; `None` before it is planned.
    fn journal(&self, run: i64, id: &str) -> Option<String> {
        let text = format!(
            "SELECT state AS word FROM restore_items WHERE operation_run_id = {run} AND policy_id = '{id}'"
        );
        self.bed.database.words(&text).pop()
    }

    async fn start(&self, client: &Client, tenant: i64, snapshot: i64) -> i64 {
        let request = json!({"type": "assignments.restore", "tenant_id": tenant, "force": true,
                             "inputs": {"snapshot_id": snapshot}});
        let answer = client.post("/runs", request).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        run_id(&answer)
    }

    /// Nothing was applied twice, and nothing was sent to the policy that was right.
    fn check_writes(&self, what: &str) {
        let writes = self.writes();
        let applied: Vec<_> = writes.iter().filter(|write| write.applied).collect();
        for id in &self.ids {
            let of_policy: Vec<_> = applied.iter().filter(|write| write.policy_id == *id).collect();
            let mut contents: Vec<_> = of_policy.iter().map(|write| &write.content_sha256).collect();
            contents.sort();
            contents.dedup();
            assert_eq!(contents.len(), of_policy.len(), "{what}: applied twice: {of_policy:#?}");
        }
        let right = &self.ids[WRONG];
        assert!(writes.iter().all(|write| write.policy_id != *right), "{what}: {writes:#?}");
    }

    /// Every policy was taken where it is to be, by as few calls as it takes.
    async fn check(&self, what: &str, client: &Client, run: &Value, wanted: &Hashes) {
        assert_eq!(run["outcome"], "succeeded", "{what}: {run}");
        assert_eq!(run["summary_counts"]["updated"], WRONG, "{what}: {run}");
        assert_eq!(run["summary_counts"]["skipped"], 1, "{what}: {run}");
        assert_eq!(self.now(), *wanted, "{what}");
        self.check_writes(what);
        let applied = self.writes().iter().filter(|write| write.applied).count();
        assert_eq!(applied, WRONG * self.calls(), "{what}: {:#?}", self.writes());
        for ((_, id), item) in items(client, run).await {
            let state = if id == self.ids[WRONG] { "skipped" } else { "verified" };
            assert_eq!(item["state"], state, "{what}: {item}");
        }
    }
}

/// What becomes of the call that was held when the daemon died.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is lost: a write that was only received is never applied.
    Lost,
    /// It is carried out while no daemon is there.
    Late,
    /// It is carried out after the next attempt has looked at the policy.
    LaterThanTheNextLook,
}

/// Where the daemon dies, and where its journal is then.
#[derive(Clone, Copy, Debug)]
struct Moment {
    step: Step,
    nth: u32,
    journal: Option<&'static str>,
    fate: Fate,
}

impl Moment {
    const fn new(step: Step, nth: u32, journal: Option<&'static str>, fate: Fate) -> Self {
        Self { step, nth, journal, fate }
    }
}

const PLANS_READ: Moment = Moment::new(Step::Read, 1, None, Fate::Lost);
const LOOK_BEFORE_WRITE: Moment = Moment::new(Step::Read, 2, Some("planned"), Fate::Lost);
const READ_BACK: Moment = Moment::new(Step::Read, 3, Some("sent"), Fate::Lost);

fn received(nth: u32, fate: Fate) -> Moment {
    Moment::new(Step::WriteReceived, nth, Some("sent"), fate)
}

fn applied(nth: u32) -> Moment {
    Moment::new(Step::WriteApplied, nth, Some("sent"), Fate::Lost)
}

async fn outcomes(client: &Client, run: &Value) -> Vec<String> {
    let attempts = client.get(&format!("/runs/{}/attempts", run["id"])).await.body;
    let attempts = attempts["items"].as_array().unwrap_or_else(|| panic!("attempts have items: {attempts}"));
    attempts.iter().map(|attempt| attempt["outcome"].as_str().expect("an outcome").to_owned()).collect()
}

/// A restore whose daemon dies at `moment`; what there is to see then is the caller's.
async fn died(scene: &Scene, process: Process, tenant: i64, snapshot: i64, moment: Moment) -> (i64, u64) {
    let gate = scene.gate(moment.step, moment.nth);
    let run = scene.start(&process.client(&scene.bed), tenant, snapshot).await;
    scene.reached(gate).await;
    assert_eq!(scene.journal(run, scene.subject()).as_deref(), moment.journal, "{moment:?}");
    process.kill();
    (run, gate)
}

/// `kill -9` at each of the moments, each time with a restore of its own.
fn dies_at_each(engine: Engine, policy_type: &'static str, moments: &[Moment]) {
    let scene = Scene::new(engine, policy_type, "");
    let state = scene.bed.sandbox.state();
    block_on(async {
        let mut process = Process::start(&scene.bed).await;
        let client = process.client(&scene.bed);
        let (_, tenant) = client.single().await;
        let wanted = scene.wanted();
        let snapshot = snapshot(&client, tenant).await;
        for moment in moments {
            let what = format!("{moment:?}");
            scene.disturb();
            let (run, gate) = died(&scene, process, tenant, snapshot, *moment).await;
            let mut look = None;
            match moment.fate {
                Fate::Lost => state.discard_gate(gate).expect("it is there"),
                Fate::Late => state.release_gate(gate).expect("it is there"),
                // Its plan's look, then the look that decides.
                Fate::LaterThanTheNextLook => look = Some(scene.gate(Step::Read, 2)),
            }
            process = Process::start(&scene.bed).await;
            let client = process.client(&scene.bed);
            if let Some(look) = look {
                scene.reached(look).await;
                state.release_gate(gate).expect("it is there");
                until("the write is applied", || async {
                    scene.writes().iter().any(|write| write.policy_id == scene.subject() && write.applied)
                })
                .await;
                state.release_gate(look).expect("it is there");
            }
            let run = client.completed(run).await;
            scene.check(&what, &client, &run, &wanted).await;
            assert_eq!(run["attempt"], 2, "{what}: {run}");
            assert_eq!(outcomes(&client, &run).await, ["lease_expired", "succeeded"], "{what}: {run}");
        }
    });
    scene.bed.cli(&["doctor"]);
}

for_each_engine!(a_set_that_is_written_whole_survives_a_kill_before_the_write, |engine| {
    dies_at_each(
        engine,
        WHOLE,
        &[
            PLANS_READ,
            LOOK_BEFORE_WRITE,
            received(1, Fate::Lost),
            received(1, Fate::Late),
            received(1, Fate::LaterThanTheNextLook),
        ],
    );
});

for_each_engine!(a_set_that_is_written_whole_survives_a_kill_after_the_write, |engine| {
    dies_at_each(engine, WHOLE, &[applied(1), READ_BACK]);
});

for_each_engine!(a_set_that_is_written_one_by_one_survives_a_kill_before_each_call, |engine| {
    let moments: Vec<_> =
        (1..=3).flat_map(|nth| [received(nth, Fate::Lost), received(nth, Fate::Late)]).collect();
    dies_at_each(engine, ONE_BY_ONE, &moments);
});

for_each_engine!(a_set_that_is_written_one_by_one_survives_a_kill_elsewhere, |engine| {
    let moments = [PLANS_READ, LOOK_BEFORE_WRITE, applied(1), applied(2), applied(3), READ_BACK];
    dies_at_each(engine, ONE_BY_ONE, &moments);
});

/// Holds back the end of an adapter run in the ledger for seconds.
fn hold_the_end_back(bed: &Bed) {
    let text = match bed.database.engine {
        Engine::Sqlite => {
            "CREATE VIEW counting AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000000000) \
             SELECT max(n) AS n FROM c; \
             CREATE TRIGGER held BEFORE UPDATE ON restore_runs WHEN NEW.state = 'finished' \
             BEGIN SELECT n FROM counting; END"
        }
        Engine::Postgres => {
            "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_sleep(3); RETURN NEW; END'; \
             CREATE TRIGGER held BEFORE UPDATE ON restore_runs FOR EACH ROW \
             WHEN (NEW.state = 'finished') EXECUTE FUNCTION held()"
        }
    };
    bed.database.execute(text).expect("the ledger takes a trigger");
}

fn let_the_end_go(bed: &Bed) {
    let text = match bed.database.engine {
        Engine::Sqlite => "DROP TRIGGER held; DROP VIEW counting",
        Engine::Postgres => "DROP TRIGGER held ON restore_runs; DROP FUNCTION held",
    };
    bed.database.execute(text).expect("the trigger was there");
}

for_each_engine!(a_kill_between_the_last_policy_and_the_end_of_the_run_writes_nothing_more, |engine| {
    let scene = Scene::new(engine, WHOLE, "");
    block_on(async {
        let process = Process::start(&scene.bed).await;
        let client = process.client(&scene.bed);
        let (_, tenant) = client.single().await;
        let wanted = scene.wanted();
        let snapshot = snapshot(&client, tenant).await;
        scene.disturb();
        hold_the_end_back(&scene.bed);
        let run = scene.start(&client, tenant, snapshot).await;
        until("all policies have ended", || async {
            scene.ids.iter().all(|id| {
                scene.journal(run, id).is_some_and(|state| ["verified", "skipped"].contains(&state.as_str()))
            })
        })
        .await;
        process.kill();
        let status = format!("SELECT status AS word FROM operation_runs WHERE id = {run}");
        assert_eq!(scene.bed.database.words(&status), ["running"], "the run has not ended");
        let_the_end_go(&scene.bed);
        let process = Process::start(&scene.bed).await;
        let client = process.client(&scene.bed);
        let run = client.completed(run).await;
        scene.check("after the last policy", &client, &run, &wanted).await;
        assert_eq!(outcomes(&client, &run).await, ["lease_expired", "succeeded"], "{run}");
    });
    scene.bed.cli(&["doctor"]);
});

/// Dies, is edited by somebody else, starts again.
fn an_edit_stays(engine: Engine, policy_type: &'static str, moments: &[Moment]) {
    let scene = Scene::new(engine, policy_type, "");
    let state = scene.bed.sandbox.state();
    block_on(async {
        let mut process = Process::start(&scene.bed).await;
        let client = process.client(&scene.bed);
        let (_, tenant) = client.single().await;
        let mut wanted = scene.wanted();
        let snapshot = snapshot(&client, tenant).await;
        for moment in moments {
            scene.disturb();
            let (run, gate) = died(&scene, process, tenant, snapshot, *moment).await;
            state.discard_gate(gate).expect("it is there");
            let before = scene.writes().iter().filter(|write| write.policy_id == scene.subject()).count();
            scene.edit(scene.subject(), &[40]);
            let key = (policy_type.to_owned(), scene.subject().to_owned());
            wanted.insert(key.clone(), scene.now()[&key].clone());
            process = Process::start(&scene.bed).await;
            let client = process.client(&scene.bed);
            let run = client.completed(run).await;
            assert_eq!(run["outcome"], "failed", "{moment:?}: {run}");
            let item = &items(&client, &run).await[&key];
            assert_eq!(item["state"], "failed", "{moment:?}: {item}");
            assert_eq!(item["failure"]["code"], "assignments.drifted_since_plan", "{moment:?}: {item}");
            assert_eq!(scene.now(), wanted, "{moment:?}: the edit stays, the others are restored");
            let after = scene.writes().iter().filter(|write| write.policy_id == scene.subject()).count();
            assert_eq!(after, before, "{moment:?}: nothing was sent after the edit");
            scene.check_writes(&format!("{moment:?}"));
        }
    });
    scene.bed.cli(&["doctor"]);
}

for_each_engine!(what_somebody_changed_while_no_daemon_was_there_stays, |engine| {
    an_edit_stays(engine, WHOLE, &[LOOK_BEFORE_WRITE, received(1, Fate::Lost), applied(1), READ_BACK]);
});

for_each_engine!(what_somebody_changed_between_two_calls_stays, |engine| {
    an_edit_stays(engine, ONE_BY_ONE, &[received(2, Fate::Lost), applied(2)]);
});

for_each_engine!(a_stop_in_the_middle_of_a_write_hands_the_restore_back, |engine| {
    let scene = Scene::new(engine, WHOLE, "[shutdown]\ndrain = \"300ms\"\n");
    block_on(async {
        let mut process = Process::start(&scene.bed).await;
        let client = process.client(&scene.bed);
        let (_, tenant) = client.single().await;
        let wanted = scene.wanted();
        let snapshot = snapshot(&client, tenant).await;
        for applied_late in [false, true] {
            scene.disturb();
            let gate = scene.gate(Step::WriteReceived, 1);
            let run = scene.start(&process.client(&scene.bed), tenant, snapshot).await;
            scene.reached(gate).await;
            process.signal("TERM");
            assert_eq!(process.exit_code(), Some(0));
            let state = scene.bed.sandbox.state();
            let decided = if applied_late { state.release_gate(gate) } else { state.discard_gate(gate) };
            decided.expect("it is there");
            process = Process::start(&scene.bed).await;
            let client = process.client(&scene.bed);
            let run = client.completed(run).await;
            scene.check("after a stop", &client, &run, &wanted).await;
            assert_eq!(run["attempt"], 1, "the hand-back used up no try: {run}");
            assert_eq!(outcomes(&client, &run).await, ["handed_back", "succeeded"], "{run}");
        }
    });
    scene.bed.cli(&["doctor"]);
});

for_each_engine!(a_cancelled_restore_tells_what_it_wrote_and_can_be_undone, |engine| {
    let scene = Scene::new(engine, WHOLE, "[restore]\nparallel = 1\n");
    let state = scene.bed.sandbox.state();
    block_on(async {
        let process = Process::start(&scene.bed).await;
        let client = process.client(&scene.bed);
        let (_, tenant) = client.single().await;
        let wanted = scene.wanted();
        let snapshot = snapshot(&client, tenant).await;
        for applied_late in [false, true] {
            let before = scene.disturb();
            let second = Gate::at(Step::WriteReceived).tenant(SINGLE_TENANT).nth(2);
            let gate = state.place_gate(second);
            let run = scene.start(&client, tenant, snapshot).await;
            scene.reached(gate).await;
            let begun = tokio::time::Instant::now();
            let asked = client.post(&format!("/runs/{run}/cancel"), json!({})).await;
            assert_eq!(asked.status, 202, "{asked:?}");
            let run = client.completed(run).await;
            assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
            assert_eq!(run["failure_summary"][0]["code"], "run.cancelled", "{run}");
            let decided = if applied_late { state.release_gate(gate) } else { state.discard_gate(gate) };
            decided.expect("it is there");
            let written = 1 + usize::from(applied_late);
            until("the held write has its end", || async {
                scene.writes().iter().filter(|write| write.applied).count() == written
            })
            .await;

            let now = scene.now();
            let mut states = BTreeMap::<String, usize>::new();
            for (key, item) in items(&client, &run).await {
                let state = item["state"].as_str().expect("a text");
                *states.entry(state.to_owned()).or_default() += 1;
                match state {
                    "verified" => assert_eq!(now[&key], wanted[&key], "{item}"),
                    "planned" | "skipped" => assert_eq!(now[&key], before[&key], "{item}"),
                    // In doubt, and said to be.
                    _ => assert_eq!(now[&key] == wanted[&key], applied_late, "{item}"),
                }
            }
            let told = [("planned", 1), ("sent", 1), ("skipped", 1), ("verified", 1)];
            assert_eq!(states, told.map(|(state, n)| (state.to_owned(), n)).into(), "{run}");

            let undo = client.post(&format!("/runs/{}/undo", run["id"]), json!({"force": true})).await;
            assert_eq!(undo.status, 202, "{undo:?}");
            let undo = client.completed(run_id(&undo)).await;
            assert_eq!(undo["outcome"], "succeeded", "late: {applied_late}: {undo}");
            assert_eq!(undo["summary_counts"]["updated"], written, "{undo}");
            assert_eq!(scene.now(), before, "all is as it was before the restore");
        }
    });
    scene.bed.cli(&["doctor"]);
});
