//! Runs over time: a bar per hour or day, what failed on top of what succeeded, hatched, for who tells no red from green.
//! The figures stand in a table below it, for who reads with the ears, and for who wants them exactly.

use maud::{Markup, html};

use super::figures;
use crate::clock::Instant;
use crate::store::Ended;

/// The drawing's size, in its own units.
const WIDTH: i64 = 720;
const HEIGHT: i64 = 168;
/// Room below the bars for the words.
const FOOT: i64 = 28;
/// Room above them for the largest figure.
const TOP: i64 = 22;
/// As many words as there is room for.
const NAMED_MAX: i64 = 8;

/// What one bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Bucket {
    const fn micros(self) -> i64 {
        match self {
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// The bucket of a time.
    pub fn of(self, at: Instant) -> i64 {
        at.micros().div_euclid(self.micros())
    }

    fn begin(self, bucket: i64) -> Option<Instant> {
        Instant::from_micros(bucket.checked_mul(self.micros())?)
    }

    fn label(self, bucket: i64) -> String {
        let format = match self {
            Self::Hour => "%H:%M",
            Self::Day => "%-d %b",
        };
        self.begin(bucket).map(|at| at.to_utc().format(format).to_string()).unwrap_or_default()
    }

    const fn every(self) -> &'static str {
        match self {
            Self::Hour => "by hour, UTC",
            Self::Day => "by day, UTC",
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Hour => "Hour (UTC)",
            Self::Day => "Day (UTC)",
        }
    }
}

/// Runs over time.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What one bar stands for.
    pub bucket: Bucket,
    /// A bar each, the oldest first, also where nothing ended.
    pub bars: Vec<Ended>,
}

impl Chart {
    /// The last `count` buckets until `now`, of what was counted.
    pub fn until(now: Instant, bucket: Bucket, count: i64, counted: &[Ended]) -> Self {
        let last = bucket.of(now);
        let bar = |at| {
            let found = counted.iter().find(|ended| ended.bucket == at);
            found.copied().unwrap_or(Ended { bucket: at, ..Ended::default() })
        };
        Self { bucket, bars: (last - count + 1..=last).map(bar).collect() }
    }

    fn sums(&self) -> (i64, i64) {
        self.bars.iter().fold((0, 0), |(good, bad), bar| (good + bar.succeeded, bad + bar.failed))
    }
}

impl maud::Render for Chart {
    fn render(&self) -> Markup {
        let most = self.bars.iter().map(|bar| bar.succeeded + bar.failed).max().unwrap_or(0);
        let (succeeded, failed) = self.sums();
        let told = format!("{succeeded} runs succeeded and {failed} failed");
        html! {
            div.chart {
                p.legend {
                    span.key.good {} "succeeded " strong { (figures::signed(succeeded)) }
                    span.key.bad {} "failed " strong { (figures::signed(failed)) }
                    span { (self.bucket.every()) }
                }
                svg.bars viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(told) {
                    (hatch())
                    (frame(most))
                    @for (index, bar) in self.bars.iter().enumerate() { (self.bar(index, *bar, most)) }
                }
                @if most > 0 {
                    details {
                        summary.small { "As a table" }
                        div.scroll { (self.table()) }
                    }
                }
            }
        }
    }
}

impl Chart {
    fn table(&self) -> Markup {
        html! {
            table.table {
                caption.hidden-visually { "Runs over time" }
                thead { tr { th scope="col" { (self.bucket.column()) } th.num scope="col" { "Succeeded" } th.num scope="col" { "Failed" } } }
                tbody {
                    @for bar in self.bars.iter().rev().filter(|bar| bar.succeeded + bar.failed > 0) {
                        tr {
                            th scope="row" { (self.bucket.label(bar.bucket)) }
                            td.num { (figures::signed(bar.succeeded)) } td.num { (figures::signed(bar.failed)) }
                        }
                    }
                }
            }
        }
    }

