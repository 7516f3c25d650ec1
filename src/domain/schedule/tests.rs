use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_nickname_that_is_none_is_named_whole() {
    let told = Timetable::parse("@reboot", "UTC").expect_err("cron runs nothing at a start").to_string();
    assert!(told.ends_with("found \"@reboot\""), "{told}");
    assert_eq!(crate::domain::failure::sanitise(&told), told);
}

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).expect("a time").to_utc().into()
}

fn table(cron: &str, zone: &str) -> Timetable {
    Timetable::parse(cron, zone).expect("a timetable")
}

/// The next times after `after`, as UTC.
fn upcoming(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let times = table(cron, zone).upcoming(at(after), count);
    times.iter().map(|time| time.to_utc().format("%m-%dT%H:%M").to_string()).collect()
}

// --- where clocks are changed ----------------------------------------------------------------------------------------

#[test]
fn a_skipped_time_runs_once_right_after_the_gap() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
    assert_eq!(
        upcoming("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["03-29T01:00", "03-30T00:30"]
    );
    // New York, 2026-03-08: 02:00 becomes 03:00, at 07:00 UTC.
    assert_eq!(
        upcoming("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2),
        ["03-08T07:00", "03-09T06:30"]
    );
    // Lord Howe, 2026-10-04: 02:00 becomes 02:30, at 15:30 UTC of the day before.
    assert_eq!(
        upcoming("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
        ["10-03T15:30", "10-04T15:15"]
    );
    // Casablanca, 2026-03-22, the end of Ramadan: 02:00 becomes 03:00, at 02:00 UTC.
    assert_eq!(
        upcoming("30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00:00Z", 2),
        ["03-22T02:00", "03-23T01:30"]
    );
}

#[test]
fn several_times_in_one_gap_run_once() {
    let times = upcoming("*/20 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4);
    assert_eq!(times, ["03-29T01:00", "03-29T01:20", "03-29T01:40", "03-30T00:00"]);
}

#[test]
fn a_gap_over_midnight_runs_on_the_other_side_of_it() {
    // Nuuk, 2026-03-28, a Saturday: 23:00 becomes Sunday 00:00, at 01:00 UTC of Sunday.
    assert_eq!(upcoming("30 23 * * 6", "America/Nuuk", "2026-03-28T12:00:00Z", 1), ["03-29T01:00"]);
    // Cairo, 2026-04-24: midnight becomes 01:00, at 22:00 UTC of the day before.
    assert_eq!(upcoming("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 1), ["04-23T22:00"]);
}

#[test]
fn a_doubled_time_runs_once_the_first_time() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC.
    assert_eq!(
        upcoming("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["10-25T00:30", "10-26T01:30"]
    );
    // New York, 2026-11-01: 02:00 becomes 01:00, at 06:00 UTC.
    assert_eq!(
        upcoming("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
        ["11-01T05:30", "11-02T06:30"]
    );
    // Lord Howe, 2026-04-05: 02:00 becomes 01:30, at 15:00 UTC of the day before.
    assert_eq!(
        upcoming("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
        ["04-04T14:45", "04-05T15:15"]
    );
    // Casablanca, 2026-02-15, the beginning of Ramadan: 03:00 becomes 02:00, at 02:00 UTC.
    assert_eq!(
        upcoming("30 2 * * *", "Africa/Casablanca", "2026-02-14T12:00:00Z", 2),
        ["02-15T01:30", "02-16T02:30"]
    );
    // Between its two showings the time is over.
    assert_eq!(upcoming("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", 1), ["10-26T01:30"]);
}

#[test]
fn each_hour_means_each_hour_that_goes_by() {
    assert_eq!(
        upcoming("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4),
        ["10-25T00:00", "10-25T01:00", "10-25T02:00", "10-25T03:00"]
    );
    assert_eq!(
        upcoming("0 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 2),
        ["03-29T01:00", "03-29T02:00"]
    );
    // The half hour that Lord Howe repeats has its quarters twice, and no gap between them.
    assert_eq!(
        upcoming("*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:29:00Z", 5),
        ["04-04T14:30", "04-04T14:45", "04-04T15:00", "04-04T15:15", "04-04T15:30"]
    );
}

#[test]
fn zones_without_clock_changes_and_of_odd_offsets_are_plain() {
    assert_eq!(
        upcoming("0 6 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", 2),
        ["01-01T00:15", "01-02T00:15"]
    );
    assert_eq!(upcoming("@daily", "UTC", "2026-01-01T00:00:00Z", 2), ["01-02T00:00", "01-03T00:00"]);
}

// --- expressions -----------------------------------------------------------------------------------------------------

#[test]
fn what_is_wrong_in_an_expression_is_told_by_field() {
    for (cron, told) in [
        ("* * * *", "expected five fields (minute, hour, day of month, month, day of week), found 4"),
        ("0 0 3 * * *", "found 6"),
        ("", "found 0"),
        ("60 * * * *", "field 1 (minute): expected 0-59"),
        ("0 25 * * *", "field 2 (hour): expected 0-23, lists, ranges or steps of it, found `25`"),
        ("0 3 0 * *", "field 3 (day of month)"),
        ("0 3 * 13 *", "field 4 (month)"),
        ("0 3 * * 8", "field 5 (day of week)"),
        ("0 3 * * someday", "field 5 (day of week)"),
        ("a b c d e", "field 1 (minute)"),
        ("0 0 30 2 *", "which never does"),
        ("@often", "or one of @hourly, "),
        (&"1,".repeat(200), "at most 200 characters"),
    ] {
        let error = Timetable::parse(cron, "UTC").expect_err(cron);
        assert_eq!(error.field, "cron");
        assert!(error.problem.contains(told), "{cron}: {}", error.problem);
    }
}

#[test]
fn names_lists_ranges_steps_and_nicknames_are_understood() {
    assert_eq!(upcoming("0 3 * * mon-fri", "UTC", "2026-11-27T12:00:00Z", 1), ["11-30T03:00"]);
    assert_eq!(
        upcoming("5,35 8-9 1 jan *", "UTC", "2026-11-27T12:00:00Z", 3),
        ["01-01T08:05", "01-01T08:35", "01-01T09:05"]
    );
    assert_eq!(upcoming("0 0 L * *", "UTC", "2026-02-01T00:00:00Z", 1), ["02-28T00:00"]);
    assert_eq!(upcoming("0 4 29 2 *", "UTC", "2026-03-01T00:00:00Z", 1), ["02-29T04:00"]);
    assert_eq!(upcoming("@Weekly", "UTC", "2026-11-27T12:00:00Z", 1), ["11-29T00:00"]);
}

#[test]
fn a_zone_that_is_none_is_told_with_what_was_meant() {
    for (zone, told) in [
        ("Berlin", "did you mean Europe/Berlin?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("new york", "did you mean America/New_York?"),
        ("Middle/Earth", "such as Europe/Berlin or UTC, found `Middle/Earth`"),
        ("", "found ``"),
    ] {
        let error = Timetable::parse("@daily", zone).expect_err(zone);
        assert_eq!(error.field, "timezone");
        assert!(error.problem.contains(told), "{zone}: {}", error.problem);
    }
}

// --- occurrences -----------------------------------------------------------------------------------------------------

#[test]
fn what_was_missed_comes_to_one_catch_up() {
    let nightly = table("0 3 * * *", "UTC");
    let next_at = at("2026-11-20T03:00:00Z");
    assert_eq!(occurrence(&nightly, next_at, at("2026-11-20T02:59:59Z")), None);
    let in_time = occurrence(&nightly, next_at, next_at).expect("due");
    assert_eq!(
        (in_time.at, in_time.catch_up, in_time.next),
        (next_at, false, Some(at("2026-11-21T03:00:00Z")))
    );
    let a_week_late = occurrence(&nightly, next_at, at("2026-11-27T12:00:00Z")).expect("due");
    assert_eq!((a_week_late.at, a_week_late.catch_up), (next_at, true));
    assert_eq!(a_week_late.next, Some(at("2026-11-28T03:00:00Z")), "the six others are not made up for");
}

#[test]
fn a_catch_up_is_spread_from_now_on() {
    let due = Occurrence { at: at("2026-11-20T03:00:00Z"), catch_up: true, next: None };
    let now = at("2026-11-27T12:00:00Z");
    let jitter = Duration::from_secs(600);
    let when = ask_at(ScheduleId(1), Some(TenantId(1)), &due, jitter, now);
    assert!(when >= now && when <= now + jitter);
}

#[test]
fn a_thousand_tenants_are_spread_over_the_jitter() {
    let due = Occurrence { at: at("2026-11-20T03:00:00Z"), catch_up: false, next: None };
    let jitter = Duration::from_secs(1000);
    let mut per_tenth = [0; 10];
    for tenant in 1..=1000 {
        let when = ask_at(ScheduleId(7), Some(TenantId(tenant)), &due, jitter, due.at);
        let tenth = (when - due.at).num_seconds() / 100;
        per_tenth[usize::try_from(tenth.min(9)).expect("positive")] += 1;
    }
    assert!(per_tenth.iter().all(|count| (60..=140).contains(count)), "{per_tenth:?}");
}

// --- what may be asked for -------------------------------------------------------------------------------------------

#[test]
fn a_restore_that_writes_is_no_schedule() {
    let told = |operation, has_tenant, raw| {
        inputs(operation, has_tenant, &raw).map_err(|error| (error.field, error.problem))
    };
    let (field, problem) = told(Operation::Restore, true, json!({"snapshot_id": 1})).expect_err("it writes");
    assert_eq!(field, "inputs.dry_run");
    assert!(problem.contains("writes no assignments"), "{problem}");
    assert!(told(Operation::Restore, true, json!({"snapshot_id": 1, "dry_run": true})).is_ok());
    let without = told(Operation::Restore, false, json!({"snapshot_id": 1, "dry_run": true}));
    assert_eq!(without.expect_err("of which tenant?").0, "tenant");
    assert_eq!(told(Operation::Reconcile, true, json!({})).expect_err("of a workspace").0, "tenant");
    assert!(told(Operation::Reconcile, false, json!(null)).is_ok());
    assert!(told(Operation::Fetch, false, json!(null)).is_ok());
    let unknown = told(Operation::Fetch, true, json!({"policy_types": ["nonsense"]}));
    assert!(unknown.expect_err("no such type").0.starts_with("inputs.policy_types"));
}

#[test]
fn names_and_jitters_have_limits() {
    for good in ["nightly", "a", "drift-check_2.0"] {
        assert_eq!(check_name(good), Ok(()));
    }
    for wrong in ["", "two words", "ü", "a/b", &"x".repeat(101)] {
        assert_eq!(check_name(wrong).expect_err(wrong).field, "name");
    }
    assert!(check_jitter("jitter_s", JITTER_MAX).is_ok());
    assert!(check_jitter("jitter_s", JITTER_MAX + Duration::from_secs(1)).is_err());
}

// --- properties ------------------------------------------------------------------------------------------------------

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Nuuk",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Pacific/Chatham",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_daily_time_comes_once_each_local_day(
        zone in prop::sample::select(&ZONES[..]), minute in 0..60_u32, hour in 0..24_u32, day in 0..3000_i64,
    ) {
        let table = table(&format!("{minute} {hour} * * *"), zone);
        let start = at("2020-01-01T00:00:00Z") + chrono::Duration::days(day);
        let times = table.upcoming(start, 30);
        prop_assert_eq!(times.len(), 30);
        for pair in times.windows(2) {
            let apart = (pair[1] - pair[0]).num_minutes();
            prop_assert!((22 * 60..=26 * 60).contains(&apart), "{zone}: {} then {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn an_hourly_time_comes_each_hour_or_with_the_half_hour_of_a_change(
        zone in prop::sample::select(&ZONES[..]), minute in 0..60_u32, day in 0..3000_i64,
    ) {
        let table = table(&format!("{minute} * * * *"), zone);
        let start = at("2020-01-01T00:00:00Z") + chrono::Duration::days(day);
        for pair in table.upcoming(start, 30).windows(2) {
            let apart = (pair[1] - pair[0]).num_minutes();
            prop_assert!((30..=90).contains(&apart), "{zone}: {} then {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn the_next_time_does_not_depend_on_from_where_it_is_looked_for(
        zone in prop::sample::select(&ZONES[..]),
        cron in prop::sample::select(&["30 2 * * *", "*/7 * * * *", "0 */3 * * *", "15 1 * * 0", "0 0 1 * *"][..]),
        minute in 0..4_000_000_i64, part in 0.0..1.0_f64,
    ) {
        let table = table(cron, zone);
        let from = at("2020-01-01T00:00:00Z") + chrono::Duration::minutes(minute);
        let next = table.next_after(from).expect("there is always one");
        prop_assert!(next > from);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any point between will do")]
        let between = from + chrono::Duration::microseconds(((next - from).num_microseconds().unwrap() as f64 * part) as i64);
        if between < next {
            prop_assert_eq!(table.next_after(between), Some(next));
        }
    }

    #[test]
    fn an_occurrence_is_due_once_and_its_next_lies_ahead(
        zone in prop::sample::select(&ZONES[..]), late_minutes in 0..100_000_i64,
    ) {
        let table = table("20 4 * * 1,4", zone);
        let next_at = table.next_after(at("2026-01-01T00:00:00Z")).expect("a time");
        let now = next_at + chrono::Duration::minutes(late_minutes);
        let due = occurrence(&table, next_at, now).expect("it is time");
        let next = due.next.expect("a time");
        prop_assert!(next > now);
        prop_assert_eq!(occurrence(&table, next, now), None, "there is exactly one catch-up");
        prop_assert_eq!(due.catch_up, late_minutes > 1);
    }

    #[test]
    fn a_jitter_stays_within_its_bounds_and_is_always_the_same(
        schedule in 1..1_000_i64, tenant in prop::option::of(1..1_000_i64), jitter_s in 0..200_000_u64,
        late in any::<bool>(), minutes in 0..100_000_i64,
    ) {
        let now = at("2026-11-20T03:00:30Z");
        let due = Occurrence { at: now - chrono::Duration::minutes(minutes), catch_up: late, next: None };
        let jitter = Duration::from_secs(jitter_s);
        let when = ask_at(ScheduleId(schedule), tenant.map(TenantId), &due, jitter, now);
        let from = if late { now } else { due.at };
        prop_assert!(when >= from && when <= from + jitter.min(JITTER_MAX));
        prop_assert_eq!(when, ask_at(ScheduleId(schedule), tenant.map(TenantId), &due, jitter, now));
    }

    #[test]
    fn no_text_makes_the_parser_panic(cron in "\\PC{0,40}", fields in "[-0-9*/,LW#?A-Za-z +]{0,40}", zone in "\\PC{0,20}") {
        let _ = Timetable::parse(&cron, &zone);
        let _ = Timetable::parse(&fields, "UTC").map(|table| table.upcoming(at("2026-01-01T00:00:00Z"), 3));
    }
}
