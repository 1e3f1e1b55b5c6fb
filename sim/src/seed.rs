//! Parses seeds: a number or a commit hash.

/// Parses a seed: a decimal number, a hexadecimal one with `0x`, or the 40 hexadecimal digits of a
/// commit hash, of which the first 16 count.
///
/// # Errors
/// A message with the expected form.
pub fn parse(text: &str) -> Result<u64, String> {
    let expected = || {
        format!(
            "`{text}` is not a seed: expected a number below 2^64, decimal or with 0x, or the 40 \
             hexadecimal digits of a commit hash"
        )
    };
    let is_hash = text.len() == 40 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hash {
        return u64::from_str_radix(&text[..16], 16).map_err(|_| expected());
    }
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).map_err(|_| expected()),
        None => text.parse().map_err(|_| expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_and_hashes_are_seeds_and_nothing_else() {
        assert_eq!(parse("7"), Ok(7));
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse("0xff"), Ok(255));
        let hash = "00000000000000ff0123456789abcdef01234567";
        assert_eq!(parse(hash), Ok(255));
        for text in ["", "-1", "18446744073709551616", "ff", "0x", &hash[1..]] {
            assert!(parse(text).unwrap_err().contains("expected a number"), "{text}");
        }
    }
}
