//! Schedules: their rows, and the requests of an occurrence from its beginning to their verdicts, on both engines.

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use atlasd::clock::Instant;
use atlasd::domain::operation::Operation;
use atlasd::domain::schedule::{Timetable, occurrence};
use atlasd::ids::{RunId, TenantId};
use atlasd::store::{
    Ask, AskEnd, AskVerdict, NewSchedule, PageRequest, Schedule, ScheduleAdded, ScheduleChange,
    ScheduleSource, SchedulesConfigured, StoreError,
};
use serde_json::json;
use support::*;

const HOLD: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn hourly(lab: &Lab, name: &str, source: ScheduleSource) -> NewSchedule {
    NewSchedule {
        workspace_id: lab.workspace,
        tenant_id: None,
        name: name.to_owned(),
        source,
        operation: Operation::Fetch,
        inputs: json!({"policy_types": null, "policy_ids": null}),
        cron: "@hourly".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        jitter: Duration::ZERO,
        enabled: true,
        created_by: "test".to_owned(),
    }
}

async fn add(lab: &Lab, new: NewSchedule) -> Schedule {
    match lab.store.add_schedule(new, 100).await.expect("it can be added") {
        ScheduleAdded::Added(schedule) => *schedule,
        ScheduleAdded::Full => panic!("there is room"),
    }
}

async fn shown(lab: &Lab, schedule: &Schedule) -> Schedule {
    lab.store.schedule(schedule.id).await.expect("it can be read").expect("it is there")
}

/// Begins what is due; how many requests, `None` where another was first.
async fn begin(lab: &Lab, schedule: &Schedule, now: Instant) -> Option<usize> {
    let table = Timetable::parse(&schedule.cron, &schedule.timezone).expect("a timetable");
    let due = occurrence(&table, schedule.next_at.expect("a next time"), now).expect("it is due");
    lab.store.begin_occurrence(schedule, due, now).await.expect("it can be begun")
}

async fn take(lab: &Lab) -> Vec<Ask> {
    lab.store.take_asks(100, HOLD).await.expect("requests can be taken")
}

fn end(ask: &Ask, verdict: AskVerdict, run: i64) -> AskEnd {
    AskEnd { ask: ask.id, schedule: ask.schedule, verdict, run_id: Some(RunId(run)), problem: None }
}

fn whole() -> PageRequest {
    PageRequest { limit: 10, cursor: None }
}

