//! What Graph echoes and what a daemon keeps secret is found nowhere: not in the ledger, the log, the metrics or an
//! answer, whatever goes wrong and however much is logged.
//!
//! The double plants its canaries in objects, error texts and sign-in errors. The suite first makes sure that they are
//! on the wire, then has fetches and restores meet every kind of fault, then searches everything that was kept or told.

use std::collections::BTreeSet;

use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{CANARIES, Edit, Fault, FaultKind, On, Policies, SandboxConfig, TenantSpec};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, block_on, run_id};
use crate::process::Process;
use crate::restore::snapshot;
use crate::support::{Engine, for_each_engine};

/// Types whose objects hold canaries; with a small page each of their lists has nextLinks.
const TYPES: [(&str, usize); 6] = [
    ("compliancePolicy", 8),
    ("termsAndConditions", 3),
    ("mobileApp", 8),
    ("deviceConfiguration", 8),
    ("deviceHealthScript", 4),
    ("configurationPolicy", 8),
];
/// Of them, those that the restores write.
const WRITTEN: [&str; 2] = ["compliancePolicy", "termsAndConditions"];
/// No retries: each fault is to end in a run. Budgets that none of them waits for.
const CONFIG: &str = "[execution]\nheartbeat = \"200ms\"\nlease = \"5s\"\npoll = \"100ms\"\nattempts_max = 1\n\
     [graph]\nbackoff_base = \"10ms\"\nbackoff_max = \"50ms\"\ncalls_per_20s = 100000\nwrites_per_20s = 10000\n\
     [restore]\nverify_timeout = \"300ms\"\nverify_wait = \"50ms\"\n";

fn bed(engine: Engine) -> Bed {
    let mut config = SandboxConfig::single(0);
    let policies = TYPES.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
    config.tenants = vec![TenantSpec::new(SINGLE_TENANT, "Contoso Test", Policies::Exactly(policies))];
    (config.page_size, config.page_size_max, config.assignments_page_size) = (3, 3, 2);
    (config.throttle.calls_max, config.throttle.tenant_calls_max) = (100_000, 100_000);
    (config.throttle.writes_max, config.throttle.tenant_writes_max) = (10_000, 10_000);
    Bed::with(engine, config, CONFIG)
}

/// Texts that must not be found, in the forms in which they may be kept.
struct Search(Vec<(String, Vec<String>)>);

impl Search {
    fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let forms = |text: String| {
            let plain = text.to_lowercase();
            // A binary column is shown in hexadecimal.
            let hex = plain.bytes().map(|byte| format!("{byte:02x}")).collect();
            let as_is = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            (text, vec![plain, hex, as_is])
        };
        Self(secrets.into_iter().map(forms).collect())
    }

    /// What is found in `text`.
    fn found(&self, text: &str) -> Vec<&str> {
        let text = text.to_lowercase();
        let hits = self.0.iter().filter(|(_, forms)| forms.iter().any(|form| text.contains(form.as_str())));
        hits.map(|(secret, _)| secret.as_str()).collect()
    }
}

/// Places and what is in them.
type Places = Vec<(String, String)>;

/// Every place that holds a secret.
fn leaks(search: &Search, places: &Places) -> Vec<String> {
    let hits = places.iter().flat_map(|(place, text)| {
        let found = search.found(text).into_iter();
        found.map(move |secret| format!("{place} holds {secret}: {}", around(text, secret)))
    });
    hits.collect()
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    let line = text.lines().find(|line| line.to_lowercase().contains(&secret.to_lowercase()));
    line.map(|line| line.get(..600).unwrap_or(line)).unwrap_or_default()
}

