//! `assignments.fetch` on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use atlasd::domain::failure::Code;
use atlasd::domain::identity::FetchInputs;
use atlasd::graph::GraphClient;
use atlasd::graph::fetch::{FetchEnd, FetchProgress, FetchStop, TypeReading, fetch};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, Seen, Wire, batch_of, graph, origin, refusal, throttled, token};

const COMPLIANCE: &str = "/beta/deviceManagement/deviceCompliancePolicies";
const CATALOG: &str = "/beta/deviceManagement/configurationPolicies";

/// What a fetch gave.
pub struct Fetched {
    pub end: FetchEnd,
    pub readings: BTreeMap<&'static str, TypeReading>,
    pub told: Vec<FetchProgress>,
}

impl Fetched {
    pub fn of(&self, key: &str) -> &TypeReading {
        &self.readings[key]
    }

    /// The number of assignments by policy.
    fn sets(&self, key: &str) -> BTreeMap<&str, usize> {
        let policies = self.of(key).policies.iter();
        policies.map(|policy| (policy.policy_id.as_str(), policy.assignments.len())).collect()
    }

    pub fn codes(&self, key: &str) -> Vec<Code> {
        self.of(key).failures.iter().map(|failure| failure.failure.code).collect()
    }
}

pub fn asking(keys: &[&str], ids: &[&str]) -> FetchInputs {
    let set = |items: &[&str]| -> Option<BTreeSet<String>> {
        (!items.is_empty()).then(|| items.iter().map(|item| (*item).to_owned()).collect())
    };
    FetchInputs { policy_types: set(keys), policy_ids: set(ids) }
}

pub async fn run(client: &GraphClient, inputs: &FetchInputs) -> Fetched {
    let told = Mutex::new(Vec::new());
    let tell = |progress| told.lock().expect("no test panics with it").push(progress);
    let (sink, mut readings) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let collect = async {
        let mut all = BTreeMap::new();
        while let Some(reading) = readings.recv().await {
            let reading: TypeReading = reading;
            let twice = all.insert(reading.policy_type.key, reading);
            assert!(twice.is_none(), "one reading per type");
        }
        all
    };
    let (end, readings) = tokio::join!(fetch(client, inputs, &cancel, &tell, sink), collect);
    Fetched { end, readings, told: told.into_inner().expect("no test panics with it") }
}

pub fn group(n: usize) -> Value {
    json!({"id": format!("p_{n}"), "source": "direct", "sourceId": "p",
        "target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget",
            "groupId": format!("00000000-0000-4000-8000-{n:012}"),
            "deviceAndAppManagementAssignmentFilterId": null,
            "deviceAndAppManagementAssignmentFilterType": "none"}})
}

fn assignments(count: usize) -> Value {
    json!({"value": (0..count).map(group).collect::<Vec<_>>()})
}

fn value(items: Vec<Value>) -> Reply {
    Reply::Json(200, json!({ "value": items }))
}

fn is_batch(seen: &Seen) -> bool {
    seen.path == "/beta/$batch"
}

/// A settings catalog of `count` policies in pages of 100, and each policy's assignments as `item` says.
async fn catalog(count: usize, item: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> Wire {
    graph(move |seen, _| {
        if is_batch(seen) {
            return batch_of(seen, &item);
        }
        let skip: usize = seen.path.split_once("skiptoken=").map_or(0, |(_, n)| n.parse().expect("a number"));
        let items: Vec<_> =
            (skip..count.min(skip + 100)).map(|n| json!({"id": n.to_string(), "name": "n"})).collect();
        let mut page = json!({ "value": items });
        if skip + 100 < count {
            page["@odata.nextLink"] =
                format!("{}{CATALOG}?$top=100&$skiptoken={}", origin(seen), skip + 100).into();
        }
        Reply::Json(200, page)
    })
    .await
}

#[tokio::test]
async fn a_thousand_policies_of_an_expandable_type_take_a_list_and_a_confirmation() {
    let wire = graph(|seen, _| {
        if is_batch(seen) {
            return batch_of(seen, |path| (200, assignments(usize::from(path.contains("/5/")))));
        }
        value(
            (0..1000)
                .map(|n| match n {
                    5 => json!({"id": "5", "displayName": "five", "assignments": []}),
                    6 => json!({"id": "6", "displayName": "six", "isAssigned": true}),
                    7 => json!({"id": "7", "displayName": "seven", "isAssigned": false, "assignments": []}),
                    _ => {
                        json!({"id": n.to_string(), "displayName": "n", "assignments": [group(1), group(n)]})
                    }
                })
                .collect(),
        )
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["compliancePolicy"], &[])).await;
    let paths: Vec<_> = wire.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, [format!("{COMPLIANCE}?$top=1000&$expand=assignments"), "/beta/$batch".to_owned()]);
    assert_eq!(wire.calls()[1].batch().len(), 2, "only doubtful empties are confirmed");
    let coverage = &fetched.of("compliancePolicy").coverage;
    assert_eq!((coverage.listed, coverage.read, coverage.confirmed_empty), (1000, 1000, 2));
    assert!(coverage.complete && coverage.refused.is_empty());
    let sets = fetched.sets("compliancePolicy");
    assert_eq!((sets["4"], sets["5"], sets["6"], sets["7"]), (2, 1, 0, 0));
    assert_eq!((fetched.end.calls, fetched.end.stopped), (2, None));
}

