//! Metrics: one registry for the process, written out for Prometheus.
//!
//! ```
//! # use omnid_telemetry::metrics;
//! let queries = metrics::counter("omnid_dns_queries", "Queries", &[("transport", "udp")]);
//! queries.inc();
//! assert!(metrics::render().contains(r#"omnid_dns_queries_total{transport="udp"} 1"#));
//! ```
//!
//! Names are `omnid_` + service + what is counted, in base units (`seconds`, `bytes`); `_total` is added
//! to counters. A handle is looked up under a lock: take it once and keep it, use is then an atomic add.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::Registry;

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

/// What [`render`] writes: OpenMetrics text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Buckets for times from 100 µs to 10 s, in seconds.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Label sets that one metric may have. Past it one set, `overflow="true"`, stands for all others: a label
/// that peers choose must not fill the memory.
const LABEL_SETS_MAX: usize = 1000;

/// A number that grows.
pub fn counter(name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
    all().metric(
        name,
        help,
        labels,
        |all| &mut all.counters,
        Counter::default,
    )
}

/// A number that grows and shrinks.
pub fn gauge(name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
    all().metric(name, help, labels, |all| &mut all.gauges, Gauge::default)
}

/// How many values fell under each of `buckets` (upper bounds, ascending); see [`SECONDS`].
pub fn histogram(
    name: &str,
    help: &str,
    labels: &[(&str, &str)],
    buckets: &'static [f64],
) -> Histogram {
    let make = move || Histogram::new(buckets.iter().copied());
    all().metric(name, help, labels, |all| &mut all.histograms, make)
}

/// All metrics as text of type [`CONTENT_TYPE`].
pub fn render() -> String {
    process();
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut text, &all().registry);
    text.split_inclusive('\n')
        .map(without_empty_braces)
        .collect()
}

/// The encoder writes `name{} 1` where there are no labels: legal, but not what people search for.
fn without_empty_braces(line: &str) -> String {
    match line.split_once('{') {
        Some((name, rest)) if rest.starts_with("} ") => {
            format!("{name}{}", rest.trim_start_matches('}'))
        }
        _ => line.to_owned(),
    }
}

/// What the kernel knows of the process, under the names that every Prometheus dashboard knows.
fn process() {
    if let Some(kibibytes) = resident_kibibytes() {
        let help = "Resident memory";
        gauge("process_resident_memory_bytes", help, &[]).set(kibibytes.saturating_mul(1024));
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        let open = i64::try_from(descriptors.count()).unwrap_or(i64::MAX);
        gauge("process_open_fds", "Open file descriptors", &[]).set(open);
    }
}

fn resident_kibibytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn all() -> MutexGuard<'static, All> {
    static ALL: LazyLock<Mutex<All>> = LazyLock::new(Mutex::default);
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct All {
    registry: Registry,
    kinds: HashMap<String, &'static str>,
    counters: Kept<Counter>,
    gauges: Kept<Gauge>,
    histograms: Kept<Histogram>,
}

type Labels = Vec<(String, String)>;
type Kept<M> = HashMap<String, LabelSets<M>>;

struct LabelSets<M> {
    family: Family<Labels, M, Make<M>>,
    count: usize,
}

/// Makes the metric of a new label set.
struct Make<M>(Arc<dyn Fn() -> M + Send + Sync>);

impl<M> Clone for Make<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> MetricConstructor<M> for Make<M> {
    fn new_metric(&self) -> M {
        (self.0)()
    }
}

impl All {
    fn metric<M>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        kept: fn(&mut Self) -> &mut Kept<M>,
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> M
    where
        M: EncodeMetric + TypedMetric + Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        let kind = std::any::type_name::<M>();
        if *self.kinds.entry(name.to_owned()).or_insert(kind) != kind {
            tracing::error!(name, "two metrics of different kinds have one name");
            return make();
        }
        if let Some(sets) = kept(self).get_mut(name) {
            return sets.metric(labels);
        }
        let family = Family::new_with_constructor(Make(Arc::new(make)));
        self.registry.register(name, help, family.clone());
        let mut sets = LabelSets { family, count: 0 };
        let metric = sets.metric(labels);
        kept(self).insert(name.to_owned(), sets);
        metric
    }
}

impl<M: Clone> LabelSets<M> {
    fn metric(&mut self, labels: &[(&str, &str)]) -> M {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut labels: Labels = labels.iter().map(owned).collect();
        if let Some(metric) = self.family.get(&labels) {
            return metric.clone();
        }
        if self.count >= LABEL_SETS_MAX {
            labels = vec![("overflow".to_owned(), "true".to_owned())];
        }
        self.count += 1;
        self.family.get_or_create_owned(&labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_one_by_name_and_labels() {
        counter("test_same", "Help", &[("a", "1")]).inc();
        counter("test_same", "Help", &[("a", "1")]).inc_by(2);
        counter("test_same", "Help", &[("a", "2")]).inc();
        gauge("test_gauge", "Help", &[]).set(-7);
        histogram("test_seconds", "Help", &[], SECONDS).observe(0.3);
        let text = render();
        for line in [
            "# HELP test_same Help.",
            "# TYPE test_same counter",
            "test_same_total{a=\"1\"} 3",
            "test_same_total{a=\"2\"} 1",
            "test_gauge -7",
            "test_seconds_bucket{le=\"0.25\"} 0",
            "test_seconds_bucket{le=\"0.5\"} 1",
            "test_seconds_count 1",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "{line} is not in:\n{text}"
            );
        }
        assert!(text.contains("process_resident_memory_bytes "));
    }

    #[test]
    fn label_values_are_escaped() {
        counter("test_escaped", "Help", &[("peer", "a\"b\\c\nd")]).inc();
        assert!(
            render().contains(r#"test_escaped_total{peer="a\"b\\c\nd"} 1"#),
            "{}",
            render()
        );
    }

    #[test]
    fn label_sets_are_bounded() {
        for set in 0..LABEL_SETS_MAX + 50 {
            counter("test_bounded", "Help", &[("peer", &set.to_string())]).inc();
        }
        let text = render();
        let sets = text
            .lines()
            .filter(|line| line.starts_with("test_bounded_total{"));
        assert_eq!(sets.count(), LABEL_SETS_MAX + 1);
        assert!(text.contains("test_bounded_total{overflow=\"true\"} 50"));
    }

    #[test]
    fn a_name_has_one_kind() {
        counter("test_kind", "Help", &[]).inc();
        gauge("test_kind", "Help", &[]).set(5);
        assert_eq!(render().matches("# TYPE test_kind ").count(), 1);
    }
}
