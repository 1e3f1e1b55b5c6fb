//! From bytes to a text that is TOML. What is not is found and blanked, so that the rest can be read
//! and every error is found at once.

use toml::de::DeTable;

use super::error::Finding;

/// Most lines that are blanked. A file with more is none of Baton's.
const BROKEN_LINES_MAX: usize = 20;

/// A text that can be read as tables.
pub(super) struct Readable {
    /// As long as the original, byte for byte, with broken lines blank.
    pub(super) text: String,
    /// What was wrong.
    pub(super) findings: Vec<Finding>,
    /// What seems absent may be in a line that was blanked.
    doubt: Doubt,
}

/// Where something that is not found may be all the same.
#[derive(Debug, Default)]
struct Doubt {
    /// A header was blanked, so that what follows it is somewhere else now.
    everywhere: bool,
    /// Tables of which a line was blanked: where the lines of their headers start.
    tables: Vec<usize>,
}

/// Makes a text readable.
pub(super) fn readable(bytes: &[u8]) -> Readable {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let at = error.valid_up_to();
            let what = format!("the byte 0x{:02x} is not UTF-8", bytes[at]);
            let expected = "a text in UTF-8".to_owned();
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
    /// Blanks the first line that is no TOML. False if there is none, or nothing to blank.
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
            // Whatever is there twice is there: the rest can be read.
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

    /// Whether something that is not found, in the table whose header is at a byte, is sure not to be
    /// there.
    pub(super) fn is_certain(&self, header: usize) -> bool {
        let line = self.line_start(header);
        !self.doubt.everywhere && !self.doubt.tables.contains(&line)
    }

    fn line_start(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }

    /// Notes which table a line belongs to that is about to be blanked.
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
        let what = format!("'{name}' is there twice");
        Finding { what, expected: "each key and table once".to_owned(), ..finding }
    }

    /// Blanks the line that a byte is in, or the last one before it that is not blank. False if
    /// there is none.
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
    fn a_key_that_is_there_twice_breaks_nothing() {
        let readable = readable(b"a = 1\na = 2\n");
        assert_eq!(readable.findings.len(), 1);
        assert_eq!(readable.findings[0].what, "'a' is there twice");
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
