//! Times: how long ago, in how long, how long it took. The whole time stands in the tooltip and, for programs, in the
//! element; the script lets what is relative go on.

use chrono::Duration;
use maud::{Markup, html};

use crate::clock::Instant;

/// A point in time as people read it, UTC.
fn words(at: Instant) -> String {
    at.to_utc().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The time itself.
pub fn at(at: Instant) -> Markup {
    html! { time datetime=(at) title=(words(at)) { (words(at)) } }
}

/// The time of day, for what lies near.
pub fn clock(at: Instant) -> Markup {
    html! { time datetime=(at) title=(words(at)) { (at.to_utc().format("%H:%M:%S UTC").to_string()) } }
}

/// How long ago, or in how long.
pub fn relative(at: Instant, now: Instant) -> Markup {
    html! { time datetime=(at) title=(words(at)) data-rel="ago" { (relative_words(at, now)) } }
}

/// The time itself, and how long ago that is: where one decides by it.
pub fn dated(when: Instant, now: Instant) -> Markup {
    html! { (at(when)) " " span.muted { "(" (relative(when, now)) ")" } }
}

/// The time itself to the minute, and below it how long ago that is: for a column that says that its times are UTC.
pub fn in_a_column(when: Instant, now: Instant) -> Markup {
    html! {
        time.nowrap datetime=(when) title=(words(when)) { (when.to_utc().format("%Y-%m-%d %H:%M").to_string()) }
        div.muted.small { (relative(when, now)) }
    }
}

/// How long since, for what has not ended.
pub fn running_since(at: Instant, now: Instant) -> Markup {
    html! { time datetime=(at) title={ "since " (words(at)) } data-rel="for" { (span(now - at)) } }
}

/// [`relative`] as text.
pub fn relative_words(at: Instant, now: Instant) -> String {
    let since = now - at;
    if since < Duration::zero() {
        format!("in {}", span(at - now))
    } else if since < Duration::seconds(2) {
        "just now".to_owned()
    } else {
        format!("{} ago", span(since))
    }
}

/// A length of time in its two largest units at the most; below a minute exact enough to compare runs.
pub fn span(length: Duration) -> String {
    let seconds = length.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", (seconds % 3600) / 60, "min"),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long something took, exactly.
pub fn took(length: Duration) -> String {
    let millis = length.num_milliseconds().max(0);
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{} s", millis / 1000, (millis % 1000) / 100),
        60_000..3_600_000 => two(millis / 60_000, "min", (millis % 60_000) / 1000, "s"),
        _ => two(millis / 3_600_000, "h", (millis % 3_600_000) / 60_000, "min"),
    }
}

fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{large} {large_unit}");
    }
    format!("{large} {large_unit} {small} {small_unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(seconds: i64) -> Instant {
        Instant::from_micros(1_700_000_000_000_000 + seconds * 1_000_000).unwrap()
    }

    #[test]
    fn times_are_told_from_now() {
        let now = instant(0);
        for (seconds, words) in [
            (0, "just now"),
            (-5, "5 s ago"),
            (-300, "5 min ago"),
            (-7200, "2 h ago"),
            (-7260, "2 h 1 min ago"),
            (-200_000, "2 d ago"),
            (90, "in 1 min"),
        ] {
            assert_eq!(relative_words(instant(seconds), now), words);
        }
    }

    #[test]
    fn what_took_long_is_told_less_exactly() {
        for (millis, words) in [
            (7, "7 ms"),
            (1_640, "1.6 s"),
            (61_000, "1 min 1 s"),
            (120_000, "2 min"),
            (5_400_000, "1 h 30 min"),
        ] {
            assert_eq!(took(Duration::milliseconds(millis)), words);
        }
    }

    #[test]
    fn the_whole_time_is_for_people_and_for_programs() {
        let text = relative(instant(-5), instant(0)).into_string();
        assert!(text.contains("datetime=\"2023-11-14T22:13:15.000000Z\""), "{text}");
        assert!(text.contains("title=\"2023-11-14 22:13:15 UTC\""), "{text}");
    }
}
