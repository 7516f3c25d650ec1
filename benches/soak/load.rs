//! The load: requests by the clock, and when their runs were heard of as completed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atlasd::domain::policy_types;
use serde_json::{Value, json};

use crate::bed::Client;
use crate::times::Times;

/// What was measured.
pub struct Load {
    took: Duration,
    admission: Vec<u64>,
    completion: Vec<u64>,
    failed: u64,
}

/// Runs that one side knows of and the other does not yet: an event may come before its answer.
#[derive(Default)]
struct Open {
    due: HashMap<i64, Instant>,
    completed: HashMap<i64, Instant>,
    admission: Vec<u64>,
    completion: Vec<u64>,
    failed: u64,
}

impl Open {
    fn accepted(&mut self, run: i64, due: Instant) {
        self.admission.push(micros(due.elapsed()));
        match self.completed.remove(&run) {
            Some(at) => self.completion.push(micros(at - due)),
            None => drop(self.due.insert(run, due)),
        }
    }

    fn completed(&mut self, run: i64, outcome: &Value) {
        if outcome != "succeeded" {
            self.failed += 1;
        }
        match self.due.remove(&run) {
            Some(due) => self.completion.push(micros(due.elapsed())),
            None => drop(self.completed.insert(run, Instant::now())),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a short time")
}

/// The request with a number: each reads one list, which is empty. It comes again when all others have been asked for,
/// and by then its cooldown is over.
fn request(tenants: &[i64], types: &[&str], number: u64) -> Value {
    let number = usize::try_from(number).expect("a number of runs");
    let (tenant, policy_type) =
        (tenants[number % tenants.len()], types[number / tenants.len() % types.len()]);
    json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": {"policy_types": [policy_type]}})
}

impl Load {
    /// Sends `rate` requests a second for so long, and waits for the completion of all.
    pub async fn run(client: &Client, tenants: &[i64], rate: f64, length: Duration) -> Self {
        let open = Arc::new(Mutex::new(Open::default()));
        let stream = client.listen("event=run.completed&type=assignments.fetch").await;
        let hearing = tokio::spawn(hear(stream, open.clone()));
        let types: Vec<_> = policy_types::readable().map(|row| row.key).collect();
        let total = (rate * length.as_secs_f64()) as u64;
        let begun = Instant::now();
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..total {
            let due = begun + Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
            let (client, body, open) = (client.clone(), request(tenants, &types, number), open.clone());
            asking.spawn(async move {
                let run = accepted(&client, body).await;
                open.lock().expect("nobody panics with it").accepted(run, due);
            });
            while let Some(answered) = asking.try_join_next() {
                answered.expect("every request is accepted");
            }
        }
        asking.join_all().await;
        let patience = tokio::time::Instant::now() + Duration::from_secs(60);
        while tokio::time::Instant::now() < patience && !open.lock().expect("nobody panics").due.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        hearing.abort();
        let took = begun.elapsed();
        let open = std::mem::take(&mut *open.lock().expect("nobody panics with it"));
        let (admission, completion) = (open.admission, open.completion);
        Self { took, admission, completion, failed: open.failed }
    }

    /// How many runs there were.
    pub fn runs(&self) -> usize {
        self.admission.len()
    }

    pub fn print(&self) {
        let rate = self.runs() as f64 / self.took.as_secs_f64();
        println!("{} runs in {:.0?}, {rate:.1} per second, {} failed", self.runs(), self.took, self.failed);
        println!("request to verdict: {}", Times::of(self.admission.iter().copied()));
        println!("request to completion: {}", Times::of(self.completion.iter().copied()));
    }
}

/// Asks until there is an answer. A request whose answer got lost is asked again, and its run is active then.
async fn accepted(client: &Client, body: Value) -> i64 {
    loop {
        match client.try_post("/runs", body.clone()).await {
            Ok(answer) => {
                assert!(
                    answer.body["verdict"] == "accepted" || answer.body["verdict"] == "active",
                    "{answer:?}"
                );
                return answer.body["run"]["id"].as_i64().expect("it names its run");
            }
            Err(error) => println!("asked again: {error}"),
        }
    }
}

async fn hear(mut stream: reqwest::Response, open: Arc<Mutex<Open>>) {
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.expect("the stream goes on") {
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some((frame, rest)) = text.split_once("\n\n") {
            let data = frame.lines().find_map(|line| line.strip_prefix("data: "));
            if let Some(event) = data.and_then(|data| serde_json::from_str::<Value>(data).ok())
                && let Some(run) = event["run_id"].as_i64()
            {
                open.lock().expect("nobody panics with it").completed(run, &event["outcome"]);
            }
            text = rest.to_owned();
        }
    }
}

/// Requests for a run that is there already.
pub struct Refusals {
    client: Client,
    body: Value,
}

impl Refusals {
    /// Asks once, for a run whose cooldown only begins, and waits for it.
    pub async fn new(client: &Client, tenant: i64) -> Self {
        let body =
            json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": {"policy_types": ["intent"]}});
        let mut forced = body.clone();
        forced["force"] = json!(true);
        let answer = client.post("/runs", forced).await;
        client.completed(answer.body["run"]["id"].as_i64().expect("it names its run")).await;
        Self { client: client.clone(), body }
    }

    /// Sixteen clients ask for so long, as fast as they can; how often.
    pub async fn ask_for(&self, length: Duration) -> u64 {
        let (end, refused) = (Instant::now() + length, Arc::new(AtomicU64::new(0)));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (client, body, refused) = (self.client.clone(), self.body.clone(), refused.clone());
            asking.spawn(async move {
                while Instant::now() < end {
                    let answer = client.post("/runs", body.clone()).await;
                    assert_eq!(answer.body["verdict"], "cooldown", "{answer:?}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        asking.join_all().await;
        refused.load(Ordering::Relaxed)
    }
}
