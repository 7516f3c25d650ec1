//! Pages of tenants, snapshots and restores: what is seen by whom, what may be done by whom, and that a restore by form is
//! the restore of the API.

use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::snapshots::{Scene, TYPE};
use crate::support::{Reply, csrf_of};

/// A signed-in browser.
struct Visitor<'a> {
    scene: &'a Scene,
    cookie: String,
}

impl<'a> Visitor<'a> {
    fn new(scene: &'a Scene, role: Role, workspace: Option<i64>) -> Self {
        let cookie = scene.daemon.sign_in(&scene.daemon.token(role, workspace));
        Self { scene, cookie }
    }

    fn get(&self, path: &str) -> Reply {
        let headers = [("cookie", self.cookie.as_str()), ("accept", "text/html")];
        self.scene.daemon.call(Method::GET, path, &headers, "")
    }

    fn page(&self, path: &str) -> String {
        self.get(path).assert_status(200).text.clone()
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("accept", "text/html"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let mut body = format!("_csrf={}", csrf_of(&self.cookie));
        for (name, value) in fields {
            body.push_str(&format!("&{name}={value}"));
        }
        self.scene.daemon.call(Method::POST, path, &headers, &body)
    }

    /// Posts, and the address that the answer leads to.
    fn led(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let reply = self.post(path, fields);
        reply.assert_status(303);
        reply.headers["location"].to_str().expect("ASCII").to_owned()
    }

    /// Waits for the run at the end of an address.
    fn ended(&self, address: &str) -> Value {
        let run = address.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an address of a run");
        self.scene.daemon.await_run(&self.scene.token, run, |run| run["status"] == "completed")
    }
}

/// A scene with two snapshots and a foreign workspace.
fn scene() -> (Scene, [i64; 2], i64) {
    let scene = Scene::new();
    let snapshots = [scene.fetch(json!({})), scene.fetch(json!({"policy_types": [TYPE]}))];
    let foreign = scene.daemon.workspace(&scene.token, "foreign");
    (scene, snapshots, foreign)
}

#[test]
fn what_belongs_to_another_workspace_is_not_there() {
    let (scene, [a, b], foreign) = scene();
    let (own, stranger) =
        (Visitor::new(&scene, Role::Admin, None), Visitor::new(&scene, Role::Admin, Some(foreign)));
    let tenant = scene.tenant;
    let run = scene.get(&format!("/api/v1/snapshots/{a}"))["operation_run_id"].clone();
    let paths = [
        format!("/tenants/{tenant}"),
        format!("/tenants/{tenant}/policies"),
        format!("/tenants/{tenant}/snapshots"),
        format!("/snapshots/{a}"),
        format!("/snapshots/{a}/diff/{b}"),
        format!("/restore?tenant={tenant}"),
        format!("/restore/new?snapshot={a}"),
    ];
    for path in &paths {
        own.get(path).assert_status(200);
        let reply = stranger.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.text.contains("<h1"), "{path} is a page: {}", reply.text);
    }
    for path in
        [format!("/snapshots/{a}/drift/{run}"), format!("/restore/{run}"), format!("/restore/{run}/confirm")]
    {
        assert_eq!(stranger.get(&path).status, 404, "{path}");
    }
    for (path, fields) in [
        (format!("/tenants/{tenant}/fetch"), vec![]),
        (format!("/snapshots/{a}/drift"), vec![]),
        (format!("/restore/{run}/undo"), vec![]),
        (format!("/restore/{run}/confirm"), vec![]),
        ("/restore/new".to_owned(), vec![("snapshot", a.to_string()), ("scope", "all".to_owned())]),
        ("/restore/plan".to_owned(), vec![("snapshot", a.to_string()), ("scope", "all".to_owned())]),
    ] {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(stranger.post(&path, &fields).status, 404, "{path}");
    }
    for path in ["/", "/tenants", "/restore", "/schedules"] {
        assert!(!stranger.page(path).contains("Contoso Test"), "{path}");
        assert!(path == "/schedules" || own.page(path).contains("Contoso Test"), "{path}");
    }
}

#[test]
fn a_viewer_looks_and_changes_nothing() {
    let (scene, [a, _], _) = scene();
    let viewer = Visitor::new(&scene, Role::Viewer, None);
    for path in [
        "/".to_owned(),
        format!("/tenants/{}", scene.tenant),
        format!("/snapshots/{a}"),
        format!("/restore/new?snapshot={a}"),
        "/schedules".to_owned(),
    ] {
        let text = viewer.page(&path);
        for line in text.split("<form").skip(1) {
            let harmless = ["/theme", "/logout", "method=\"get\""].iter().any(|word| line.contains(word));
            assert!(harmless, "{path} offers a form to who may only look: {line}");
        }
    }
    let tenant = scene.tenant;
    for path in [
        format!("/tenants/{tenant}/fetch"),
        format!("/snapshots/{a}/drift"),
        "/restore/new".to_owned(),
        "/restore/plan".to_owned(),
        "/restore/1/confirm".to_owned(),
        "/restore/1/undo".to_owned(),
        "/schedules".to_owned(),
        "/schedules/1/remove".to_owned(),
    ] {
        assert_eq!(viewer.post(&path, &[]).status, 403, "{path}");
    }
    assert_eq!(viewer.get("/restore/1/confirm").status, 403);
}