/// Every column of every row, as text.
fn ledger(bed: &Bed) -> Places {
    let words = |text: &str| bed.database.words(text);
    let tables = match bed.database.engine {
        Engine::Sqlite => "SELECT name AS word FROM sqlite_master WHERE type = 'table'",
        Engine::Postgres => {
            "SELECT CAST(table_name AS text) AS word FROM information_schema.tables \
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        }
    };
    let rows = |table: &String| match bed.database.engine {
        Engine::Sqlite => {
            let columns = words(&format!("SELECT name AS word FROM pragma_table_info('{table}')"));
            // Text with a zero byte would end there, were it not for the hexadecimal form.
            let all: Vec<_> = columns
                .iter()
                .map(|column| format!("coalesce(hex(CAST(\"{column}\" AS BLOB)), '')"))
                .collect();
            words(&format!("SELECT {} AS word FROM \"{table}\"", all.join(" || '\n' || ")))
        }
        Engine::Postgres => words(&format!("SELECT CAST(t.* AS text) AS word FROM \"{table}\" t")),
    };
    let mut places: Places = Vec::new();
    for table in words(tables) {
        places.push((format!("table {table}"), rows(&table).join("\n")));
    }
    places
}

/// The files of the ledger as they are on the disk, what was deleted in them included.
fn files(bed: &Bed) -> Places {
    let atlasd::store::DatabaseUrl::Sqlite(path) = &bed.database.url else { return Vec::new() };
    let directory = path.parent().expect("the ledger is in a directory");
    let entries = std::fs::read_dir(directory).expect("the directory is readable");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        (path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned())
    };
    entries.map(file).collect()
}

fn log(bed: &Bed) -> (String, String) {
    let bytes = std::fs::read(bed.directory.path().join("daemon.log")).expect("the log is there");
    ("the log".to_owned(), String::from_utf8_lossy(&bytes).into_owned())
}

/// What the daemon answers to every question about what it knows.
async fn answers(client: &Client) -> Places {
    let mut paths: Vec<String> = [
        "/metrics",
        "/readyz",
        "/healthz",
        "/system",
        "/openapi.json",
        "/workspaces",
        "/tenants",
        "/runs?limit=500",
        "/failures",
    ]
    .map(str::to_owned)
    .into();
    let ids = |items: Vec<Value>| items.into_iter().map(|item| item["id"].as_i64().expect("an id"));
    for run in ids(client.all("/runs").await) {
        paths.extend(["", "/attempts", "/items?limit=500"].map(|part| format!("/runs/{run}{part}")));
    }
    for tenant in ids(client.all("/tenants").await) {
        paths
            .extend(["", "/policies?limit=500", "/snapshots"].map(|part| format!("/tenants/{tenant}{part}")));
        let snapshots: Vec<_> = ids(client.all(&format!("/tenants/{tenant}/snapshots")).await).collect();
        for pair in snapshots.windows(2) {
            paths.push(format!("/snapshots/{}/diff/{}", pair[0], pair[1]));
        }
        for snapshot in snapshots {
            paths.extend(["?limit=500", "/export"].map(|part| format!("/snapshots/{snapshot}{part}")));
        }
    }
    let mut places = Vec::new();
    for path in paths {
        let answer = client.get(&path).await;
        places.push((path, answer.body.to_string()));
    }
    places
}

/// Asks the double as the daemon does; what it answers, status and all.
async fn on_the_wire(bed: &Bed) -> (String, Vec<String>) {
    let http = reqwest::Client::new();
    let url = bed.sandbox.url();
    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}\
         &scope={url}/.default"
    );
    let sign_in = http
        .post(format!("{url}/{SINGLE_TENANT}/oauth2/v2.0/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let text = sign_in.send().await.expect("it answers").text().await.expect("a body");
    let token: Value = serde_json::from_str(&text).expect("a token");
    let token = token["access_token"].as_str().unwrap_or_else(|| panic!("a token: {text}")).to_owned();
    let mut told = String::new();
    for path in ["deviceManagement/deviceConfigurations", "deviceManagement/intents/none", "nothing/here"] {
        let answer = http.get(format!("{url}/beta/{path}")).bearer_auth(&token).send().await;
        told.push_str(&answer.expect("it answers").text().await.expect("a body"));
    }
    // All tokens begin alike: header and algorithm.
    let parts = token.split('.').take(1).map(str::to_owned).collect();
    (told, parts)
}

fn status(status: u16) -> FaultKind {
    FaultKind::Status { status, retry_after: None }
}

/// Everything that can go wrong with a call that reads.
fn reading() -> Vec<FaultKind> {
    use FaultKind::*;
    vec![
        Forbidden,
        ForbiddenAppOnly,
        ForbiddenEmptyCode,
        EntraDenied,
        SegmentNotFound,
        NotFound,
        Conflict,
        status(400),
        status(401),
        status(412),
        status(424),
        status(500),
        status(502),
        status(503),
        Throttled { retry_after: Some("0".to_owned()) },
        CloseBefore,
        HtmlBody,
        CutJson,
        Redirect { to: None },
        LostItem,
        BatchOuter424,
    ]
}

/// A fetch under some faults.
async fn fetched(bed: &Bed, client: &Client, tenant: i64, faults: &[Fault]) {
    let state = bed.sandbox.state();
    faults.iter().for_each(|fault| state.add_fault(fault.clone()));
    let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true});
    client.completed(run_id(&client.post("/runs", request).await)).await;
    state.clear_faults();
}

