//! The field: racers in processes of their own, all ready before the first of them is let off.
//!
//! A racer is this very test binary, started again for its one ignored test. It connects to the starter, reads its
//! task, gets ready and says so, waits for the word, and ends with its report: lines of JSON over one socket.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::bed::block_on;
use crate::executions::Execute;
use crate::identical::Repeat;
use crate::identities::AskAll;

/// What a racer does: gets ready, and runs.
#[derive(Serialize, Deserialize)]
pub enum Task {
    Repeat(Repeat),
    AskAll(AskAll),
    Execute(Execute),
}

const STARTER: &str = "ATLASD_TEST_STARTER";
/// How long a racer may take to get ready: dozens of processes start at once.
const READY: Duration = Duration::from_secs(120);

/// Processes that end with the race, however it ends.
struct Racers(Vec<Child>);

impl Drop for Racers {
    fn drop(&mut self) {
        for racer in &mut self.0 {
            let _ = racer.kill();
            let _ = racer.wait();
        }
    }
}

/// Lets a racer run for each task, all at once; their reports.
pub async fn race<R: DeserializeOwned>(tasks: Vec<Task>) -> Vec<R> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let start = |_| {
        Command::new(std::env::current_exe().expect("a process knows its program"))
            .args(["field::racer", "--exact", "--ignored", "--nocapture"])
            .env(STARTER, &address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program was just started")
    };
    let _racers = Racers((0..tasks.len()).map(start).collect());
    let mut lines = Vec::new();
    for task in tasks {
        let came = tokio::time::timeout(READY, listener.accept()).await.expect("every racer comes");
        let (reading, mut writing) = came.expect("a connection").0.into_split();
        let task = serde_json::to_string(&task).expect("a task is data");
        writing.write_all(format!("{task}\n").as_bytes()).await.expect("the racer reads its task");
        lines.push((tokio::io::BufReader::new(reading).lines(), writing));
    }
    for (reading, _) in &mut lines {
        let ready = tokio::time::timeout(READY, reading.next_line()).await.expect("it gets ready in time");
        assert_eq!(ready.expect("a line").as_deref(), Some("ready"), "a racer died before the start");
    }
    for (_, writing) in &mut lines {
        writing.write_all(b"go\n").await.expect("the racer waits for the word");
    }
    let mut reports = Vec::new();
    for (reading, _) in &mut lines {
        let report = reading.next_line().await.expect("a line").expect("a racer died in the race");
        reports.push(serde_json::from_str(&report).expect("a report of the task's kind"));
    }
    reports
}

#[test]
#[ignore = "a part of the races, which start it themselves"]
fn racer() {
    let Ok(starter) = std::env::var(STARTER) else { return };
    let socket = std::net::TcpStream::connect(starter).expect("the starter listens");
    let mut lines = BufReader::new(socket.try_clone().expect("a second handle")).lines();
    let mut line = || lines.next().expect("the starter speaks").expect("a line");
    let say = |text: &str| (&socket).write_all(format!("{text}\n").as_bytes()).expect("it listens");
    let task: Task = serde_json::from_str(&line()).expect("a task");
    let mut ready = || {
        say("ready");
        assert_eq!(line(), "go");
    };
    let report = block_on(async {
        match task {
            Task::Repeat(task) => serde_json::to_string(&task.run(&mut ready).await),
            Task::AskAll(task) => serde_json::to_string(&task.run(&mut ready).await),
            Task::Execute(task) => serde_json::to_string(&task.run(&mut ready).await),
        }
    });
    say(&report.expect("a report is data"));
}
