//! The stream of events, as a client reads it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use atlasd::config::{Config, Span};
use atlasd::daemon::Control;
use atlasd::domain::admission::Request;
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::operation::Operation;
use atlasd::domain::run::Run;
use atlasd::ids::{RunId, TenantId, WorkspaceId};
use atlasd::store::Role;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon};

const STREAM: &str = "/api/v1/events";
const PATIENCE: Duration = Duration::from_secs(20);

/// One event, or a comment with an id, as a client parses it.
#[derive(Clone, Debug, Default)]
struct Frame {
    id: Option<String>,
    event: Option<String>,
    data: Value,
    comment: bool,
}

impl Frame {
    fn parse(text: &str) -> Self {
        let mut frame = Self::default();
        for line in text.lines() {
            match line.split_once(": ").expect("a line of an event has a field") {
                ("", _) => frame.comment = true,
                ("id", id) => frame.id = Some(id.to_owned()),
                ("event", event) => frame.event = Some(event.to_owned()),
                ("data", data) => frame.data = serde_json::from_str(data).expect("the data is JSON"),
                ("retry", _) => {}
                other => panic!("unexpected field {other:?}"),
            }
        }
        frame
    }

    fn name(&self) -> &str {
        self.event.as_deref().unwrap_or_default()
    }

    fn run(&self) -> i64 {
        self.data["run_id"].as_i64().unwrap_or_else(|| panic!("expected a run in {self:?}"))
    }

    fn number(&self) -> u64 {
        let id = self.id.as_deref().and_then(|id| id.split_once('-')).expect("an id of two parts");
        id.1.parse().expect("the second part is a number")
    }
}

/// A client of the stream.
struct Listener<'d> {
    daemon: &'d TestDaemon,
    response: reqwest::Response,
    text: String,
    last_id: String,
}

impl<'d> Listener<'d> {
    /// Listens; the greeting has been read.
    fn open(daemon: &'d TestDaemon, path: &str, token: &str, last_id: Option<&str>) -> Self {
        let response = daemon.block_on(daemon.open(path, token, last_id));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut listener = Self { daemon, response, text: String::new(), last_id: String::new() };
        let greeting = listener.frame().expect("a stream greets");
        assert!(greeting.comment && greeting.event.is_none(), "{greeting:?}");
        listener
    }

    /// The next frame; `None` at the end of the stream.
    fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let frame = Frame::parse(frame);
                self.text = rest.to_owned();
                if let Some(id) = &frame.id {
                    self.last_id.clone_from(id);
                }
                return Some(frame);
            }
            let response = &mut self.response;
            let chunk = async move { tokio::time::timeout(PATIENCE, response.chunk()).await };
            let chunk =
                self.daemon.block_on(chunk).expect("something comes").expect("the stream ends well")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("events are text"));
        }
    }

    /// The next event.
    fn event(&mut self) -> Frame {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let frame = self.frame().expect("the stream goes on");
            if frame.event.is_some() {
                return frame;
            }
            assert!(std::time::Instant::now() < deadline, "nothing but heartbeats");
        }
    }

    /// The next event with a name.
    fn await_event(&mut self, name: &str) -> Frame {
        loop {
            let event = self.event();
            if event.name() == name {
                return event;
            }
        }
    }
}

fn daemon(change: impl FnOnce(&mut Config)) -> (TestDaemon, String) {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        config.events.window = Span(Duration::from_millis(50));
        change(config);
    });
    let token = daemon.token(Role::Admin, None);
    (daemon, token)
}

fn fetch(daemon: &TestDaemon, token: &str, tenant: i64) -> i64 {
    daemon.post("/api/v1/runs", token, &json!({"type": "assignments.fetch", "tenant_id": tenant})).id()
}

/// A run that is in no ledger.
fn imagined(id: i64) -> Run {
    let request = Request {
        workspace_id: WorkspaceId(1),
        tenant_id: Some(TenantId(1)),
        user_id: None,
        initiator_name: "nobody".to_owned(),
        operation: Operation::Fetch,
        identity: IdentityHash([1; 32]),
        context: serde_json::Map::new(),
        force: false,
    };
    let at = atlasd::clock::Instant::from_micros(0).expect("1970 is in the calendar");
    request.into_run(RunId(id), at)
}

