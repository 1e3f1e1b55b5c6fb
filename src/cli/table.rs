//! Tables for people, with columns as wide as their contents.

use std::fmt::Write as _;

/// Formats rows under a head, aligned to the left. Returns an empty string if there are no rows.
#[must_use]
pub fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |cells: [&str; COLUMNS]| {
        let mut row = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            write!(row, "{cell:width$}  ").expect("writing to a String cannot fail");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(head);
    for row in rows {
        line(std::array::from_fn(|column| &*row[column]));
    }
    text
}

/// Makes a cell from untrusted text: control characters, which could move the cursor or end the
/// line, are replaced.
#[must_use]
pub fn cell(text: &str) -> String {
    let shown = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    if text.is_empty() { "-".to_owned() } else { text.chars().map(shown).collect() }
}

/// Formats milliseconds for people: `950ms`, `12.3s`, `4m 5s`, `2h 3m`, `5d 2h`.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Formats a count with its noun, which gets an `s` unless the count is one.
#[must_use]
pub fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["b0".to_owned(), "up".to_owned()], ["backend 10".to_owned(), "é".to_owned()]];
        let expected = "NAME        STATE\nb0          up\nbackend 10  é\n";
        assert_eq!(table(["NAME", "STATE"], &rows), expected);
        assert_eq!(table(["NAME"], &[]), "");
    }

    #[test]
    fn untrusted_text_cannot_move_the_cursor() {
        assert_eq!(cell("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(cell(""), "-");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (milliseconds, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (12_345, "12.3s"),
            (245_000, "4m 5s"),
            (7_380_000, "2h 3m"),
            (439_200_000, "5d 2h"),
        ] {
            assert_eq!(duration(milliseconds), expected);
        }
    }
}
