//! Clients that ask for work while the world goes to pieces: fetches, restores, duplicates, reconciles, cancellations.
//! They keep every answer that they got: what was accepted is owed to them. Each also tries with the token of another
//! workspace what that must never do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bed::{Answer, Client, tick};
use crate::moments::Moments;
use crate::world::{Restored, World};

const CLIENTS: u64 = 6;
/// How long a client waits for an answer: a daemon that sleeps gives none.
const PATIENCE: Duration = Duration::from_secs(4);
const TYPES: [&str; 4] = ["intent", "mobileApp", "compliancePolicy", "configurationPolicy"];

/// What the clients were told.
#[derive(Debug, Default)]
pub struct Book {
    /// Runs that were accepted.
    pub accepted: Vec<i64>,
    /// Those of them that somebody asked to cancel.
    pub cancelled: Vec<i64>,
    /// Verdicts and refusals by name; `none` where no answer came.
    pub answers: BTreeMap<String, u64>,
    /// Answers that no client should get.
    pub wrong: Vec<String>,
}

/// The clients.
pub struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
    book: Arc<Mutex<Book>>,
}

impl Load {
    pub fn begin(world: &World, seed: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let book = Arc::<Mutex<Book>>::default();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let asker = Asker {
                daemons: (0..world.seats.len()).map(|seat| world.client(seat)).collect(),
                strangers: (0..world.seats.len()).map(|seat| world.stranger(seat)).collect(),
                workspace: world.workspace,
                read: world.read.clone(),
                restored: world.restored.clone(),
                moments: Moments(seed ^ (number << 48)),
                book: book.clone(),
            };
            clients.spawn(asker.ask(stopped.clone()));
        }
        Self { stop, clients, book }
    }

    /// How many runs have been accepted so far.
    pub fn accepted(&self) -> usize {
        self.book.lock().expect("nobody panics with the book in hand").accepted.len()
    }

    /// Ends the load; what was told.
    pub async fn end(self) -> Book {
        self.stop.send_replace(true);
        self.clients.join_all().await;
        std::mem::take(&mut *self.book.lock().expect("nobody panics with the book in hand"))
    }
}

struct Asker {
    daemons: Vec<Client>,
    /// The same daemons, by a token of another workspace.
    strangers: Vec<Client>,
    workspace: i64,
    read: Vec<i64>,
    restored: Vec<Restored>,
    moments: Moments,
    book: Arc<Mutex<Book>>,
}

impl Asker {
    async fn ask(mut self, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let daemon = self.moments.one_of(&self.daemons).clone();
            match self.moments.below(100) {
                0..45 => {
                    let request = self.fetch(true);
                    self.submit(&daemon, request).await;
                }
                45..60 => {
                    let (same, other) = (self.fetch(false), self.moments.one_of(&self.daemons).clone());
                    tokio::join!(
                        self.submit(&daemon, same.clone()),
                        self.submit(&other, same.clone()),
                        self.submit(&daemon, same.clone()),
                    );
                }
                60..91 => {
                    let request = self.restore();
                    self.submit(&daemon, request).await;
                }
                91..93 => self.trespass().await,
                93..96 => self.ask_for(&daemon, "/reconcile", json!({"workspace_id": self.workspace})).await,
                _ => self.cancel(&daemon).await,
            }
            tick().await;
        }
    }

    fn fetch(&mut self, force: bool) -> Value {
        let (tenant, policy_type) = (*self.moments.one_of(&self.read), *self.moments.one_of(&TYPES));
        json!({"type": "assignments.fetch", "tenant_id": tenant, "force": force,
               "inputs": {"policy_types": [policy_type]}})
    }

    fn restore(&mut self) -> Value {
        let tenant = self.moments.one_of(&self.restored);
        let (id, snapshots) = (tenant.id, tenant.snapshots.clone());
        json!({"type": "assignments.restore", "tenant_id": id, "force": true,
               "inputs": {"snapshot_id": self.moments.one_of(&snapshots)}})
    }

    async fn submit(&self, daemon: &Client, request: Value) {
        self.ask_for(daemon, "/runs", request).await;
    }

    async fn ask_for(&self, daemon: &Client, path: &str, request: Value) {
        let answer = tokio::time::timeout(PATIENCE, daemon.try_post(path, request)).await;
        self.note(answer.ok().and_then(Result::ok));
    }

    /// Cancels a fetch that was asked for lately; it may be over.
    async fn cancel(&mut self, daemon: &Client) {
        let last = self.book.lock().expect("nobody panics with the book in hand").accepted.last().copied();
        let Some(run) = last else { return };
        // Whether the cancellation is heard or not: the run may end by it.
        self.book.lock().expect("nobody panics with the book in hand").cancelled.push(run);
        let path = format!("/runs/{run}/cancel");
        let answer = tokio::time::timeout(PATIENCE, daemon.try_post(&path, json!({}))).await;
        if let Ok(Ok(answer)) = answer
            && ![202, 409, 503].contains(&answer.status)
        {
            self.wrong(&answer);
        }
    }

    /// Asks for a run of a tenant of another workspace, which must not be there for that token, whatever is broken.
    async fn trespass(&mut self) {
        let (request, daemon) = (self.fetch(true), self.moments.one_of(&self.strangers).clone());
        let answer = tokio::time::timeout(PATIENCE, daemon.try_post("/runs", request)).await;
        let answer = answer.ok().and_then(Result::ok);
        let word = match answer.as_ref().map(|answer| answer.status) {
            Some(404) => "trespass refused",
            Some(503) | None => "trespass unheard",
            Some(_) => return self.wrong(&answer.expect("it has a status")),
        };
        let mut book = self.book.lock().expect("nobody panics with the book in hand");
        *book.answers.entry(word.to_owned()).or_default() += 1;
    }

    fn note(&self, answer: Option<Answer>) {
        let word = match &answer {
            None => "none".to_owned(),
            Some(answer) => {
                let verdict = answer.body["verdict"].as_str().or_else(|| answer.body["code"].as_str());
                verdict.map_or_else(|| answer.status.to_string(), str::to_owned)
            }
        };
        let mut book = self.book.lock().expect("nobody panics with the book in hand");
        *book.answers.entry(word).or_default() += 1;
        let Some(answer) = answer else { return };
        match (answer.status, answer.body["verdict"].as_str()) {
            (202, Some("accepted")) => {
                book.accepted.push(answer.body["run"]["id"].as_i64().expect("a verdict names its run"));
            }
            (200, Some("active" | "cooldown")) | (503, None) => {}
            _ => {
                drop(book);
                self.wrong(&answer);
            }
        }
    }

    fn wrong(&self, answer: &Answer) {
        let mut book = self.book.lock().expect("nobody panics with the book in hand");
        book.wrong.push(format!("{answer:?}"));
    }
}