/// All faults of reading and signing in, another one for each type in a fetch.
async fn fetches_gone_wrong(bed: &Bed, client: &Client, tenant: i64) {
    use FaultKind::*;
    let mut of_types = Vec::new();
    for kind in reading() {
        of_types.extend([On::List, On::Nav].map(|on| Fault::new(kind.clone()).on(on).times(9)));
    }
    of_types.extend([ForeignNextLink, RepeatedNextLink].map(|kind| Fault::new(kind).on(On::List).times(9)));
    for faults in of_types.chunks(TYPES.len()) {
        let faults: Vec<_> =
            faults.iter().zip(TYPES).map(|(fault, (key, _))| fault.clone().policy_type(key)).collect();
        fetched(bed, client, tenant, &faults).await;
    }
    for kind in [status(400), status(500), HtmlBody, EntraDenied, ExpireTokens] {
        fetched(bed, client, tenant, &[Fault::new(kind).on(On::Batch).times(9)]).await;
    }
    let throttled = Throttled { retry_after: Some("0".to_owned()) };
    for kind in [SecretExpired, BlockedByPolicy, status(400), status(500), HtmlBody, CutJson, throttled] {
        bed.sandbox.state().expire_tokens(None);
        fetched(bed, client, tenant, &[Fault::new(kind).on(On::Token).times(9)]).await;
    }
}

