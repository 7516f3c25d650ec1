use std::sync::Arc;
use std::time::Duration;

use super::reader::{Drop, Turn};
use super::*;
use crate::config::Span;
use crate::ids::WorkspaceId;

fn events(change: impl FnOnce(&mut EventsConfig)) -> Events {
    let mut config = EventsConfig { buffer: 16, ..EventsConfig::default() };
    change(&mut config);
    Events::new(&config, InstanceId::fresh(), Clock::system(), Metrics::new())
}

fn everything(events: &Events) -> Reader {
    events.subscribe(Filter::default(), None).unwrap()
}

/// What a reader gets at once: the runs of its next events.
async fn runs(reader: &mut Reader) -> Vec<i64> {
    match reader.next().await {
        Turn::Events(events) => events.iter().map(|event| event.news.subject.run_id.0).collect(),
        other => panic!("expected events, got {other:?}"),
    }
}

fn tell(events: &Events, runs: std::ops::RangeInclusive<i64>) {
    runs.for_each(|id| events.run(&samples::run(id)));
    events.wake_readers();
}

#[tokio::test]
async fn a_reader_hears_what_comes_after_it_in_order() {
    let events = events(|_| {});
    tell(&events, 1..=2);
    let mut reader = everything(&events);
    tell(&events, 3..=5);
    assert_eq!(runs(&mut reader).await, [3, 4, 5]);
}

#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let events = events(|_| {});
    let mut reader = everything(&events);
    let waiting = tokio::spawn(async move { runs(&mut reader).await });
    tokio::task::yield_now().await;
    tell(&events, 1..=1);
    assert_eq!(waiting.await.unwrap(), [1]);
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_where_it_was() {
    let events = events(|_| {});
    tell(&events, 1..=5);
    let id = |seq: u64| format!("{}-{seq}", events.boot());
    // An attended stream: otherwise the refusals between would be missing.
    let mut reader = everything(&events);
    tell(&events, 6..=8);
    let mut back = events.subscribe(Filter::default(), Some(&id(6))).unwrap();
    assert_eq!(runs(&mut back).await, [7, 8]);
    assert_eq!(runs(&mut reader).await, [6, 7, 8]);
}

#[tokio::test]
async fn what_was_missed_is_said_and_what_is_there_follows() {
    let events = events(|_| {});
    let _reader = everything(&events);
    tell(&events, 1..=20);
    let boot = events.boot().to_owned();
    let cases = [
        (format!("{boot}-2"), Gap::TooOld, Some(5)),
        (format!("{}-9", "0".repeat(12)), Gap::Restarted, Some(5)),
        (format!("{boot}-21"), Gap::UnknownId, None),
        ("nonsense".to_owned(), Gap::UnknownId, None),
        (format!("{boot}--1"), Gap::UnknownId, None),
    ];
    for (last, gap, first) in cases {
        let mut back = events.subscribe(Filter::default(), Some(&last)).unwrap();
        assert!(matches!(back.next().await, Turn::Gap(told) if told == gap), "{last}");
        if let Some(first) = first {
            assert_eq!(runs(&mut back).await[0], first, "{last}");
        }
    }
}

#[tokio::test]
async fn a_pause_without_listeners_is_a_gap_of_what_was_not_recorded() {
    let events = events(|config| config.linger = Span(Duration::ZERO));
    tell(&events, 1..=3);
    let before = everything(&events);
    let last = format!("{}-3", events.boot());
    drop(before);
    events.rest();
    assert!(!events.is_attended());
    events.refused(&Verdict::Active(Arc::new(samples::run(1))), "a");
    tell(&events, 4..=4);
    let mut back = events.subscribe(Filter::default(), Some(&last)).unwrap();
    assert!(matches!(back.next().await, Turn::Gap(Gap::Unattended)));
    assert_eq!(runs(&mut back).await, [4]);
    events.flush();
    assert_eq!(events.inner.ring.read().unwrap().head(), 4, "the refusal was not recorded");
}

