//! Tests the HTML page of a run in a real browser, if one is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

fn browser() -> Option<&'static str> {
    BROWSERS.into_iter().find(|name| {
        let answer = Command::new(name).arg("--version").output();
        answer.is_ok_and(|output| output.status.success())
    })
}

/// Returns the document after the page's scripts have run.
fn document(browser: &str, page: &Path, fragment: &str) -> String {
    let profile = page.with_extension("profile");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--dump-dom", &format!("file://{}{fragment}", page.display())])
        .output()
        .expect("the browser runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn page() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("run.html");
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["replay", "7", "--html"])
        .arg(&path)
        .output()
        .expect("the simulator runs");
    assert!(output.status.success());
    path
}

#[test]
fn the_page_shows_the_lanes_and_the_slider_moves() {
    let page = page();
    let text = fs::read_to_string(&page).expect("the page was written");
    assert!(!text.contains("http://") && !text.contains("https://"), "the page needs no network");
    let Some(browser) = browser() else {
        println!("skipped: no Chromium is installed (any of {BROWSERS:?})");
        return;
    };
    let at_start = document(browser, &page, "#line=2");
    for lane in ["client", "pool", "connection", "backend"] {
        assert!(at_start.contains(&format!("<div class=\"head\">{lane}</div>")), "{lane}");
    }
    assert!(at_start.contains("arrives: "), "the story is there");
    assert!(at_start.contains(">line 2 of "), "a link selects a line");
    let later = |text: &str| text.matches(" later\">").count();
    let moved = text.replace(
        "</body>",
        "<script>slider.value = 9; slider.dispatchEvent(new Event('input'));</script></body>",
    );
    let moved_page = page.with_file_name("moved.html");
    fs::write(&moved_page, moved).expect("the page can be written");
    let at_ten = document(browser, &moved_page, "#line=2");
    assert!(at_ten.contains(">line 10 of "), "the slider moves");
    assert_eq!(later(&at_start) - later(&at_ten), 8, "eight fewer lines are dimmed");
}