on_each_engine! {
    async fn a_schedule_is_added_once_per_workspace_and_shown_as_it_is(lab: &Lab) {
        let mut new = hourly(lab, "nightly", ScheduleSource::Api);
        new.tenant_id = Some(lab.tenant());
        new.jitter = Duration::from_secs(90);
        let added = add(lab, new.clone()).await;
        assert_eq!(shown(lab, &added).await, added);
        assert_eq!((added.workspace_slug.as_str(), added.tenant_name.as_deref()), ("contoso", Some("one")));
        assert_eq!((added.jitter_s, added.pending, added.last.verdict), (90, 0, None));
        let now = lab.store.now().await.unwrap();
        assert!(added.next_at.is_some_and(|next| next > now && next <= now + HOUR));
        assert!(matches!(lab.store.add_schedule(new, 100).await, Err(StoreError::Duplicate { .. })));
        let full = lab.store.add_schedule(hourly(lab, "more", ScheduleSource::Api), 1).await;
        assert!(matches!(full, Ok(ScheduleAdded::Full)));
        assert_eq!(lab.store.schedules(Some(lab.workspace), whole()).await.unwrap().items, [added]);
    }

    async fn an_occurrence_is_begun_by_one_and_asks_for_each_tenant_there_is(lab: &Lab) {
        let schedule = add(lab, hourly(lab, "hourly", ScheduleSource::Api)).await;
        assert!(lab.store.due_schedules(10).await.unwrap().1.is_empty());
        let late = lab.store.add_tenant(tenant_of(lab.workspace, "added later")).await.unwrap().id;
        let other = lab.store.add_workspace("other", "Other").await.unwrap().id;
        lab.store.add_tenant(tenant_of(other, "foreign")).await.unwrap();
        lab.advance(HOUR);
        let (now, due) = lab.store.due_schedules(10).await.unwrap();
        assert_eq!(due, std::slice::from_ref(&schedule));
        let both = tokio::join!(begin(lab, &schedule, now), begin(lab, &schedule, now));
        let mut both = [both.0, both.1];
        both.sort();
        assert_eq!(both, [None, Some(4)], "one of two instances begins it");
        assert!(lab.store.due_schedules(10).await.unwrap().1.is_empty());
        let asks = take(lab).await;
        let mut tenants = lab.tenants.clone();
        tenants.push(late);
        assert_eq!(asks.iter().filter_map(|ask| ask.tenant_id).collect::<Vec<TenantId>>(), tenants);
        assert!(asks.iter().all(|ask| Some(ask.occurrence_at) == schedule.next_at && ask.name == "hourly"));
        assert_eq!(shown(lab, &schedule).await.pending, 4);
    }

    async fn a_request_is_held_by_one_until_its_verdict_or_until_the_hold_is_over(lab: &Lab) {
        let schedule = add(lab, hourly(lab, "hourly", ScheduleSource::Api)).await;
        lab.advance(HOUR);
        let now = lab.store.now().await.unwrap();
        assert_eq!(begin(lab, &schedule, now).await, Some(3));
        let (some, others) = tokio::join!(lab.store.take_asks(2, HOLD), lab.store.take_asks(2, HOLD));
        let mut ids: Vec<_> = some.unwrap().into_iter().chain(others.unwrap()).map(|ask| ask.id).collect();
        ids.extend(take(lab).await.into_iter().map(|ask| ask.id));
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!((count, ids.len()), (3, 3), "each is taken by one");
        lab.advance(HOLD + Duration::from_secs(1));
        let again = take(lab).await;
        assert_eq!(again.len(), 3, "their holder has died");
        let ends = vec![
            end(&again[0], AskVerdict::Accepted, 7),
            end(&again[1], AskVerdict::Active, 8),
            AskEnd { problem: Some("no such snapshot".to_owned()), run_id: None, ..end(&again[2], AskVerdict::Failed, 0) },
        ];
        lab.store.end_asks(ends.clone()).await.unwrap();
        lab.store.end_asks(ends).await.unwrap();
        let last = shown(lab, &schedule).await.last;
        assert_eq!((last.accepted, last.active, last.cooldown, last.failed), (1, 1, 0, 1), "counted once");
        assert_eq!((last.verdict, last.run_id), (Some(AskVerdict::Failed), Some(RunId(8))));
        assert_eq!(last.problem.as_deref(), Some("no such snapshot"));
        assert_eq!(last.occurrence_at, schedule.next_at);
        assert!(take(lab).await.is_empty());
    }

    async fn a_request_without_a_verdict_is_made_again_after_a_while(lab: &Lab) {
        let schedule = add(lab, hourly(lab, "hourly", ScheduleSource::Api)).await;
        lab.advance(HOUR);
        let now = lab.store.now().await.unwrap();
        begin(lab, &schedule, now).await;
        let ids = take(lab).await.into_iter().map(|ask| ask.id).collect();
        lab.store.give_asks_back(ids, Duration::from_secs(5)).await.unwrap();
        assert!(take(lab).await.is_empty());
        lab.advance(Duration::from_secs(6));
        assert_eq!(take(lab).await.len(), 3);
    }

    async fn what_is_about_to_be_asked_for_is_asked_for_once(lab: &Lab) {
        let schedule = add(lab, hourly(lab, "hourly", ScheduleSource::Api)).await;
        lab.advance(HOUR);
        let now = lab.store.now().await.unwrap();
        begin(lab, &schedule, now).await;
        lab.advance(HOUR);
        let schedule = shown(lab, &schedule).await;
        let now = lab.store.now().await.unwrap();
        begin(lab, &schedule, now).await;
        assert_eq!(take(lab).await.len(), 3);
    }

    async fn requests_are_spread_over_the_jitter(lab: &Lab) {
        let mut new = hourly(lab, "hourly", ScheduleSource::Api);
        new.jitter = Duration::from_secs(24 * 3600);
        let schedule = add(lab, new).await;
        lab.advance(HOUR);
        let now = lab.store.now().await.unwrap();
        assert_eq!(begin(lab, &schedule, now).await, Some(3));
        let early = take(lab).await.len();
        lab.advance(Duration::from_secs(24 * 3600));
        assert!(early < 3, "they are not all due at once");
        assert_eq!(early + take(lab).await.len(), 3);
    }

    async fn a_pause_is_not_made_up_for(lab: &Lab) {
        let schedule = add(lab, hourly(lab, "hourly", ScheduleSource::Api)).await;
        lab.advance(HOUR);
        let now = lab.store.now().await.unwrap();
        begin(lab, &schedule, now).await;
        let change = |enabled| ScheduleChange { enabled: Some(enabled), ..ScheduleChange::default() };
        let paused = lab.store.change_schedule(schedule.id, change(false)).await.unwrap().expect("it is there");
        assert_eq!((paused.next_at, paused.pending), (None, 0));
        assert!(take(lab).await.is_empty());
        lab.advance(HOUR * 5);
        let resumed = lab.store.change_schedule(schedule.id, change(true)).await.unwrap().expect("it is there");
        assert!(resumed.next_at > Some(lab.store.now().await.unwrap()));
        let renamed = ScheduleChange { name: Some("other".to_owned()), ..ScheduleChange::default() };
        let renamed = lab.store.change_schedule(schedule.id, renamed).await.unwrap().expect("it is there");
        assert_eq!((renamed.name.as_str(), renamed.next_at), ("other", resumed.next_at), "the rest stays");
        assert!(lab.store.remove_schedule(schedule.id).await.unwrap());
        assert!(!lab.store.remove_schedule(schedule.id).await.unwrap());
    }

    async fn the_ledger_has_what_the_configuration_says(lab: &Lab) {
        let config = |name| hourly(lab, name, ScheduleSource::Config);
        add(lab, hourly(lab, "mine", ScheduleSource::Api)).await;
        let done = lab.store.configure_schedules(vec![config("a"), config("b"), config("mine")]).await.unwrap();
        assert_eq!((done.added, done.taken), (vec!["a".to_owned(), "b".to_owned()], vec!["mine".to_owned()]));
        let before = lab.store.schedules(None, whole()).await.unwrap().items;
        lab.advance(HOUR * 3);
        let again = lab.store.configure_schedules(vec![config("a"), config("b"), config("mine")]).await.unwrap();
        assert_eq!(again, SchedulesConfigured { taken: vec!["mine".to_owned()], ..SchedulesConfigured::default() });
        let after = lab.store.schedules(None, whole()).await.unwrap().items;
        assert_eq!(before, after, "what was missed meanwhile is still due");
        let id_of = |name: &str| after.iter().find(|one| one.name == name).expect("it is there").id;
        let change = ScheduleChange { enabled: Some(false), ..ScheduleChange::default() };
        assert!(lab.store.change_schedule(id_of("a"), change).await.unwrap().is_none(), "read-only");
        assert!(!lab.store.remove_schedule(id_of("a")).await.unwrap());
        let mut changed = config("a");
        changed.cron = "0 3 * * *".to_owned();
        let done = lab.store.configure_schedules(vec![changed]).await.unwrap();
        assert_eq!((done.changed, done.removed), (vec!["a".to_owned()], vec!["b".to_owned()]));
        let left = lab.store.schedules(None, whole()).await.unwrap().items;
        let a = left.iter().find(|one| one.name == "a").expect("it is there");
        assert!(a.id == id_of("a") && a.next_at > Some(lab.store.now().await.unwrap()), "a new time counts from now");
        let names: Vec<&str> = left.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["mine", "a"]);
    }

    async fn two_instances_that_start_together_agree(lab: &Lab) {
        let wanted = || vec![hourly(lab, "a", ScheduleSource::Config), hourly(lab, "b", ScheduleSource::Config)];
        let (one, other) =
            tokio::join!(lab.store.configure_schedules(wanted()), lab.store.configure_schedules(wanted()));
        let mut added = [one.unwrap().added.len(), other.unwrap().added.len()];
        added.sort();
        assert_eq!(added, [0, 2]);
    }

    async fn the_database_refuses_what_no_schedule_is(lab: &Lab) {
        let schedule = add(lab, hourly(lab, "hourly", ScheduleSource::Api)).await;
        for (constraint, change) in [
            ("source_known", "source = 'elsewhere'"),
            ("type_known", "type = 'assignments.destroy'"),
            ("scope_of_type", "type = 'assignments.restore'"),
            ("jitter_within_a_day", "jitter_s = 86401"),
            ("jitter_within_a_day", "jitter_s = -1"),
            ("next_while_enabled", "enabled = FALSE"),
            ("verdict_known", "last_verdict = 'maybe'"),
        ] {
            let text = format!("UPDATE schedules SET {change} WHERE id = {}", schedule.id);
            let error = lab.database.execute(&text).expect_err(change);
            assert!(error.contains(constraint), "{change}: {error}");
        }
        let foreign = format!("UPDATE schedules SET tenant_id = 9999 WHERE id = {}", schedule.id);
        lab.database.execute(&foreign).expect_err("no such tenant");
    }
}
