//! Schedules in whole daemons: who asks when, how often, and what becomes of what was missed. Time is moved by hand.

use std::sync::Arc;

use atlasd::clock::Clock;
use atlasd::config::Config;
use atlasd::daemon::{Control, Daemon};
use atlasd::sandbox::SandboxConfig;
use chrono::Duration;
use serde_json::{Value, json};

use crate::bed::{Bed, Client, block_on, until};
use crate::support::{Engine, for_each_engine};

const QUICK: &str = "[scheduler]\npoll = \"50ms\"\nretry_after = \"100ms\"\n";

fn bed(engine: Engine, extra: &str) -> Bed {
    Bed::with(engine, SandboxConfig::single(0), &format!("{QUICK}{extra}"))
}

fn daemon(bed: &Bed, clock: &Clock) -> Daemon {
    let mut options = bed.options();
    options.clock = clock.clone();
    Daemon::start(options).expect("the daemon starts")
}

/// A workspace with tenants that no sandbox has: their runs fail, which is enough.
async fn workspace(client: &Client, tenants: u128) -> i64 {
    let workspace = client.workspace("contoso").await;
    for number in 1..=tenants {
        client.tenant(workspace, uuid::Uuid::from_u128(0x4000_8000_0000_0000_0000 + number)).await;
    }
    workspace
}

async fn hourly(client: &Client, workspace: i64) -> i64 {
    scheduled(client, workspace, "@hourly").await
}

async fn scheduled(client: &Client, workspace: i64, cron: &str) -> i64 {
    let body =
        json!({"workspace_id": workspace, "name": "hourly", "type": "assignments.fetch", "cron": cron});
    let added = client.post("/schedules", body).await;
    assert_eq!(added.status, 201, "{added:?}");
    added.body["id"].as_i64().expect("an id")
}

async fn runs(client: &Client) -> Vec<Value> {
    client.all("/runs?type=assignments.fetch").await
}

/// Waits until the last occurrence of a schedule has got all its verdicts; the schedule.
async fn answered(client: &Client, schedule: i64, accepted: i64) -> Value {
    let shown = || async { client.get(&format!("/schedules/{schedule}")).await.body };
    until("the requests have their verdicts", || async {
        let shown = shown().await;
        shown["pending"] == 0 && shown["last"]["accepted"] == accepted
    })
    .await;
    shown().await
}