#[tokio::test]
async fn a_thousand_others_take_their_pages_and_fifty_batches() {
    let wire = catalog(1000, |_| (200, assignments(2))).await;
    let fetched = run(&wire.client(), &asking(&["configurationPolicy"], &[])).await;
    let batches = wire.calls().iter().filter(|call| is_batch(call)).count();
    assert_eq!((wire.calls().len(), batches), (60, 50));
    assert_eq!(fetched.of("configurationPolicy").coverage.read, 1000);
    assert_eq!(fetched.of("configurationPolicy").listed.len(), 1000);
    let last = fetched.told.last().expect("progress");
    assert_eq!(
        (last.types_done, last.types_total, last.listed, last.read, last.calls),
        (1, 1, 1000, 1000, 60)
    );
}

#[tokio::test]
async fn a_read_that_failed_is_never_no_assignments() {
    let wire = catalog(4, |path| match path {
        path if path.ends_with("/0/assignments") => (200, assignments(0)),
        path if path.ends_with("/1/assignments") => (403, refusal(403, "Forbidden")),
        path if path.ends_with("/2/assignments") => (200, json!({"value": [{"id": "x", "target": null}]})),
        _ => (200, json!({"unexpected": true})),
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["configurationPolicy"], &[])).await;
    assert_eq!(fetched.sets("configurationPolicy"), BTreeMap::from([("0", 0)]));
    let coverage = &fetched.of("configurationPolicy").coverage;
    assert_eq!((coverage.listed, coverage.read, coverage.confirmed_empty), (4, 1, 1));
    let refused = [(Code::GraphForbidden, 1), (Code::GraphProtocol, 1), (Code::AssignmentsReadIncomplete, 1)];
    assert_eq!(coverage.refused, BTreeMap::from(refused));
    assert_eq!(fetched.codes("configurationPolicy").len(), 3);
}

#[tokio::test]
async fn assignments_are_read_to_their_last_page() {
    let wire = graph(|seen, _| {
        let next = |path: &str| format!("{}/beta{path}?more", origin(seen));
        if is_batch(seen) {
            return batch_of(seen, |path| {
                let mut first = assignments(25);
                first["@odata.nextLink"] = next(path).into();
                (200, first)
            });
        }
        if seen.path.ends_with("?more") {
            return Reply::Json(200, json!({"value": [group(99)]}));
        }
        if seen.path.starts_with(CATALOG) {
            return value(vec![json!({"id": "a", "name": "n"})]);
        }
        value(vec![json!({"id": "b", "assignments": [group(1)], "assignments@odata.nextLink": next("/x")})])
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["configurationPolicy", "compliancePolicy"], &[])).await;
    assert_eq!(fetched.sets("configurationPolicy")["a"], 26);
    assert_eq!(fetched.sets("compliancePolicy")["b"], 2);
}

#[tokio::test]
async fn a_tenant_that_refuses_the_expand_is_read_one_by_one() {
    let wire = graph(|seen, _| match () {
        () if is_batch(seen) => batch_of(seen, |_| (200, assignments(3))),
        () if seen.path.contains("$expand") => Reply::Json(400, refusal(400, "BadRequest")),
        () => value(vec![json!({"id": "a", "displayName": "n"})]),
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["compliancePolicy"], &[])).await;
    assert_eq!(fetched.sets("compliancePolicy")["a"], 3);
    assert!(fetched.of("compliancePolicy").failures.is_empty());
}

