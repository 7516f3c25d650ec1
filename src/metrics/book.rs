//! Registers metrics together with what describes them, so that neither can be without the other.

use std::hash::Hash;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

/// What every name begins with.
const PREFIX: &str = "atlasd";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    fn of<M: TypedMetric>() -> Self {
        match M::TYPE {
            MetricType::Counter => Self::Counter,
            MetricType::Histogram => Self::Histogram,
            _ => Self::Gauge,
        }
    }
}

/// A metric, as a page can show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// As a query names it: with the prefix, and `_total` for a counter.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// The registry while it is filled.
pub(super) struct Book {
    registry: Registry,
    described: Vec<Described>,
}

impl Default for Book {
    fn default() -> Self {
        Self { registry: Registry::with_prefix(PREFIX), described: Vec::new() }
    }
}

impl Book {
    fn add<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
        metric: M,
    ) -> M {
        self.registry.register(name, help, metric.clone());
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        self.described.push(Described { name: format!("{PREFIX}_{name}{suffix}"), kind, labels, help });
        metric
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        self.add(name, Kind::Counter, &[], help, Counter::default())
    }

    pub(super) fn gauge<G>(&mut self, name: &'static str, help: &'static str) -> G
    where
        G: Metric + Clone + Default + TypedMetric,
    {
        self.add(name, Kind::Gauge, &[], help, G::default())
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        buckets: Histogram,
    ) -> Histogram {
        self.add(name, Kind::Histogram, &[], help, buckets)
    }

    pub(super) fn counters<L: Labels>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Family<L, Counter> {
        self.family(name, labels, help, Family::default())
    }

    pub(super) fn gauges<L: Labels>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Family<L, Gauge> {
        self.family(name, labels, help, Family::default())
    }

    pub(super) fn histograms<L: Labels>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        buckets: fn() -> Histogram,
    ) -> Family<L, Histogram, fn() -> Histogram> {
        self.family(name, labels, help, Family::new_with_constructor(buckets))
    }

    fn family<L, M, C>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        family: Family<L, M, C>,
    ) -> Family<L, M, C>
    where
        L: Labels,
        M: EncodeMetric + TypedMetric + std::fmt::Debug + Send + Sync + 'static,
        C: MetricConstructor<M> + Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        self.add(name, Kind::of::<M>(), labels, help, family)
    }

    /// The registry, and what stands in it.
    pub(super) fn close(self) -> (Registry, Vec<Described>) {
        (self.registry, self.described)
    }
}

/// What can be a set of labels.
pub(super) trait Labels:
    Clone + std::fmt::Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static
{
}

impl<L: Clone + std::fmt::Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static> Labels for L {}