#[tokio::test]
async fn refusals_of_a_window_are_told_together() {
    let events = events(|_| {});
    let mut reader = everything(&events);
    for _ in 0..1000 {
        events.refused(&Verdict::Active(Arc::new(samples::run(9))), "a");
    }
    events.flush();
    events.wake_readers();
    let turn = reader.next().await;
    let text = reader.write(&turn);
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    assert!(text.contains("\"verdict\":\"active\",\"initiator_name\":\"a\",\"count\":1000"), "{text}");
}

#[tokio::test]
async fn filters_are_combined() {
    let events = events(|_| {});
    let foreign = Filter { workspace_id: Some(WorkspaceId(2)), ..Filter::default() };
    let of_run = Filter { run_id: Some(RunId(2)), names: Some(vec![Name::RunStarted]), ..Filter::default() };
    let mut foreign = events.subscribe(foreign, None).unwrap();
    let mut of_run = events.subscribe(of_run, None).unwrap();
    tell(&events, 1..=3);
    events.run(&samples::running_run(2, 1));
    events.run(&samples::running_run(3, 1));
    events.wake_readers();
    let turn = of_run.next().await;
    assert_eq!(of_run.write(&turn).matches("event: run.started").count(), 1);
    assert!(matches!(turn, Turn::Events(events) if events.len() == 1));
    events.close();
    assert!(matches!(foreign.next().await, Turn::Closed), "it hears of nothing but the end");
}

/// Where many listen, they are left to sleep for longer, but never until the buffer has passed them.
#[tokio::test]
async fn a_quarter_of_the_buffer_that_nobody_was_told_of_is_noticed_before_readers_are_overtaken() {
    use futures_util::FutureExt as _;
    let events = events(|config| config.buffer = 16);
    let _reader = everything(&events);
    (1..=3).for_each(|id| events.run(&samples::run(id)));
    assert_eq!(events.crowded().now_or_never(), None);
    events.run(&samples::run(4));
    assert_eq!(events.crowded().now_or_never(), Some(()));
    events.wake_readers();
    (5..=7).for_each(|id| events.run(&samples::run(id)));
    assert_eq!(events.crowded().now_or_never(), None, "they have been told of the others");
}

#[tokio::test]
async fn a_reader_that_falls_behind_the_buffer_loses_its_place_and_is_told_why() {
    let events = events(|_| {});
    let mut slow = everything(&events);
    tell(&events, 1..=17);
    assert_eq!(events.readers(), 0);
    let turn = slow.next().await;
    assert!(matches!(turn, Turn::Dropped(Drop::Slow)) && turn.is_last());
    assert!(slow.write(&turn).contains("\"event\":\"stream.dropped\",\"reason\":\"slow\""));
}

#[tokio::test]
async fn places_are_limited_and_come_back() {
    let events = events(|config| config.readers_max = 1);
    let first = everything(&events);
    let full = events.subscribe(Filter::default(), None).map(|_| ()).unwrap_err();
    assert_eq!(full, NoPlace::Full { readers_max: 1 });
    drop(first);
    drop(everything(&events));
}

#[tokio::test]
async fn a_quiet_reader_hears_a_heartbeat_that_moves_its_id() {
    let events = events(|config| config.heartbeat = Span(Duration::from_millis(10)));
    let other = Filter { run_id: Some(RunId(99)), ..Filter::default() };
    let mut reader = events.subscribe(other, None).unwrap();
    tell(&events, 1..=3);
    let turn = reader.next().await;
    assert!(matches!(turn, Turn::Quiet));
    assert_eq!(reader.write(&turn), format!(": still here\nid: {}-3\n\n", events.boot()));
}

#[tokio::test]
async fn a_closed_stream_tells_the_last_events_and_takes_nobody() {
    let events = events(|_| {});
    let mut reader = everything(&events);
    events.run(&samples::run(1));
    events.close();
    assert_eq!(runs(&mut reader).await, [1]);
    assert!(matches!(reader.next().await, Turn::Closed));
    assert_eq!(events.subscribe(Filter::default(), None).map(|_| ()).unwrap_err(), NoPlace::Closed);
}