#[test]
fn a_run_is_told_from_its_queue_to_its_end() {
    let (daemon, token) = daemon(|_| {});
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "closed");
    let mut listener = Listener::open(&daemon, &format!("{STREAM}?type=assignments.fetch"), &token, None);
    let run = fetch(&daemon, &token, tenant);
    let events = [listener.event(), listener.event(), listener.event()];
    assert_eq!(events.each_ref().map(Frame::name), ["run.queued", "run.started", "run.completed"]);
    for event in &events {
        assert_eq!(event.run(), run);
        assert_eq!(event.data["event"], event.name());
        assert_eq!(
            (&event.data["workspace_id"], &event.data["tenant_id"]),
            (&json!(workspace), &json!(tenant))
        );
        assert_eq!(event.data["type"], "assignments.fetch");
    }
    let [queued, started, completed] = events;
    assert!(queued.number() < started.number() && started.number() < completed.number());
    assert_eq!((&queued.data["status"], &started.data["status"]), (&json!("queued"), &json!("running")));
    assert_eq!(completed.data["outcome"], "failed");
    assert_eq!(completed.data["failure_code"], "graph.network");
    assert!(completed.data["summary_counts"].is_object());
    let shown = daemon.get(&format!("/api/v1/runs/{run}"), &token);
    assert_eq!(completed.data["at"], shown.body["completed_at"]);
    assert_eq!(completed.data.get("context"), None, "no inputs in events");
}

#[test]
fn a_retry_is_told_with_its_time() {
    let (daemon, token) = daemon(|config| config.execution.attempts_max = 2);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "closed");
    let mut listener = Listener::open(&daemon, &format!("{STREAM}?event=run.retrying"), &token, None);
    let run = fetch(&daemon, &token, tenant);
    let retrying = listener.event();
    assert_eq!((retrying.name(), retrying.run()), ("run.retrying", run));
    assert_eq!(retrying.data["attempt"], 1);
    assert!(retrying.data["next_attempt_at"].is_string(), "{retrying:?}");
}

