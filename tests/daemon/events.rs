//! What the stream of events tells of executions and repairs.

use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::sandbox::SandboxConfig;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bed::{Bed, PATIENCE, block_on, run_id};
use crate::reconcile::plant_orphan;
use crate::support::{Engine, for_each_engine};

/// The events of a stream until `last` holds of one, each with how long after it was told it came.
async fn heard_until(
    mut stream: reqwest::Response,
    last: impl Fn(&Value) -> bool,
) -> Vec<(TimeDelta, Value)> {
    let mut heard = Vec::new();
    let mut text = String::new();
    loop {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk()).await.expect("something comes");
        text.push_str(std::str::from_utf8(&chunk.unwrap().expect("the stream goes on")).unwrap());
        while let Some((frame, rest)) = text.split_once("\n\n") {
            let data = frame.lines().find_map(|line| line.strip_prefix("data: "));
            let event: Option<Value> = data.map(|data| serde_json::from_str(data).expect("JSON"));
            text = rest.to_owned();
            if let Some(event) = event {
                let ends = last(&event);
                heard.push((Clock::system().now().to_utc() - at(&event), event));
                if ends {
                    return heard;
                }
            }
        }
    }
}

#[test]
fn progress_comes_at_most_each_window_and_reaches_readers_within_a_second() {
    let mut config = SandboxConfig::single(300);
    config.latency = Duration::from_millis(100);
    let bed = Bed::with(Engine::Sqlite, config, "[graph]\nparallel = 1\n");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let stream = client.listen(&format!("tenant_id={tenant}&event=run.progress,run.completed")).await;
        let began = Instant::now();
        let run = run_id(&client.fetch(tenant, json!({})).await);
        let heard = heard_until(stream, |event| event["event"] == "run.completed").await;
        let (completed, progress) = heard.split_last().expect("events");
        assert!(progress.len() >= 2, "{heard:?}");
        assert_eq!(completed.1["outcome"], "succeeded", "{completed:?}");
        let mut known = 0;
        for (_, event) in progress {
            assert_eq!((event["run_id"].as_i64(), event["tenant_id"].as_i64()), (Some(run), Some(tenant)));
            let calls = event["progress"]["calls"].as_u64().expect("progress as of a run");
            assert!(calls >= known, "it only grows: {heard:?}");
            known = calls;
        }
        // Counted, not measured one by one: wall clocks may step, and a busy machine delivers late.
        let windows = began.elapsed().as_secs_f64() / 0.5;
        assert!((progress.len() as f64) <= windows + 1.0, "{} in {windows} windows", progress.len());
        let late = progress.iter().map(|(late, _)| *late).min().expect("two and more");
        assert!(late <= TimeDelta::milliseconds(500), "a window and {late} is more than a second");
    });
}

fn at(event: &Value) -> DateTime<Utc> {
    event["at"].as_str().expect("a time").parse().expect("RFC 3339")
}

for_each_engine!(a_repair_is_told_with_what_it_changed, |engine| {
    let bed = Bed::with(
        engine,
        SandboxConfig::single(60),
        "[execution]\nheartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"10m\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (workspace, tenant) = client.single().await;
        let orphan = plant_orphan(daemon.handle().store(), workspace, tenant).await;
        let stream = client.listen(&format!("run_id={orphan}")).await;
        let pass = run_id(&client.post("/reconcile", json!({"workspace_id": workspace})).await);
        let heard = heard_until(stream, |event| event["event"] == "run.queued").await;
        let (_, repaired) = &heard[0];
        assert_eq!(repaired["event"], "reconcile.repaired", "{heard:?}");
        assert_eq!(repaired["repair"], "requeue", "{repaired}");
        assert_eq!(
            (&repaired["before"], &repaired["after"]),
            (&json!("running/pending"), &json!("queued/pending"))
        );
        assert_eq!(repaired["reconcile_run_id"], pass, "{repaired}");
    });
});
