//! Several daemons as processes on one PostgreSQL: nothing is executed twice, and what dies or stands still is taken
//! over in time, once, and by nobody while it lives.
//!
//! `ATLASD_TEST_SECONDS` sets how long the load with stops lasts (15 by default), `ATLASD_TEST_TAKEOVERS` how many
//! instances are killed (1).

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Client, block_on, run_id, until};
use crate::many::{bed_of, request, submit, tenants};
use crate::process::Process;
use crate::support::Engine;

fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

async fn attempts(client: &Client, run: i64) -> Vec<Value> {
    let attempts = client.get(&format!("/runs/{run}/attempts")).await.body;
    attempts["items"].as_array().unwrap_or_else(|| panic!("attempts have items: {attempts}")).clone()
}

async fn running(client: &Client, run: i64) -> Value {
    let mut owner = Value::Null;
    until("the run executes", || async {
        client.get(&format!("/runs/{run}")).await.body["status"] == "running"
    })
    .await;
    if let Some(last) = attempts(client, run).await.last() {
        owner = last["instance_id"].clone();
    }
    owner
}

/// With the default lease: 15 s are what the guarantee allows. `ATLASD_TEST_TAKEOVERS` kills so many instances.
#[test]
fn the_runs_of_a_killed_instance_are_worked_on_again_within_15_s() {
    let kills = from_env("ATLASD_TEST_TAKEOVERS", 1);
    let bed = bed_of(
        Engine::Postgres,
        2,
        Duration::from_millis(250),
        "[execution]\nbackoff_base = \"100ms\"\n[operations.\"assignments.fetch\"]\ncooldown = \"0s\"\n",
    );
    block_on(async {
        let mut owner = Process::start(&bed).await;
        let tenants = tenants(&owner.client(&bed), 2).await;
        let mut times = Vec::new();
        for _ in 0..kills {
            let client = owner.client(&bed);
            let run = run_id(&client.fetch(tenants[0], json!({})).await);
            let executes = running(&client, run).await;
            let second = Process::start(&bed).await;
            let client = second.client(&bed);
            assert_eq!(executes, owner.instance(&bed).await, "the second came later");
            owner.kill();
            let killed = tokio::time::Instant::now();
            until("another attempt was begun", || async { attempts(&client, run).await.len() == 2 }).await;
            times.push(killed.elapsed());
            assert_eq!(client.completed(run).await["outcome"], "succeeded");
            let outcomes: Vec<_> =
                attempts(&client, run).await.iter().map(|attempt| attempt["outcome"].clone()).collect();
            assert_eq!(outcomes, [json!("lease_expired"), json!("succeeded")]);
            owner = second;
        }
        times.sort_unstable();
        let (least, most) = (times[0], times[times.len() - 1]);
        println!("{kills} killed, worked on again after {least:.1?} to {most:.1?}");
        assert!(most < Duration::from_secs(15), "{times:?}");
    });
    bed.cli(&["doctor"]);
}

/// Every instance is asked at once for every workspace.
#[test]
fn signals_to_many_instances_at_once_are_passes_that_never_overlap() {
    const ROUNDS: usize = 5;
    let bed = bed_of(Engine::Postgres, 0, Duration::ZERO, "");
    block_on(async {
        let mut processes = Vec::new();
        for _ in 0..4 {
            processes.push(Process::start(&bed).await);
        }
        let client = processes[0].client(&bed);
        for slug in ["contoso", "fabrikam", "tailspin"] {
            client.workspace(slug).await;
        }
        let passes = "/runs?type=ops.reconcile_adapter_runs";
        for round in 1..=ROUNDS {
            for process in &processes {
                process.signal("USR1");
            }
            until("each workspace has a pass of this round, and it has ended", || async {
                let runs = client.all(passes).await;
                let by_signal = |run: &&Value| run["initiator_name"] == "signal:SIGUSR1";
                let mut of = std::collections::BTreeMap::new();
                for run in runs.iter().filter(by_signal) {
                    *of.entry(run["workspace_id"].as_i64()).or_insert(0) += 1;
                }
                of.len() == 3
                    && of.values().all(|count| *count >= round)
                    && runs.iter().all(|run| run["status"] == "completed")
            })
            .await;
        }
        let overlapping = "SELECT count(*) AS n FROM (SELECT started_at, lag(completed_at) OVER \
             (PARTITION BY workspace_id ORDER BY started_at) AS before FROM operation_runs \
             WHERE type = 'ops.reconcile_adapter_runs') x WHERE x.before > x.started_at";
        assert_eq!(bed.database.number(overlapping), 0, "passes of a workspace never overlap");
        let made = client.all(passes).await.len();
        println!("{} signals to each of 4 instances with 3 workspaces: {made} passes", ROUNDS);
    });
    bed.cli(&["doctor"]);
}

