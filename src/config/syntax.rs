//! Makes the bytes of a file valid TOML. Invalid lines are reported and blanked, so that the rest
//! can be read and all errors are found at once.

use toml::de::DeTable;

use super::error::Finding;

/// The maximal number of blanked lines. A file with more is not a configuration file of Baton.
const BROKEN_LINES_MAX: usize = 20;

/// A text that parses as TOML.
pub(super) struct Readable {
    /// The original text with invalid lines blanked, so that byte offsets stay the same.
    pub(super) text: String,
    /// The syntax errors.
    pub(super) findings: Vec<Finding>,
    /// The tables whose missing keys may be in a blanked line.
    doubt: Doubt,
}

/// The tables in which a key that is not found may be in a blanked line.
#[derive(Debug, Default)]
struct Doubt {
    /// True if a header was blanked, so that the lines after it now belong to another table.
    everywhere: bool,
    /// Tables with a blanked line, by the offset at which the line of their header starts.
    tables: Vec<usize>,
}

/// Checks and blanks the invalid lines of a file.
pub(super) fn readable(bytes: &[u8]) -> Readable {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let at = error.valid_up_to();
            let what = format!("the byte 0x{:02x} is not UTF-8", bytes[at]);
            let expected = "text in UTF-8".to_owned();
            let finding = Finding { span: at..at + 1, absence: false, what, expected };
            let doubt = Doubt { everywhere: true, ..Doubt::default() };
            return Readable { text: String::new(), findings: vec![finding], doubt };
        }
    };
    let mut readable = Readable { text, findings: Vec::new(), doubt: Doubt::default() };
    for _ in 0..BROKEN_LINES_MAX {
        if !readable.blank_first_broken_line() {
            break;
        }
    }
    readable
}

impl Readable {
    /// Blanks the first line that is not TOML. Returns false if there is none, or nothing to blank.
    fn blank_first_broken_line(&mut self) -> bool {
        let (_, errors) = DeTable::parse_recoverable(&self.text);
        let mut duplicates = Vec::new();
        let mut first: Option<Finding> = None;
        for error in errors {
            let end = self.text.len();
            let span = error.span().unwrap_or(end..end);
            let (what, expected) = match error.message().split_once(", expected ") {
                Some((what, expected)) => (what.to_owned(), expected.to_owned()),
                None => (error.message().to_owned(), String::new()),
            };
            let finding = Finding { span, absence: false, what, expected };
            if finding.what == "duplicate key" {
                duplicates.push(self.duplicate(finding));
            } else if first.as_ref().is_none_or(|first| finding.span.start < first.span.start) {
                first = Some(finding);
            }
        }
        let Some(finding) = first else {
            // A duplicate key is present, so the rest can be read without blanking its line.
            self.findings.extend(duplicates);
            return false;
        };
        let blanked = self.blank_line(finding.span.start);
        self.findings.push(Finding {
            what: format!("not TOML: {}", finding.what),
            expected: if finding.expected.is_empty() {
                "KEY = VALUE, [TABLE] or [[TABLE]]".to_owned()
            } else {
                finding.expected
            },
            ..finding
        });
        blanked
    }

    /// True if a key that is not found is certainly missing from the table whose header is at this
    /// offset: neither the table nor its header had a line blanked.
    pub(super) fn is_certain(&self, header: usize) -> bool {
        let line = self.line_start(header);
        !self.doubt.everywhere && !self.doubt.tables.contains(&line)
    }

    fn line_start(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }

    /// Notes the table of a line that is about to be blanked.
    fn doubt_table_of(&mut self, line: usize) {
        if self.text[line..].trim_start().starts_with('[') {
            self.doubt.everywhere = true;
            return;
        }
        let mut start = line;
        while start > 0 {
            start = self.line_start(start - 1);
            if self.text[start..].trim_start_matches([' ', '\t']).starts_with('[') {
                break;
            }
        }
        self.doubt.tables.push(start);
    }

    fn duplicate(&self, finding: Finding) -> Finding {
        let name = self.text.get(finding.span.clone()).unwrap_or_default();
        let what = format!("'{name}' occurs twice");
        Finding { what, expected: "each key and table once".to_owned(), ..finding }
    }

    /// Blanks the line that contains a byte, or the last line before it that is not blank. Returns
    /// false if there is none.
    fn blank_line(&mut self, offset: usize) -> bool {
        let bytes = self.text.as_bytes();
        let offset = offset.min(bytes.len());
        let tail = bytes[offset..].iter().position(|byte| *byte == b'\n');
        let mut end = tail.map_or(bytes.len(), |tail| offset + tail);
        loop {
            let start = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if !self.text[start..end].trim().is_empty() {
                self.doubt_table_of(start);
                self.text.replace_range(start..end, &" ".repeat(end - start));
                return true;
            }
            if start == 0 {
                return false;
            }
            end = start - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_line_is_found_and_the_others_stay() {
        let text = "a = 1\nb = = 2\nc = 3\nd\ne = \"open\nf = 6\n[g\nh = 8\n";
        let readable = readable(text.as_bytes());
        assert_eq!(readable.text.len(), text.len());
        let lines: Vec<_> = readable.text.lines().map(str::trim).collect();
        assert_eq!(lines, ["a = 1", "", "c = 3", "", "", "f = 6", "", "h = 8"]);
        assert_eq!(readable.findings.len(), 4, "{:?}", readable.findings);
        assert!(!readable.is_certain(0), "a header was blanked");
    }

    #[test]
    fn a_duplicate_key_blanks_nothing() {
        let readable = readable(b"a = 1\na = 2\n");
        assert_eq!(readable.findings.len(), 1);
        assert_eq!(readable.findings[0].what, "'a' occurs twice");
        assert!(readable.is_certain(0));
    }

    #[test]
    fn only_the_table_of_a_broken_line_is_in_doubt() {
        let text = "[a]\nx = 1\n\n[[b]]\ny ?\n[c]\n";
        let readable = readable(text.as_bytes());
        assert!(readable.is_certain(text.find("[a]").expect("there")));
        assert!(!readable.is_certain(text.find("[[b]]").expect("there")));
        assert!(readable.is_certain(text.find("[c]").expect("there")));
    }
}
