//! What a service asks a client to wait, in every form in which Graph says it: whole seconds, a decimal, an HTTP date,
//! a header of a batch item in any case, or a field of the JSON text that Intune puts into `error.message`.
//!
//! Anything else (negative, not a number, an exponent) is no answer, and the caller's own backoff decides.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::{Map, Value};

use crate::clock::Instant;

/// LIMIT: what is asked beyond a day is taken as a day; no caller waits that long, and sums of times stay calendar times.
const ASKED_MAX: Duration = Duration::from_secs(24 * 3600);

/// From an answer's headers.
pub(super) fn of_headers(headers: &HeaderMap, now: Instant) -> Option<Duration> {
    of_text(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// From a batch item's headers: names come in any case, values as texts or numbers.
pub(super) fn of_item(headers: &Map<String, Value>, now: Instant) -> Option<Duration> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    of_value(value, now)
}

/// From `error.message` when it is Intune's JSON text; nothing else of the message is looked at.
pub(super) fn of_intune_message(message: &str, now: Instant) -> Option<Duration> {
    let envelope: Value = serde_json::from_str(message).ok()?;
    of_value(envelope.get("RetryAfter")?, now)
}

fn of_value(value: &Value, now: Instant) -> Option<Duration> {
    match value {
        Value::String(text) => of_text(text, now),
        Value::Number(number) => of_text(&number.to_string(), now),
        _ => None,
    }
}

fn of_text(text: &str, now: Instant) -> Option<Duration> {
    let text = text.trim();
    let asked =
        if text.starts_with(|first: char| first.is_ascii_digit()) { seconds(text) } else { until(text, now) };
    asked.map(|asked| asked.min(ASKED_MAX))
}

fn seconds(text: &str) -> Option<Duration> {
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = decimal.then(|| text.parse().ok()).flatten()?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(ASKED_MAX))
}

fn until(date: &str, now: Instant) -> Option<Duration> {
    let date = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let now = Duration::from_micros(u64::try_from(now.micros()).ok()?);
    Some(date.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        // 1994-11-06T08:49:30Z
        Instant::from_micros(784_111_770_000_000).expect("a calendar time")
    }

    #[test]
    fn seconds_decimals_and_dates_are_understood() {
        for (text, millis) in [
            ("0", 0),
            ("10", 10_000),
            (" 2.128 ", 2128),
            ("0.249", 249),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 7000),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 7000),
            ("Sun Nov  6 08:49:37 1994", 7000),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ] {
            assert_eq!(of_text(text, now()), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn garbage_is_no_answer() {
        for text in ["", "-1", "-0.5", "soon", "NaN", "inf", "1e3", "1.2.3", "5s"] {
            assert_eq!(of_text(text, now()), None, "{text}");
        }
    }

    #[test]
    fn a_wait_without_end_is_a_day() {
        for text in ["86401", "99999999999", "99999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(of_text(text, now()), Some(ASKED_MAX), "{text}");
        }
    }

    #[test]
    fn a_batch_items_header_is_found_in_any_case() {
        for (name, value) in [("Retry-After", "0.249"), ("retry-after", "0.249"), ("RETRY-AFTER", "0.249")] {
            let headers = Map::from_iter([(name.to_owned(), Value::from(value))]);
            assert_eq!(of_item(&headers, now()), Some(Duration::from_millis(249)), "{name}");
        }
        let number = Map::from_iter([("Retry-after".to_owned(), Value::from(3))]);
        assert_eq!(of_item(&number, now()), Some(Duration::from_secs(3)));
        assert_eq!(of_item(&Map::from_iter([("Retry-After".to_owned(), Value::Null)]), now()), None);
    }

    #[test]
    fn intunes_message_may_hold_the_wait() {
        for (message, millis) in [
            (r#"{"_version":3,"Message":"…","RetryAfter":1.5}"#, Some(1500)),
            (r#"{"_version":3,"Message":"…","RetryAfter":"7"}"#, Some(7000)),
            (r#"{"_version":3,"Message":"…","RetryAfter":null}"#, None),
            (r#"{"_version":3}"#, None),
            ("Too many requests. RetryAfter: 7", None),
        ] {
            assert_eq!(of_intune_message(message, now()), millis.map(Duration::from_millis), "{message}");
        }
    }
}