/// The sum of a counter's samples over some daemons.
async fn count(clients: &[&Client], sample: &str) -> u64 {
    let mut sum = 0;
    for client in clients {
        let text = client.get("/metrics").await.body;
        let text = text.as_str().expect("metrics are text");
        sum += text
            .lines()
            .filter(|line| line.starts_with(sample))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    sum
}

for_each_engine!(each_tenant_is_asked_for_once_and_those_added_later_too, |engine| {
    let (bed, clock) = (bed(engine, ""), Clock::system());
    let daemon = daemon(&bed, &clock);
    block_on(async {
        let client = bed.client(daemon.address());
        let workspace = workspace(&client, 3).await;
        let schedule = hourly(&client, workspace).await;
        clock.advance(Duration::hours(1));
        let shown = answered(&client, schedule, 3).await;
        let asked = runs(&client).await;
        assert_eq!(asked.len(), 3);
        for run in &asked {
            assert_eq!(run["initiator_name"], "schedule");
            assert_eq!(run["context"]["schedule"]["name"], "hourly");
            assert_eq!(run["context"]["schedule"]["id"], schedule);
            assert_eq!(run["context"]["schedule"]["occurrence_at"], shown["last"]["occurrence_at"]);
        }
        assert_eq!(shown["last"]["verdict"], "accepted");
        client.tenant(workspace, uuid::Uuid::from_u128(0x4000_8000_0000_0000_9999)).await;
        for run in &asked {
            client.completed(run["id"].as_i64().unwrap()).await;
        }
        clock.advance(Duration::hours(1));
        answered(&client, schedule, 4).await;
        assert_eq!(runs(&client).await.len(), 7);
    });
});

for_each_engine!(what_was_missed_while_no_daemon_ran_is_made_up_for_once, |engine| {
    let (bed, clock) = (bed(engine, ""), Clock::system());
    let first = daemon(&bed, &clock);
    let schedule = block_on(async {
        let client = bed.client(first.address());
        let workspace = workspace(&client, 1).await;
        hourly(&client, workspace).await
    });
    first.stop().expect("it stops");
    clock.advance(Duration::hours(5));
    let second = daemon(&bed, &clock);
    block_on(async {
        let client = bed.client(second.address());
        let shown = answered(&client, schedule, 1).await;
        assert_eq!(shown["last"]["catch_up"], true);
        assert_eq!(runs(&client).await.len(), 1);
        assert_eq!(count(&[&client], "atlasd_schedule_occurrences_total{reason=\"catch_up\"}").await, 1);
        assert_eq!(count(&[&client], "atlasd_schedule_occurrences_total{").await, 1, "one for all five");
    });
});

#[test]
fn of_two_instances_one_begins_an_occurrence() {
    let (bed, clock) = (bed(Engine::Postgres, ""), Clock::system());
    let (one, other) = (daemon(&bed, &clock), daemon(&bed, &clock));
    block_on(async {
        let (one, other) = (bed.client(one.address()), bed.client(other.address()));
        let workspace = workspace(&one, 40).await;
        let schedule = hourly(&other, workspace).await;
        clock.advance(Duration::hours(1));
        answered(&one, schedule, 40).await;
        assert_eq!(runs(&one).await.len(), 40);
        let both = [&one, &other];
        assert_eq!(count(&both, "atlasd_schedule_occurrences_total{").await, 1);
        assert_eq!(count(&both, "atlasd_schedule_requests_total{").await, 40, "each was made once");
    });
}

for_each_engine!(overlap_is_answered_by_the_verdict, |engine| {
    let (bed, clock) = (bed(engine, ""), Clock::system());
    let daemon = daemon(&bed, &clock);
    block_on(async {
        let client = bed.client(daemon.address());
        let workspace = client.workspace("contoso").await;
        let tenant = client.tenant(workspace, uuid::Uuid::from_u128(7)).await;
        // In half an hour, counted from the minute that is now, whatever that is.
        let minute = (clock.now().micros() / 60_000_000 + 30) % 60;
        let schedule = scheduled(&client, workspace, &format!("{minute} * * * *")).await;
        clock.advance(Duration::minutes(28));
        let by_hand = client.fetch(tenant, json!({})).await;
        let run = crate::bed::run_id(&by_hand);
        client.completed(run).await;
        clock.advance(Duration::minutes(2));
        until("the request was refused", || async {
            let last = client.get(&format!("/schedules/{schedule}")).await.body["last"].clone();
            last["verdict"] == "cooldown" && last["run_id"] == run && last["cooldown"] == 1
        })
        .await;
        assert_eq!(runs(&client).await.len(), 1);
    });
});

#[test]
fn a_full_gate_only_delays_a_request() {
    let (bed, clock) = (bed(Engine::Sqlite, "[admission]\nwaiting_max = 1\n"), Clock::system());
    let daemon = daemon(&bed, &clock);
    block_on(async {
        let client = bed.client(daemon.address());
        let workspace = workspace(&client, 1).await;
        let schedule = hourly(&client, workspace).await;
        let place = daemon.handle().take_place().expect("the gate is empty");
        clock.advance(Duration::hours(1));
        until("it was tried", || async {
            count(&[&client], "atlasd_schedule_requests_total{reason=\"deferred\"}").await > 0
        })
        .await;
        assert!(runs(&client).await.is_empty());
        drop(place);
        // The wait before it is tried again goes by the same clock as everything else.
        answered(&client, schedule, 1).await;
    });
}

#[test]
fn a_reload_takes_the_schedules_of_the_configuration_over() {
    let defined = "[schedules.every-hour]\nworkspace = \"contoso\"\ntype = \"ops.reconcile_adapter_runs\"\ncron = \"@hourly\"\n";
    let (bed, clock) = (bed(Engine::Sqlite, ""), Clock::system());
    let daemon = daemon(&bed, &clock);
    block_on(async {
        let client = bed.client(daemon.address());
        workspace(&client, 1).await;
        let text = std::fs::read_to_string(bed.config_path()).unwrap();
        let reload = async |text: &str| {
            let path = bed.directory.path().join("reloaded.toml");
            std::fs::write(&path, text).unwrap();
            let config = Config::load(&path).expect("it is valid");
            daemon.control().send(Control::Reload(Arc::new(config))).await.unwrap();
        };
        let listed = || async { client.all("/schedules").await };
        reload(&format!("{text}\n{defined}")).await;
        until("it is there", || async { listed().await.len() == 1 }).await;
        let id = listed().await[0]["id"].as_i64().unwrap();
        clock.advance(Duration::hours(1));
        let shown = answered(&client, id, 1).await;
        let run = client.get(&format!("/runs/{}", shown["last"]["run_id"])).await.body;
        assert_eq!(
            (run["type"].as_str(), run["tenant_id"].as_i64()),
            (Some("ops.reconcile_adapter_runs"), None)
        );
        assert_eq!(run["context"]["schedule"]["name"], "every-hour");
        reload(&text).await;
        until("it is gone", || async { listed().await.is_empty() }).await;
    });
}