#[tokio::test]
async fn one_types_refusal_does_not_stop_the_others() {
    let wire = graph(|seen, _| match () {
        () if seen.path.contains("deviceHealthScripts") => {
            Reply::Json(403, refusal(403, "Authorization_RequestDenied"))
        }
        () if seen.path.contains("virtualEndpoint") => Reply::Json(404, refusal(404, "ResourceNotFound")),
        () if seen.path.contains("mobileApps") => Reply::Json(503, refusal(503, "ServiceUnavailable")),
        () => value(vec![json!({"id": "a", "displayName": "n", "assignments": [group(1)]})]),
    })
    .await;
    let keys = ["deviceHealthScript", "cloudPcUserSetting", "mobileApp", "compliancePolicy"];
    let fetched = run(&wire.client(), &asking(&keys, &[])).await;
    assert_eq!(fetched.sets("compliancePolicy")["a"], 1);

    assert_eq!(fetched.codes("deviceHealthScript"), [Code::GraphPermissionMissing]);
    let message = fetched.of("deviceHealthScript").failures[0].failure.message().to_owned();
    assert!(
        message.contains("DeviceManagementScripts.Read.All") && !message.contains("contoso"),
        "{message}"
    );
    assert!(!fetched.of("deviceHealthScript").coverage.complete);

    // What the tenant does not offer is noted, and no failure.
    assert_eq!(fetched.codes("cloudPcUserSetting"), []);
    let refused = &fetched.of("cloudPcUserSetting").coverage.refused;
    assert_eq!(*refused, BTreeMap::from([(Code::GraphTypeUnavailable, 1)]));

    assert_eq!(fetched.codes("mobileApp"), [Code::GraphUnavailable]);
    assert!(fetched.of("mobileApp").failures[0].transient);
}

#[tokio::test]
async fn types_that_share_a_list_are_listed_once_and_told_apart() {
    let wire = graph(|_, _| {
        value(vec![
            json!({"id": "r", "@odata.type": "#microsoft.graph.windowsUpdateForBusinessConfiguration",
                "assignments": [group(1)]}),
            json!({"id": "c", "@odata.type": "#microsoft.graph.iosGeneralDeviceConfiguration",
                "assignments": [group(1), group(2)]}),
            json!({"id": "x", "assignments": [group(1)]}),
        ])
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["deviceConfiguration", "windowsUpdateRing"], &[])).await;
    assert_eq!(wire.calls().len(), 1);
    assert_eq!(fetched.sets("windowsUpdateRing"), BTreeMap::from([("r", 1)]));
    assert_eq!(fetched.sets("deviceConfiguration"), BTreeMap::from([("c", 2)]));
    // The third may be of either: neither was read completely.
    for key in ["deviceConfiguration", "windowsUpdateRing"] {
        assert_eq!(fetched.codes(key), [Code::GraphProtocol]);
        assert!(!fetched.of(key).coverage.complete);
    }
}

#[tokio::test]
async fn a_role_assignments_groups_are_read_from_the_object() {
    let wire = graph(|seen, _| match is_batch(seen) {
        true => batch_of(seen, |path| {
            assert_eq!(path, "/deviceManagement/roleAssignments/a");
            let id = "00000000-0000-4000-8000-000000000001";
            (200, json!({"id": "a", "members": [id], "resourceScopes": [], "scopeType": "allDevices"}))
        }),
        false => value(vec![json!({"id": "a", "displayName": "n", "members": []})]),
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["roleAssignment"], &[])).await;
    assert_eq!(fetched.sets("roleAssignment"), BTreeMap::from([("a", 1)]));
}

#[tokio::test]
async fn nothing_but_ids_names_and_assignments_is_kept() {
    let wire = graph(|_, _| {
        value(vec![json!({"id": "a", "displayName": "for admin@contoso.example", "scriptContent": "CANARY",
            "omaSettings": [{"value": "CANARY"}], "assignments": [group(1)]})])
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["compliancePolicy"], &[])).await;
    let shown = format!("{:?}", fetched.of("compliancePolicy").policies);
    assert!(!shown.contains("CANARY") && !shown.contains("contoso"), "{shown}");
    assert!(fetched.of("compliancePolicy").policies[0].name.starts_with("for "));
}