#[test]
fn refused_requests_are_told_with_run_verdict_asker_and_number() {
    let (daemon, token) = daemon(|_| {});
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "silent");
    let run = fetch(&daemon, &token, tenant);
    let mut listener = Listener::open(&daemon, &format!("{STREAM}?event=request.refused"), &token, None);
    let other = daemon.token(Role::Operator, None);
    for _ in 0..10 {
        assert_eq!(fetch(&daemon, &token, tenant), run);
    }
    let bulk = json!({"requests": [{"type": "assignments.fetch", "tenant_id": tenant}]});
    daemon.post("/api/v1/runs/batch", &other, &bulk).assert_status(200);
    let mut counted = std::collections::BTreeMap::new();
    while counted.values().sum::<u64>() < 11 {
        let refused = listener.event();
        assert_eq!((refused.name(), refused.run()), ("request.refused", run));
        assert_eq!(refused.data["verdict"], "active");
        assert!(refused.data["first_at"].as_str() <= refused.data["at"].as_str());
        let asker = refused.data["initiator_name"].as_str().expect("who asked").to_owned();
        *counted.entry(asker).or_default() += refused.data["count"].as_u64().expect("how often");
    }
    let expected = [("token-0".to_owned(), 10), ("token-1".to_owned(), 1)];
    assert_eq!(counted.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn who_comes_back_hears_what_was_missed_and_a_restart_is_a_gap() {
    let (daemon, token) = daemon(|_| {});
    let workspace = daemon.workspace(&token, "contoso");
    let (one, two) =
        (daemon.tenant(&token, workspace, 1, "closed"), daemon.tenant(&token, workspace, 2, "closed"));
    let path = format!("{STREAM}?event=run.completed&type=assignments.fetch");
    let mut listener = Listener::open(&daemon, &path, &token, None);
    fetch(&daemon, &token, one);
    listener.await_event("run.completed");
    let last_id = listener.last_id.clone();
    let mut watch = Listener::open(&daemon, &path, &token, None);
    drop(listener);
    let missed = fetch(&daemon, &token, two);
    watch.await_event("run.completed");
    let mut back = Listener::open(&daemon, &path, &token, Some(&last_id));
    let event = back.event();
    assert_eq!((event.name(), event.run()), ("run.completed", missed));
    let by_query = format!("{path}&last_event_id={last_id}");
    assert_eq!(Listener::open(&daemon, &by_query, &token, None).event().run(), missed);
    let mut stranger = Listener::open(&daemon, &path, &token, Some("000000000000-1"));
    let gap = stranger.event();
    assert_eq!((gap.name(), gap.data["reason"].as_str()), ("stream.gap", Some("restarted")));
    assert_eq!(stranger.event().name(), "run.completed", "what is there follows");
}

#[test]
fn a_last_id_that_has_left_the_buffer_is_a_gap() {
    let (daemon, token) = daemon(|config| config.events.buffer = 16);
    let listener = Listener::open(&daemon, STREAM, &token, None);
    let last_id = listener.last_id.clone();
    (1..=40).for_each(|id| daemon.daemon().handle().events().run(&imagined(1_000_000 + id)));
    let mut back = Listener::open(&daemon, STREAM, &token, Some(&last_id));
    let gap = back.event();
    assert_eq!((gap.name(), gap.data["reason"].as_str()), ("stream.gap", Some("too_old")));
    assert_eq!(back.event().run(), 1_000_025, "the oldest of the buffer");
}

#[test]
fn a_bound_token_hears_of_its_workspace_alone() {
    let (daemon, token) = daemon(|_| {});
    let (own, foreign) = (daemon.workspace(&token, "own"), daemon.workspace(&token, "foreign"));
    let own_tenant = daemon.tenant(&token, own, 1, "closed");
    let foreign_tenant = daemon.tenant(&token, foreign, 2, "closed");
    let bound = daemon.token(Role::Viewer, Some(own));
    let mut listener = Listener::open(&daemon, STREAM, &bound, None);
    let mut everything =
        Listener::open(&daemon, &format!("{STREAM}?tenant_id={foreign_tenant}"), &token, None);
    fetch(&daemon, &token, foreign_tenant);
    everything.await_event("run.completed");
    fetch(&daemon, &token, foreign_tenant);
    everything.await_event("request.refused");
    let run = fetch(&daemon, &token, own_tenant);
    loop {
        let event = listener.event();
        assert_eq!(event.data["workspace_id"], own, "{event:?}");
        if event.name() == "run.completed" && event.run() == run {
            break;
        }
    }
    daemon
        .get(&format!("{STREAM}?workspace_id={foreign}"), &bound)
        .assert_problem(404, "workspace.not_found");
}

#[test]
fn wrong_filters_are_refused() {
    let (daemon, token) = daemon(|_| {});
    for (query, field) in
        [("event=run.gone", "event"), ("run_id=x", "run_id"), ("type=fetch", "type"), ("foo=1", "foo")]
    {
        daemon
            .get(&format!("{STREAM}?{query}"), &token)
            .assert_problem(422, "request.invalid")
            .assert_field(field);
    }
}

#[test]
fn two_hundred_readers_hear_the_same_and_one_more_than_allowed_is_refused() {
    let (daemon, token) = daemon(|config| {
        config.events.readers_max = 200;
        // A reader that has gone is noticed by what cannot be written to it.
        config.events.heartbeat = Span(Duration::from_millis(500));
    });
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "closed");
    let path = format!("{STREAM}?event=run.completed&tenant_id={tenant}");
    let mut readers: Vec<_> = (0..200).map(|_| Listener::open(&daemon, &path, &token, None)).collect();
    let full = daemon.get(STREAM, &token);
    full.assert_problem(503, "events.full");
    assert!(full.headers.contains_key("retry-after"));
    let run = fetch(&daemon, &token, tenant);
    let ids: std::collections::BTreeSet<_> = readers
        .iter_mut()
        .map(|reader| {
            let event = reader.event();
            assert_eq!((event.name(), event.run()), ("run.completed", run));
            event.id
        })
        .collect();
    assert_eq!(ids.len(), 1, "an event has one id for all");
    drop(readers);
    let deadline = std::time::Instant::now() + PATIENCE;
    while daemon.daemon().handle().events().readers() > 0 {
        assert!(std::time::Instant::now() < deadline, "places of readers that have gone are not given back");
        daemon.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
}

#[test]
fn a_quiet_stream_beats() {
    let (daemon, token) = daemon(|config| config.events.heartbeat = Span(Duration::from_millis(50)));
    let mut listener = Listener::open(&daemon, &format!("{STREAM}?run_id=999"), &token, None);
    for _ in 0..3 {
        let beat = listener.frame().expect("the stream goes on");
        assert!(beat.comment && beat.event.is_none() && beat.id.is_some(), "{beat:?}");
    }
}

#[test]
fn a_withdrawn_token_hears_nothing_more() {
    let (daemon, token) = daemon(|config| {
        config.events.heartbeat = Span(Duration::from_millis(50));
        config.http.token_cache = Span(Duration::from_millis(1));
    });
    let viewer = daemon.token(Role::Viewer, None);
    let mut listener = Listener::open(&daemon, STREAM, &viewer, None);
    let mut other = Listener::open(&daemon, STREAM, &token, None);
    daemon.execute("DELETE FROM api_tokens WHERE name = 'token-1'");
    let dropped = listener.await_event("stream.dropped");
    assert_eq!(dropped.data["reason"], "unauthorised");
    assert!(listener.frame().is_none(), "nothing follows");
    for _ in 0..3 {
        assert!(other.frame().expect("it goes on").comment, "another token's stream goes on");
    }
}

#[test]
fn a_reader_that_does_not_read_is_dropped_and_told_why() {
    let (daemon, token) = daemon(|config| config.events.buffer = 64);
    let mut socket = TcpStream::connect(daemon.daemon().address()).expect("the daemon listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    write!(socket, "GET {STREAM} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let mut head = [0; 15];
    socket.read_exact(&mut head).expect("an answer begins");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let events = daemon.daemon().handle().events().clone();
    let mut id = 1_000_000;
    let deadline = std::time::Instant::now() + PATIENCE;
    while events.readers() > 0 {
        // Few enough at once that a reader which reads keeps up.
        (0..32).for_each(|_| {
            events.run(&imagined({
                id += 1;
                id
            }))
        });
        daemon.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        assert!(std::time::Instant::now() < deadline, "a reader that does not read keeps its place");
    }
    let mut rest = Vec::new();
    // The connection may be kept for another request: what is awaited is the last chunk.
    let mut part = [0; 64 * 1024];
    while !rest.ends_with(b"0\r\n\r\n") {
        let read = socket.read(&mut part).expect("the stream ends");
        assert!(read > 0, "the stream ends with its last chunk");
        rest.extend_from_slice(&part[..read]);
    }
    let tail = String::from_utf8_lossy(&rest[rest.len().saturating_sub(400)..]).into_owned();
    assert!(
        tail.contains("event: stream.dropped\ndata: {\"event\":\"stream.dropped\",\"reason\":\"slow\"}"),
        "{tail}"
    );
}

#[test]
fn a_stop_tells_of_the_last_runs_and_ends_every_stream() {
    let (daemon, token) = daemon(|_| {});
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "silent");
    let mut listener = Listener::open(&daemon, &format!("{STREAM}?tenant_id={tenant}"), &token, None);
    let run = fetch(&daemon, &token, tenant);
    listener.await_event("run.started");
    daemon.daemon().control().try_send(Control::Stop).expect("it takes commands");
    let handed_back = listener.event();
    assert_eq!((handed_back.name(), handed_back.run()), ("run.queued", run));
    let closed = listener.event();
    assert_eq!((closed.name(), closed.data["reason"].as_str()), ("stream.closed", Some("draining")));
    assert!(listener.frame().is_none(), "nothing follows");
}
