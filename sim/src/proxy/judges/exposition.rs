//! The text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;

use crate::checker::{Invariant, Violation};

/// A name and its labels, sorted.
type Series = (String, BTreeMap<String, String>);

/// The samples of `/metrics`.
#[derive(Debug)]
pub(super) struct Samples(BTreeMap<Series, f64>);

impl Samples {
    /// Reads the text.
    ///
    /// # Errors
    /// If it is not in the format, or names a series twice.
    pub(super) fn read(text: &str) -> Result<Self, Violation> {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let wrong = || Violation {
                invariant: Invariant::Metrics,
                what: format!("unreadable or repeated: {line}"),
            };
            let (series, value) = sample(line).ok_or_else(wrong)?;
            if samples.insert(series, value).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self(samples))
    }

    /// The series of a family, each with its labels and value.
    pub(super) fn of<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        self.0
            .iter()
            .filter(move |((known, _), _)| known == name)
            .map(|((_, labels), value)| (labels, *value))
    }

    /// The sum of the series of a family that have these labels.
    pub(super) fn sum(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let has = |labels: &BTreeMap<String, String>| {
            with.iter().all(|(label, value)| labels.get(*label).is_some_and(|it| it == value))
        };
        self.of(name).filter(|(labels, _)| has(labels)).map(|(_, value)| value).sum()
    }
}

fn sample(line: &str) -> Option<(Series, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(((series.to_owned(), BTreeMap::new()), value));
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut all = BTreeMap::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        all.insert(label.to_owned(), value);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(((name.to_owned(), all), value))
}

/// Reads a value up to its closing quote. Returns it and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP a b\na{x=\"1\",y=\"c\\\"d,e}\"} 3\na{x=\"2\",y=\"\"} 4.5\nb 7\n";
        let samples = Samples::read(text).expect("it is the format");
        assert_eq!(samples.sum("a", &[]), 7.5);
        assert_eq!(samples.sum("a", &[("x", "1"), ("y", "c\"d,e}")]), 3.0);
        assert_eq!((samples.sum("b", &[]), samples.sum("c", &[])), (7.0, 0.0));
    }

    #[test]
    fn what_is_not_the_format_is_found() {
        for text in ["a", "a{x=\"1} 2", "a{x=1} 2", "a b", "a 1\na 1"] {
            assert!(Samples::read(text).is_err(), "{text}");
        }
    }
}
