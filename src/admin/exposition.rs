//! The text format of Prometheus, version 0.0.4. The `prometheus` crate would bring a registry,
//! atomics and locks, none of which the workers need. `prometheus-client` writes OpenMetrics, which
//! `promtool` does not accept.

use std::fmt::{Display, Write as _};

use crate::proxy::metrics::{BOUNDS_SECONDS, Histogram};

/// The content type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text so far.
#[derive(Default)]
pub(super) struct Text(String);

/// A family of metrics, to add samples to.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Text {
    /// Starts a family of counters, which start at zero with the process.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        assert!(name.ends_with("_total"), "{name}: a counter must end with _total");
        self.family(name, "counter", help)
    }

    /// Starts a family of gauges.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        assert!(!name.ends_with("_total"), "{name}: only a counter may end with _total");
        self.family(name, "gauge", help)
    }

    /// Starts a family of histograms of durations, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        assert!(name.ends_with("_seconds"), "{name}: a histogram must end with _seconds");
        self.family(name, "histogram", help)
    }

    /// Returns the whole text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.0.push_str("# HELP ");
        self.0.push_str(name);
        self.0.push(' ');
        push_escaped(&mut self.0, help, false);
        put(&mut self.0, format_args!("\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.0, name }
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds the samples of a histogram.
    pub(super) fn durations(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        for (bound, count) in BOUNDS_SECONDS.iter().zip(histogram.cumulative()) {
            self.line("_bucket", labels, Some(&bound.to_string()), count);
        }
        self.line("_bucket", labels, Some("+Inf"), histogram.count());
        self.line("_sum", labels, None, histogram.sum().as_secs_f64());
        self.line("_count", labels, None, histogram.count());
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            self.text.push(separator);
            self.text.push_str(name);
            self.text.push_str("=\"");
            push_escaped(self.text, value, true);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        put(self.text, format_args!(" {value}\n"));
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}

/// Appends `value` with backslashes and line breaks escaped, and also quotes if `quoted`.
fn push_escaped(text: &mut String, value: &str, quoted: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            _ => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = Text::default();
        let mut family = text.counter("a_total", "Of \"a\\b\"\nand c.");
        family.sample(&[("name", "a\"b\\c\nd"), ("other", "é")], 7_u64);
        family.sample(&[], 1.5);
        let expected = "# HELP a_total Of \"a\\\\b\"\\nand c.\n# TYPE a_total counter\n\
                        a_total{name=\"a\\\"b\\\\c\\nd\",other=\"é\"} 7\na_total 1.5\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_histogram_ends_with_sum_and_count() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(3));
        histogram.observe(Duration::from_secs(100));
        let mut text = Text::default();
        text.histogram("a_seconds", "Time.").durations(&[("cluster", "x")], &histogram);
        let text = text.into_text();
        assert!(text.contains("a_seconds_bucket{cluster=\"x\",le=\"0.0025\"} 0\n"), "{text}");
        assert!(text.contains("a_seconds_bucket{cluster=\"x\",le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("le=\"+Inf\"} 2\na_seconds_sum{cluster=\"x\"} 100.003\n"), "{text}");
        assert!(text.ends_with("a_seconds_count{cluster=\"x\"} 2\n"), "{text}");
    }
}