#[tokio::test]
async fn a_policy_that_exists_nowhere_is_missing() {
    let list =
        || value(vec![json!({"id": "a", "assignments": [group(1)]}), json!({"id": "b", "assignments": []})]);
    let wire = graph(move |_, _| list()).await;
    let fetched = run(&wire.client(), &asking(&["compliancePolicy"], &["a", "z"])).await;
    assert_eq!(fetched.of("compliancePolicy").listed, ["a"]);
    assert_eq!(wire.calls().len(), 1, "what is out of scope is not confirmed");
    let codes: Vec<_> = fetched.end.failures.iter().map(|failure| failure.failure.code).collect();
    assert_eq!(codes, [Code::AssignmentsPolicyMissing]);

    // A list that was not read may hold it.
    let wire = graph(move |seen, _| match seen.path.contains("mobileApps") {
        true => Reply::Json(403, refusal(403, "Forbidden")),
        false => list(),
    })
    .await;
    let fetched = run(&wire.client(), &asking(&["compliancePolicy", "mobileApp"], &["a", "z"])).await;
    assert!(fetched.end.failures.is_empty());
    assert_eq!(fetched.codes("mobileApp"), [Code::GraphForbidden]);
}

#[tokio::test]
async fn a_refused_sign_in_is_one_failure() {
    let wire =
        Wire::start(|_, _| Reply::Json(401, json!({"error": "invalid_client", "error_codes": [7_000_222]})))
            .await;
    let fetched = run(&wire.client(), &FetchInputs::default()).await;
    assert!(fetched.readings.is_empty());
    assert_eq!(fetched.end.failures.len(), 1);
    assert_eq!(fetched.end.failures[0].failure.code, Code::GraphAuthFailed);
    assert_eq!((wire.tokens(), wire.calls().len()), (1, 0));
}

#[tokio::test]
async fn a_sign_in_refused_in_mid_run_is_not_asked_again_for_every_type() {
    let wire = Wire::start(|seen, n| match (seen.is_token(), n) {
        (true, 0) => token(0),
        (true, _) => Reply::Json(401, json!({"error": "invalid_client", "error_codes": [7_000_222]})),
        (false, _) => Reply::Json(401, refusal(401, "InvalidAuthenticationToken")),
    })
    .await;
    let fetched = run(&wire.client(), &FetchInputs::default()).await;
    let parallel = wire.config().graph.parallel;
    assert!(wire.tokens() <= 1 + parallel && wire.calls().len() <= parallel, "{}", wire.tokens());
    assert!(fetched.readings.len() > 40);
    for key in fetched.readings.keys() {
        assert!(fetched.codes(key).iter().all(|code| *code == Code::GraphAuthFailed), "{key}");
        assert!(!fetched.of(key).coverage.complete);
    }
}

#[tokio::test]
async fn every_readable_type_is_read_and_reported_once() {
    let wire = graph(|_, _| value(vec![])).await;
    let fetched = run(&wire.client(), &FetchInputs::default()).await;
    let keys: BTreeSet<_> = atlasd::domain::policy_types::readable().map(|row| row.key).collect();
    assert_eq!(fetched.readings.keys().copied().collect::<BTreeSet<_>>(), keys);
    assert!(fetched.readings.values().all(|reading| reading.coverage.complete));
    assert!(fetched.end.failures.is_empty());
    let lists: BTreeSet<_> = wire.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(lists.len(), wire.calls().len(), "no list is read twice");
}

#[tokio::test]
async fn a_pause_is_told() {
    let wire = graph(|_, n| if n == 0 { throttled("0.2") } else { value(vec![]) }).await;
    let fetched = run(&wire.client(), &asking(&["compliancePolicy"], &[])).await;
    assert!(fetched.told.iter().any(|progress| progress.throttled_until.is_some()));
    assert!(fetched.told.last().expect("progress").throttled_until.is_none());
}

#[tokio::test]
async fn cancelling_stops_and_reports_nothing_half_read() {
    let wire = graph(|_, _| throttled("100")).await;
    let client = wire.client();
    let (sink, mut readings) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let inputs = FetchInputs::default();
    let (end, ()) = tokio::join!(fetch(&client, &inputs, &cancel, &|_| (), sink), async {
        while wire.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(end.stopped, Some(FetchStop::Cancelled));
    assert!(end.failures.is_empty());
    assert!(readings.recv().await.is_none());
}

#[tokio::test]
async fn a_fetch_whose_readings_nobody_takes_stops() {
    let wire = graph(|_, _| value(vec![])).await;
    let (sink, readings) = mpsc::channel(1);
    drop(readings);
    let client = wire.client();
    let running = tokio::spawn(async move {
        fetch(&client, &FetchInputs::default(), &CancellationToken::new(), &|_| (), sink).await
    });
    let end = running.await.expect("no panic");
    assert_eq!(end.stopped, Some(FetchStop::ReceiverGone));
    assert!(wire.calls().len() < 30);
}
