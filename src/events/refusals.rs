//! Refused requests of one window, counted by run, verdict and asker: a burst of duplicates becomes a few events.

use std::collections::HashMap;

use super::event::{Name, News, Refusal, Subject, Told};
use crate::clock::Instant;
use crate::domain::admission::Verdict;
use crate::domain::failure::sanitise;
use crate::ids::RunId;

/// LIMIT: askers of one run that are told one by one; further ones are told together.
const ASKERS_MAX: usize = 8;

/// What was gathered since the last time.
#[derive(Debug, Default)]
pub struct Refusals {
    runs: HashMap<RunId, (Subject, Vec<Asked>)>,
}

/// One asker's requests.
#[derive(Debug)]
struct Asked {
    verdict: &'static str,
    /// As it was given; `None` stands for all who had no place.
    by: Option<String>,
    count: u64,
    first_at: Instant,
    last_at: Instant,
}

impl Refusals {
    /// Counts a refusal; false when `runs_max` other runs are being counted, and then it is not. Allocates only for the
    /// first of an asker.
    pub fn count(&mut self, verdict: &Verdict, by: &str, now: Instant, runs_max: usize) -> bool {
        let run = verdict.run();
        if self.runs.len() >= runs_max && !self.runs.contains_key(&run.id) {
            return false;
        }
        let (_, askers) = self.runs.entry(run.id).or_insert_with(|| (Subject::from(&**run), Vec::new()));
        let word = verdict.as_str();
        let same = |asked: &&mut Asked| asked.verdict == word && asked.by.as_deref() == Some(by);
        if let Some(asked) = askers.iter_mut().find(same) {
            asked.add(now);
            return true;
        }
        if askers.iter().filter(|asked| asked.by.is_some()).count() < ASKERS_MAX {
            askers.push(Asked::first(word, Some(by.to_owned()), now));
            return true;
        }
        match askers.iter_mut().find(|asked| asked.verdict == word && asked.by.is_none()) {
            Some(others) => others.add(now),
            None => askers.push(Asked::first(word, None, now)),
        }
        true
    }

    /// Nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What was gathered, as events, the earliest first; the next window begins.
    pub fn take(&mut self) -> Vec<News> {
        let mut gathered: Vec<News> = std::mem::take(&mut self.runs)
            .into_values()
            .flat_map(|(subject, askers)| askers.into_iter().map(move |asked| asked.tell(subject)))
            .collect();
        gathered.sort_by_key(|news| (news.at, news.subject.run_id));
        gathered
    }
}

impl Asked {
    fn first(verdict: &'static str, by: Option<String>, now: Instant) -> Self {
        Self { verdict, by, count: 1, first_at: now, last_at: now }
    }

    fn add(&mut self, now: Instant) {
        self.count += 1;
        self.last_at = self.last_at.max(now);
    }

    fn tell(self, subject: Subject) -> News {
        let refusal = Refusal {
            verdict: self.verdict,
            initiator_name: self.by.as_deref().map(sanitise),
            count: self.count,
            first_at: self.first_at,
        };
        News { name: Name::RequestRefused, at: self.last_at, subject, told: Told::Refusal(refusal) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::events::samples;

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000).unwrap()
    }

    fn active(run: i64) -> Verdict {
        Verdict::Active(Arc::new(samples::run(run)))
    }

    fn told(refusals: &mut Refusals) -> Vec<(i64, Option<String>, u64)> {
        let told = refusals.take().into_iter().map(|news| match news.told {
            Told::Refusal(refusal) => (news.subject.run_id.0, refusal.initiator_name, refusal.count),
            other => panic!("expected a refusal, got {other:?}"),
        });
        told.collect()
    }

    #[test]
    fn refusals_are_counted_by_run_and_asker() {
        let mut refusals = Refusals::default();
        for (run, by, second) in [(1, "a", 1), (1, "b", 2), (1, "a", 3), (2, "a", 4)] {
            assert!(refusals.count(&active(run), by, at(second), 10));
        }
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(told(&mut refusals), [(1, name("b"), 1), (1, name("a"), 2), (2, name("a"), 1)]);
        assert!(refusals.is_empty());
    }

    #[test]
    fn many_askers_are_told_together_and_none_is_lost() {
        let mut refusals = Refusals::default();
        for asker in 0..20 {
            refusals.count(&active(1), &format!("asker {asker}"), at(asker), 10);
        }
        let told = told(&mut refusals);
        assert_eq!(told.len(), ASKERS_MAX + 1);
        assert_eq!(told.iter().map(|(_, _, count)| count).sum::<u64>(), 20);
        assert_eq!(told.last(), Some(&(1, None, 12)));
    }

    #[test]
    fn runs_beyond_the_limit_are_not_counted() {
        let mut refusals = Refusals::default();
        assert!(refusals.count(&active(1), "a", at(1), 1));
        assert!(!refusals.count(&active(2), "a", at(1), 1));
        assert!(refusals.count(&active(1), "a", at(1), 1));
    }
}