#[test]
fn odd_addresses_and_forms_are_answered_with_pages() {
    let (scene, [a, _], _) = scene();
    let visitor = Visitor::new(&scene, Role::Operator, None);
    for (path, status) in [
        ("/tenants/0", 404),
        ("/tenants/x", 404),
        ("/snapshots/999999", 404),
        ("/restore/999999", 404),
        ("/restore/new", 422),
        ("/restore/new?snapshot=x", 422),
        ("/tenants?cursor=odd", 400),
        ("/tenants?what=1", 422),
        ("/?span=1y", 422),
        ("/schedules/1/dance", 404),
    ] {
        let reply = visitor.get(path);
        assert!(reply.status == status || reply.status == 405, "{path}: {} {}", reply.status, reply.text);
        assert!(reply.text.contains("<h1"), "{path}: {}", reply.text);
    }
    let form = [("snapshot", a.to_string()), ("scope", "some".to_owned())];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(visitor.post("/restore/plan", &form).status, 422, "nothing is ticked");
    assert_eq!(visitor.post("/restore/plan", &[("snapshot", "1"), ("evil", "1")]).status, 422);
}

fn to_group(id: &str) -> Value {
    json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": id}})
}

fn to_all_devices() -> Value {
    json!({"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}})
}

#[test]
fn a_restore_by_forms_is_planned_confirmed_followed_and_undone() {
    let scene = Scene::new();
    let world = scene.sandbox.state();
    let groups = world.group_ids(SINGLE_TENANT);
    let policy = world.add_policy(SINGLE_TENANT, TYPE, Some("Baseline"), vec![to_group(&groups[0])]);
    let policy = policy.expect("the type is known");
    let snapshot = scene.fetch(json!({})).to_string();
    world.set_assignments(SINGLE_TENANT, TYPE, &policy, vec![to_group(&groups[1])]).expect("it exists");
    let visitor = Visitor::new(&scene, Role::Operator, None);
    let fields =
        [("snapshot", snapshot.as_str()), ("scope", "some"), ("policy", policy.as_str()), ("mode", "exact")];
    let plan = visitor.led("/restore/plan", &fields);
    visitor.ended(&plan);
    let shown = visitor.page(&plan);
    assert!(shown.contains("Baseline") && shown.contains(&format!("{plan}/confirm")), "{shown}");
    assert_eq!(world.writes_of(SINGLE_TENANT).len(), 0, "a plan writes nothing");
    let last_look = visitor.page(&format!("{plan}/confirm"));
    assert!(last_look.contains("Write 1 policy") && !last_look.contains("allow_widening"), "{last_look}");
    let restore = visitor.led(&format!("{plan}/confirm"), &[]);
    let run = visitor.ended(&restore);
    assert_eq!(
        (run["outcome"].as_str(), run["context"]["inputs"]["plan_run_id"].as_i64()),
        (Some("succeeded"), plan.rsplit('/').next().and_then(|id| id.parse().ok()))
    );
    assert!(visitor.page(&restore).contains("written and read back"));
    let own = restore.replace("/restore/", "/runs/");
    assert_eq!(visitor.led(&format!("{own}/retry"), &[]), own, "what writes is planned again first");
    let group = [("code", "graph.conflict"), ("type", "assignments.restore"), ("workspace_id", "1")];
    assert_eq!(visitor.led("/failures/retry", &group), "/failures", "and never together with others");
    let runs = scene.get("/api/v1/runs?type=assignments.restore")["items"].as_array().map(Vec::len);
    assert_eq!((world.writes_of(SINGLE_TENANT).len(), runs), (1, Some(2)));
    let undo = visitor.led(&format!("{restore}/undo"), &[]);
    visitor.ended(&undo);
    assert!(visitor.page(&undo).contains("undo of"));
    let undone = visitor.led(&format!("{undo}/confirm"), &[]);
    assert_eq!(visitor.ended(&undone)["outcome"], "succeeded");
    let now = world.expected(SINGLE_TENANT)[&(TYPE.to_owned(), policy)].clone();
    assert_eq!(now[0]["target"]["groupId"].as_str(), Some(groups[1].as_str()), "{now:?}");
}

#[test]
fn what_widens_is_written_only_once_it_is_allowed() {
    let scene = Scene::new();
    let world = scene.sandbox.state();
    let groups = world.group_ids(SINGLE_TENANT);
    let policy = world.add_policy(SINGLE_TENANT, TYPE, Some("Everybody"), vec![to_all_devices()]);
    let policy = policy.expect("the type is known");
    let snapshot = scene.fetch(json!({})).to_string();
    world.set_assignments(SINGLE_TENANT, TYPE, &policy, vec![to_group(&groups[0])]).expect("it exists");
    let visitor = Visitor::new(&scene, Role::Operator, None);
    let fields =
        [("snapshot", snapshot.as_str()), ("scope", "some"), ("policy", policy.as_str()), ("mode", "exact")];
    let plan = visitor.led("/restore/plan", &fields);
    visitor.ended(&plan);
    let last_look = visitor.page(&format!("{plan}/confirm"));
    assert!(
        last_look.contains("Groups would become everybody") && last_look.contains("allow_widening"),
        "{last_look}"
    );
    let back = visitor.led(&format!("{plan}/confirm"), &[]);
    assert_eq!(back, format!("{plan}/confirm"), "without a tick nothing is started");
    assert_eq!(world.writes_of(SINGLE_TENANT).len(), 0);
    let restore = visitor.led(&format!("{plan}/confirm"), &[("allow_widening", "yes")]);
    assert_eq!(visitor.ended(&restore)["outcome"], "succeeded");
    assert_eq!(world.writes_of(SINGLE_TENANT).len(), 1);
}

#[test]
fn groups_have_their_names_where_the_application_may_look_them_up() {
    let scene = Scene::new();
    let snapshot = scene.fetch(json!({}));
    let visitor = Visitor::new(&scene, Role::Viewer, None);
    let text = visitor.page(&format!("/snapshots/{snapshot}"));
    assert!(text.contains("class=\"name\""), "no group has a name: {text}");
    let policies = visitor.page(&format!("/tenants/{}/policies?type={TYPE}", scene.tenant));
    assert!(policies.contains("group"), "{policies}");
}

#[test]
fn a_snapshot_is_compared_with_the_tenant_as_it_is() {
    let scene = Scene::new();
    let world = scene.sandbox.state();
    let groups = world.group_ids(SINGLE_TENANT);
    let policy =
        world.add_policy(SINGLE_TENANT, TYPE, Some("Moved"), vec![to_group(&groups[0])]).expect("known");
    // Of one policy: the comparison reads all of its type, which is another request.
    let snapshot = scene.fetch(json!({"policy_ids": [policy]}));
    world.set_assignments(SINGLE_TENANT, TYPE, &policy, vec![to_group(&groups[1])]).expect("it exists");
    let visitor = Visitor::new(&scene, Role::Operator, None);
    let drift = visitor.led(&format!("/snapshots/{snapshot}/drift"), &[]);
    visitor.ended(&drift);
    let reply = visitor.get(&drift);
    reply.assert_status(303);
    let to = reply.headers["location"].to_str().expect("ASCII").to_owned();
    let text = visitor.page(&to);
    assert!(text.contains("1 policy differs") && text.contains("Moved"), "{text}");
}

#[test]
fn a_schedule_is_added_paused_and_removed_by_forms() {
    let (scene, _, _) = scene();
    let operator = Visitor::new(&scene, Role::Operator, None);
    let tenant = scene.tenant.to_string();
    let fields = [
        ("name", "nightly"),
        ("tenant_id", tenant.as_str()),
        ("cron", "0+3+*+*+*"),
        ("timezone", "Europe/Berlin"),
    ];
    assert_eq!(operator.led("/schedules", &fields), "/schedules");
    let text = operator.page("/schedules");
    assert!(
        text.contains("nightly") && text.contains("Europe/Berlin") && text.contains("Contoso Test"),
        "{text}"
    );
    let id = scene.get("/api/v1/schedules")["items"][0]["id"].to_string();
    operator.led(&format!("/schedules/{id}/pause"), &[]);
    assert!(operator.page("/schedules").contains("paused"));
    operator.led(&format!("/schedules/{id}/remove"), &[]);
    assert!(operator.page("/schedules").contains("No schedules"));
    assert_eq!(operator.post("/schedules", &[("name", "x"), ("cron", "never")]).status, 422);
    // What was changed is in the audit, for who may see it.
    let admin = Visitor::new(&scene, Role::Admin, None);
    assert!(admin.page("/audit?action=schedule.added&actor=").contains("schedule.added"));
    assert!(admin.page("/audit?actor=nobody").contains("No such lines"));
    assert_eq!(operator.get("/audit").status, 403);
}
