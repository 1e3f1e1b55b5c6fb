//! Thousands of randomly mutated files. None may cause a panic, and every error has a position.

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::{WHOLE, print, read_text};

/// Pieces that a mutation may insert anywhere.
const PIECES: [&str; 24] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "\"\"\"",
    "'",
    "#",
    "\n",
    ".",
    ",",
    "-1",
    "1e9",
    "0x",
    "99999999999999999999",
    "[cluster.web]",
    "[[route]]",
    "\u{0}",
    "ä",
    "\u{feff}",
    "nan",
];

#[test]
fn mutated_files_never_panic_and_errors_have_positions() {
    let mut random = Pcg64Mcg::seed_from_u64(4);
    let mut draw = |below: usize| (random.next_u64() % below.max(1) as u64) as usize;
    let (mut good, mut wrong) = (0, 0);
    for _ in 0..3_000 {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for _ in 0..=draw(3) {
            let at = draw(text.len());
            let end = (at + draw(40)).min(text.len());
            match draw(4) {
                0 => drop(text.drain(at..end)),
                1 => text.splice(at..at, PIECES[draw(PIECES.len())].chars()).for_each(drop),
                2 => text[at] = char::from(draw(128) as u8),
                _ => {
                    let piece: Vec<_> = text[at..end].to_vec();
                    let to = draw(text.len());
                    text.splice(to..to, piece).for_each(drop);
                }
            }
        }
        let text: String = text.into_iter().collect();
        match read_text(&text) {
            Ok(config) => {
                good += 1;
                let printed = print::print(&config);
                assert_eq!(read_text(&printed), Ok(config), "{text}");
            }
            Err(errors) => {
                wrong += 1;
                let lines = text.split('\n').count();
                for error in errors {
                    let position = error.position.expect("an error in a text has a position");
                    assert!(position.line <= lines && position.line >= 1, "{error}\n{text}");
                    assert!(!error.what.is_empty() && !error.what.contains('\n'), "{error}");
                }
            }
        }
    }
    assert!(good > 50 && wrong > 50, "both outcomes occur: {good} good, {wrong} wrong");
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut random = Pcg64Mcg::seed_from_u64(5);
    for length in 0..1_000 {
        let bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        crate::config::round_trip(&bytes);
    }
}

/// The fuzzer's corpus: its seeds, and inputs that failed once.
#[test]
fn every_file_of_the_fuzz_corpus_round_trips() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/config");
    let mut good = 0;
    let mut files = 0;
    for entry in std::fs::read_dir(directory).expect("the corpus exists") {
        let bytes = std::fs::read(entry.expect("the entry can be read").path()).expect("a file");
        crate::config::round_trip(&bytes);
        good += usize::from(crate::config::read("any", &bytes, std::path::Path::new("/")).is_ok());
        files += 1;
    }
    assert!(good >= 2 && files > good, "both good and broken files: {good} of {files} are good");
}

#[test]
fn nesting_that_is_too_deep_is_an_error() {
    for (open, close) in [("[", "]"), ("{a=", "}"), ("a.", "")] {
        for depth in [100, 20_000] {
            let text = format!("a = {}{}", open.repeat(depth), close.repeat(depth));
            assert!(read_text(&text).is_err());
        }
        let header = format!("[{}a]\n", "a.".repeat(20_000));
        assert!(read_text(&header).is_err());
    }
}