#[test]
fn stops_that_are_shorter_than_the_lease_rescue_nothing() {
    let seconds = from_env("ATLASD_TEST_SECONDS", 15);
    let bed = bed_of(
        Engine::Postgres,
        4,
        Duration::from_millis(20),
        "[execution]\nheartbeat = \"500ms\"\nlease = \"6s\"\n",
    );
    block_on(async {
        let processes = [Process::start(&bed).await, Process::start(&bed).await];
        let client = processes[0].client(&bed);
        let tenants = tenants(&client, 4).await;
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds as u64);
        let (mut index, mut runs) = (0, Vec::new());
        while tokio::time::Instant::now() < end {
            for process in &processes {
                let requests = (index..index + 20).map(|index| request(&tenants, index)).collect();
                index += 20;
                runs.extend(submit(&process.client(&bed), requests).await);
                process.signal("STOP");
                tokio::time::sleep(Duration::from_secs(2)).await;
                process.signal("CONT");
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
        for run in &runs {
            client.completed(*run).await;
        }
        let other = "SELECT count(*) AS n FROM run_attempts WHERE outcome NOT IN ('succeeded', 'failed')";
        assert_eq!(bed.database.number(other), 0, "no attempt was taken from anybody");
        assert_eq!(
            bed.database.number(
                "SELECT count(*) AS n FROM run_attempts a JOIN operation_runs r \
                ON r.id = a.run_id WHERE r.tenant_id IS NOT NULL"
            ),
            i64::try_from(runs.len()).unwrap()
        );
    });
    bed.cli(&["doctor"]);
}

#[test]
fn an_instance_that_slept_too_long_changes_nothing() {
    let bed = bed_of(Engine::Postgres, 1, Duration::from_millis(150), "");
    block_on(async {
        let sleeper = Process::start(&bed).await;
        let client = sleeper.client(&bed);
        let tenant = tenants(&client, 1).await[0];
        let run = run_id(&client.fetch(tenant, json!({})).await);
        running(&client, run).await;
        let other = Process::start(&bed).await;
        sleeper.signal("STOP");
        let client = other.client(&bed);
        let taken_over = client.completed(run).await;
        assert_eq!(taken_over["outcome"], "succeeded", "{taken_over}");
        sleeper.signal("CONT");
        until("the late result is on record", || async {
            attempts(&client, run).await[0]["outcome"] == "stale"
        })
        .await;
        let first = &attempts(&client, run).await[0];
        assert_eq!(first["code"], "run.stale_attempt_result", "{first}");
        let after = client.get(&format!("/runs/{run}")).await.body;
        assert_eq!(after, taken_over, "a completed run's result never changes");
        // It lives on, under its own id.
        until("it works again", || async { sleeper.client(&bed).get("/readyz").await.status == 200 }).await;
        sleeper.signal("TERM");
        assert_eq!(sleeper.exit_code(), Some(0));
    });
    bed.cli(&["doctor"]);
}

#[test]
fn many_instances_asked_for_the_same_have_one_winner() {
    const INSTANCES: usize = 8;
    const EACH: usize = 40;
    // Few connections each: a server takes a hundred.
    let bed = bed_of(Engine::Postgres, 1, Duration::from_millis(100), "[database]\nconnections_max = 4\n");
    block_on(async {
        let mut processes = Vec::new();
        for _ in 0..INSTANCES {
            processes.push(Process::start(&bed).await);
        }
        let tenant = tenants(&processes[0].client(&bed), 1).await[0];
        let mut asking = tokio::task::JoinSet::new();
        for process in &processes {
            for _ in 0..EACH {
                let client = process.client(&bed);
                asking.spawn(async move { client.fetch(tenant, json!({})).await });
            }
        }
        let answers = asking.join_all().await;
        let accepted: Vec<i64> =
            answers.iter().filter(|one| one.body["verdict"] == "accepted").map(run_id).collect();
        assert_eq!(accepted.len(), 1, "one winner");
        for answer in &answers {
            // The last of them may come after its end.
            let verdict = answer.body["verdict"].as_str();
            assert!(matches!(verdict, Some("accepted" | "active" | "cooldown")), "{answer:?}");
            assert_eq!(run_id(answer), accepted[0]);
        }
        let client = processes[0].client(&bed);
        client.completed(accepted[0]).await;
        let counted = i64::try_from(INSTANCES * EACH - 1).unwrap();
        until("all refusals are counted", || async {
            client.get(&format!("/runs/{}", accepted[0])).await.body["duplicate_count"] == counted
        })
        .await;
        // Whoever is asked now knows that it has ended.
        for process in &processes {
            let again = process.client(&bed).fetch(tenant, json!({})).await;
            assert_eq!(again.body["verdict"], "cooldown", "{again:?}");
        }
    });
    bed.cli(&["doctor"]);
}