/// Takes its assignments from every policy that is written, then restores them under some faults.
async fn restored(bed: &Bed, client: &Client, tenant: i64, inputs: &Value, faults: &[Fault]) {
    let state = bed.sandbox.state();
    for (policy_type, policy_id) in written(bed) {
        let edit = Edit::SetAssignments(Vec::new());
        state.edit(SINGLE_TENANT, &policy_type, &policy_id, edit).expect("the policy is there");
    }
    faults.iter().for_each(|fault| state.add_fault(fault.clone()));
    let request =
        json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": inputs, "force": true});
    let answer = client.post("/runs", request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    client.completed(run_id(&answer)).await;
    state.clear_faults();
}

fn written(bed: &Bed) -> Vec<(String, String)> {
    let policies = bed.sandbox.state().expected(SINGLE_TENANT).into_keys();
    policies.filter(|(policy_type, _)| WRITTEN.contains(&policy_type.as_str())).collect()
}

/// All faults of writing, another one for each policy in a restore, and of what a restore looks up.
async fn restores_gone_wrong(bed: &Bed, client: &Client, tenant: i64, snapshot: i64) {
    use FaultKind::*;
    let inputs = json!({"snapshot_id": snapshot, "allow_widening": true});
    let policies = written(bed);
    let mut kinds = reading();
    let after = StatusAfter { status: 500, retry_after: None };
    kinds.extend([ApprovalRequired, after, CloseAfter, HtmlAfter, StaleRead]);
    for on in [On::Write, On::Nav] {
        // Each kind meets policies with and without assignments to write.
        for turn in 0..2 {
            for some in kinds.chunks(policies.len()) {
                let faults: Vec<_> = some
                    .iter()
                    .zip(policies.iter().cycle().skip(turn * 4))
                    .map(|(kind, (key, id))| {
                        Fault::new(kind.clone()).on(on).policy_type(key).policy_id(id).times(9)
                    })
                    .collect();
                restored(bed, client, tenant, &inputs, &faults).await;
            }
        }
    }
    for kind in [EntraDenied, status(400), HtmlBody, CutJson] {
        for on in [On::Directory, On::Filters] {
            restored(bed, client, tenant, &inputs, &[Fault::new(kind.clone()).on(on).times(9)]).await;
        }
    }
    let plan = json!({"snapshot_id": snapshot, "dry_run": true});
    restored(bed, client, tenant, &plan, &[Fault::new(Forbidden).on(On::Nav).times(3)]).await;
}

/// The codes of everything that went wrong.
fn codes(bed: &Bed) -> BTreeSet<String> {
    let items = bed.database.words("SELECT DISTINCT code AS word FROM restore_items WHERE code IS NOT NULL");
    let runs = bed.database.words("SELECT CAST(failure_summary AS text) AS word FROM operation_runs");
    let failures = runs.iter().flat_map(|text| serde_json::from_str::<Vec<Value>>(text).expect("an array"));
    let of_runs = failures.map(|failure| failure["code"].as_str().expect("a code").to_owned());
    items.into_iter().chain(of_runs.collect::<Vec<_>>()).collect()
}

for_each_engine!(nothing_that_graph_echoes_is_kept_or_told, |engine| {
    let bed = bed(engine);
    let (told, tokens) = block_on(on_the_wire(&bed));
    let (unseen, secrets): (Vec<_>, Vec<_>) = {
        let canaries = CANARIES.iter().map(|canary| (*canary).to_owned());
        let unseen = canaries.clone().filter(|canary| !told.contains(canary.as_str())).collect();
        let own = [CLIENT_SECRET.to_owned(), bed.token.clone(), "skiptoken".to_owned()];
        (unseen, canaries.chain(own).chain(tokens).collect())
    };
    assert_eq!(unseen, Vec::<String>::new(), "the double echoes every canary: {told}");
    assert!(told.contains("skiptoken"), "lists have links: {told}");
    let search = Search::of(secrets);
    let mut places = block_on(async {
        let process = Process::start_at(&bed, "trace").await;
        let client = process.client(&bed);
        let (_, tenant) = client.single().await;
        let snapshot = snapshot(&client, tenant).await;
        bed.sandbox.state().reset_stats();
        fetches_gone_wrong(&bed, &client, tenant).await;
        restores_gone_wrong(&bed, &client, tenant, snapshot).await;
        let answers = answers(&client).await;
        process.signal("TERM");
        assert_eq!(process.exit_code(), Some(0));
        answers
    });
    let stats = bed.sandbox.state().stats();
    assert!(stats.faults_fired > 200, "faults were met: {}", stats.faults_fired);
    assert_eq!(
        (stats.canaries_seen, stats.secrets_seen, stats.trap_tokens),
        (0, 0, 0),
        "nothing went out again"
    );
    let codes = codes(&bed);
    assert!(codes.len() >= 10, "runs went wrong in many ways: {codes:?}");
    places.extend(ledger(&bed));
    places.extend(files(&bed));
    places.push(log(&bed));
    let log = &places.last().expect("it was pushed").1;
    assert!(log.contains("a write has no certain end"), "the log tells what went wrong: {log:.2000}");
    let leaks = leaks(&search, &places);
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
});

for_each_engine!(the_search_finds_what_is_there_to_be_found, |engine| {
    let bed = bed(engine);
    let search = Search::of(CANARIES.iter().map(|canary| (*canary).to_owned()));
    let [in_the_ledger, in_bytes, in_the_log, ..] = CANARIES else { panic!("there are several") };
    bed.cli(&["workspaces", "add", "planted", "--name", in_the_ledger]);
    let (bytes, hex) = match engine {
        Engine::Sqlite => ("BLOB", format!("X'{}'", hex_of(in_bytes))),
        Engine::Postgres => ("bytea", format!("decode('{}', 'hex')", hex_of(in_bytes))),
    };
    let planted = format!("CREATE TABLE planted (bytes {bytes}); INSERT INTO planted VALUES ({hex})");
    bed.database.execute(&planted).expect("a table can be made");
    let answers = block_on(async {
        let process = Process::start_at(&bed, "trace").await;
        answers(&process.client(&bed)).await
    });
    std::fs::write(bed.directory.path().join("daemon.log"), format!("line\nx{in_the_log}y\n"))
        .expect("writable");

    let finds = |places: Places, secret: &str| {
        assert!(leaks(&search, &places).iter().any(|leak| leak.contains(secret)), "{secret} was planted");
    };
    finds(answers, in_the_ledger);
    finds(ledger(&bed), in_the_ledger);
    finds(ledger(&bed), in_bytes);
    finds(vec![log(&bed)], in_the_log);
    if engine == Engine::Sqlite {
        finds(files(&bed), in_the_ledger);
        finds(files(&bed), in_bytes);
    }
});

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