    fn bar(&self, index: usize, bar: Ended, most: i64) -> Markup {
        let count = i64::try_from(self.bars.len()).unwrap_or(1).max(1);
        let index = i64::try_from(index).unwrap_or(0);
        // In hundredths, so that bars of any number fill the width.
        let left = WIDTH * 100 * index / count;
        let width = (WIDTH * 100 * (index + 1) / count - left - 300).max(100);
        let floor = HEIGHT - FOOT;
        let (good, bad) = (height(bar.succeeded, most), height(bar.failed, most));
        let every = ((count + NAMED_MAX - 1) / NAMED_MAX).max(1);
        let named = index % every == 0;
        let odd = index / every % 2 == 1;
        html! {
            g {
                title { (self.bucket.label(bar.bucket)) ": " (bar.succeeded) " succeeded, " (bar.failed) " failed" }
                rect.hit x=(hundredths(left)) y=(TOP) width=(hundredths(width)) height=(floor - TOP) {}
                @if good > 0 { rect.good x=(hundredths(left)) y=(floor - good) width=(hundredths(width)) height=(good) {} }
                @if bad > 0 {
                    @let (x, y, width) = (hundredths(left), floor - good - bad, hundredths(width));
                    rect.bad x=(x) y=(y) width=(width) height=(bad) {}
                    rect x=(x) y=(y) width=(width) height=(bad) fill={ "url(#" (HATCH) ")" } {}
                }
                @if named { text.odd[odd] x=(hundredths(left)) y=(HEIGHT - 6) { (self.bucket.label(bar.bucket)) } }
            }
        }
    }
}

/// The name of the pattern that failed runs are drawn with.
const HATCH: &str = "chart-hatch";

fn hatch() -> Markup {
    html! {
        defs {
            pattern id=(HATCH) width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                rect.hatch width="2" height="6" {}
            }
        }
    }
}

/// The line of the floor, and of the largest bar with its figure.
fn frame(most: i64) -> Markup {
    let floor = HEIGHT - FOOT;
    html! {
        @if most > 0 {
            line x1="0" x2=(WIDTH) y1=(TOP) y2=(TOP) {}
            text x=(WIDTH) y=(TOP - 6) text-anchor="end" { (most) }
        }
        line x1="0" x2=(WIDTH) y1=(floor) y2=(floor) {}
    }
}

/// What is not nothing is seen.
fn height(runs: i64, most: i64) -> i64 {
    if runs == 0 { 0 } else { (runs * (HEIGHT - FOOT - TOP) / most.max(1)).max(2) }
}

fn hundredths(value: i64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

#[cfg(test)]
mod tests {
    use maud::Render;

    use super::*;

    fn now() -> Instant {
        Instant::from_micros(1_700_000_000_000_000).expect("within the calendar")
    }

    #[test]
    fn every_bucket_until_now_has_a_bar() {
        let last = Bucket::Hour.of(now());
        let counted = [
            Ended { bucket: last, succeeded: 3, failed: 1 },
            Ended { bucket: last - 40, ..Ended::default() },
        ];
        let chart = Chart::until(now(), Bucket::Hour, 24, &counted);
        assert_eq!((chart.bars.len(), chart.bars[0].bucket, chart.bars[23]), (24, last - 23, counted[0]));
        let text = chart.render().into_string();
        assert_eq!((text.matches("class=\"good\"").count(), text.matches("class=\"bad\"").count()), (1, 1));
        assert!(text.contains("3 runs succeeded and 1 failed") && text.contains("by hour, UTC"), "{text}");
        assert_eq!(
            text.matches("url(#chart-hatch)").count(),
            1,
            "what failed is told by more than its colour"
        );
    }

    #[test]
    fn no_chart_has_more_words_than_room() {
        for (bucket, count) in [(Bucket::Hour, 24), (Bucket::Day, 7), (Bucket::Day, 30)] {
            let text = Chart::until(now(), bucket, count, &[]).render().into_string();
            let (all, odd) = (text.matches("<text").count(), text.matches("class=\"odd\"").count());
            assert!(
                (5..=8).contains(&all) && all - odd <= 4,
                "{count}: {all}, {odd} of them left out on phones"
            );
        }
    }

    #[test]
    fn a_single_failure_beside_a_thousand_runs_is_seen() {
        assert_eq!((height(1, 1000), height(0, 1000), height(0, 0)), (2, 0, 0));
        assert_eq!(height(1000, 1000), HEIGHT - FOOT - TOP);
    }

    #[test]
    fn an_empty_chart_is_a_chart() {
        let text = Chart::until(now(), Bucket::Day, 30, &[]).render().into_string();
        assert!(text.contains("0 runs succeeded") && !text.contains("style="), "{text}");
    }
}
