//! A strict parser of the Prometheus text format, version 0.0.4: anything that violates the format
//! or its conventions fails the test, even if a scraper would tolerate it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::client::ask;
use super::within;

/// The labels of a sample.
pub(crate) type Labels = BTreeMap<String, String>;

/// One sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The name, with `_bucket`, `_sum` or `_count` for a histogram.
    pub(crate) name: String,
    /// The labels.
    pub(crate) labels: Labels,
    /// The value.
    pub(crate) value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Exposition {
    /// The types of the families, by name.
    pub(crate) kinds: BTreeMap<String, String>,
    /// The samples, in order.
    pub(crate) samples: Vec<Sample>,
}

impl Exposition {
    /// Parses a scrape. Fails the test for anything that the format or its conventions forbid.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends like the others");
        let mut kinds = BTreeMap::new();
        let mut samples = Vec::new();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("HELP has a text");
                assert!(helped.insert(name.to_owned()), "{name} has two HELP lines");
                assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
                family = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("TYPE has a kind");
                assert_eq!(name, family, "TYPE follows its HELP");
                check_name(name, kind);
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let sample = parse_sample(line);
                let kind = kinds.get(&family).unwrap_or_else(|| panic!("no TYPE before {line}"));
                check_suffix(&sample.name, &family, kind);
                assert!(sample.value >= 0.0, "{line}");
                samples.push(sample);
            }
        }
        let exposition = Self { kinds, samples };
        exposition.check_unique();
        exposition.check_histograms();
        exposition
    }

    /// The sum of all samples of this name with at least these labels; 0 if there are none. Fails
    /// if the family does not exist.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| self.kinds.contains_key(*family))
            .unwrap_or(name);
        assert!(self.kinds.contains_key(family), "no family {family}");
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                let has = |label: &str| sample.labels.get(label).map(String::as_str);
                labels.iter().all(|(label, value)| has(label) == Some(*value))
            })
            .map(|sample| sample.value)
            .sum()
    }

    fn check_unique(&self) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            let key = (sample.name.clone(), sample.labels.clone());
            assert!(seen.insert(key), "twice: {sample:?}");
        }
    }

    /// Checks that buckets are cumulative and ascending, end with `+Inf`, and agree with `_count`.
    fn check_histograms(&self) {
        for (family, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            let bucket = format!("{family}_bucket");
            for sample in self.samples.iter().filter(|sample| sample.name == bucket) {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound = if bound == "+Inf" { f64::INFINITY } else { number(&bound) };
                series.entry(labels).or_default().push((bound, sample.value));
            }
            for (labels, buckets) in series {
                assert!(buckets.is_sorted_by(|a, b| a.0 < b.0), "{family}: {buckets:?}");
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family}: {buckets:?}");
                let last = buckets.last().expect("never empty");
                assert!(last.0.is_infinite(), "{family} ends with +Inf");
                let wanted: Vec<_> = labels.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                let count = self.sum(&format!("{family}_count"), &wanted);
                assert_eq!(last.1.to_bits(), count.to_bits(), "{family}{labels:?}");
                let sum = format!("{family}_sum");
                let has_sum = self.samples.iter().any(|s| s.name == sum && s.labels == labels);
                assert!(has_sum, "{family}{labels:?} has a sum");
            }
        }
    }
}

/// Waits until the metrics of this admin interface satisfy a condition. Returns them.
pub(crate) async fn metrics_until(
    admin: SocketAddr,
    what: &str,
    holds: impl Fn(&Exposition) -> bool,
) -> Exposition {
    within(what, async {
        loop {
            let metrics = Exposition::parse(&ask(admin, "/metrics").await);
            if holds(&metrics) {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Waits until this client limit was hit at least `count` times, by the metrics of this admin
/// interface.
pub(crate) async fn wait_for_hits(admin: SocketAddr, limit: &str, count: usize) {
    let labels = [("limit", limit)];
    let hits =
        |metrics: &Exposition| metrics.sum("baton_client_limit_hits_total", &labels) as usize;
    metrics_until(admin, limit, |metrics| hits(metrics) >= count).await;
}

fn check_name(name: &str, kind: &str) {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(name.bytes().all(valid), "{name}");
    assert!(name.starts_with("baton_") || name.starts_with("process_"), "{name}");
    assert!(["counter", "gauge", "histogram"].contains(&kind), "{name}: {kind}");
    assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    if kind == "histogram" {
        assert!(name.ends_with("_seconds"), "{name} is in a base unit");
    }
    for unit in ["_ms", "_milliseconds", "_microseconds", "_kilobytes", "_minutes"] {
        assert!(!name.contains(unit), "{name} is in a base unit");
    }
}

fn check_suffix(name: &str, family: &str, kind: &str) {
    let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} is not of {family}"));
    let expected: &[&str] =
        if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    assert!(expected.contains(&suffix), "{name} is not of the {kind} {family}");
}

fn parse_sample(line: &str) -> Sample {
    let (start, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value = number(value);
    let Some((name, rest)) = start.split_once('{') else {
        return Sample { name: start.to_owned(), labels: Labels::new(), value };
    };
    let rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("no closing brace: {line}"));
    Sample { name: name.to_owned(), labels: parse_labels(rest), value }
}

/// Parses `name="value"` pairs separated by commas; `\\`, `\"` and `\n` are escaped in values.
fn parse_labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label has a quoted value");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect("the quotes close") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("something is escaped").1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => panic!("\\{other} is not an escape"),
                },
                (_, character) => value.push(character),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice in {text}");
        match after[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                assert_eq!(&after[end + 1..], "", "nothing follows the labels");
                return labels;
            }
        }
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}
