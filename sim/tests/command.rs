//! Tests the command as people and CI use it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the command runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Creates an empty directory for one test.
fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the directory can be created");
    path
}

#[test]
fn a_passing_run_prints_pass_and_exits_with_0() {
    let output = sim(&["run", "--seeds", "200", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).starts_with("PASS  200 seeds"), "{}", text(&output));
    let output = sim(&["run", "--seeds", "50", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(answer["pass"], true);
    assert_eq!(answer["seeds"], 50);
}

#[test]
fn a_commit_hash_is_a_seed() {
    let hash = "4be1c0ffee0123456789abcdef0123456789abcd";
    let output = sim(&["run", "--from", hash, "--seeds", "10"]);
    assert_eq!(output.status.code(), Some(0));
    let output = sim(&["replay", hash]);
    assert!(text(&output).contains(&format!("seed {}", 0x4be1_c0ff_ee01_2345_u64)));
}

#[test]
fn a_replay_prints_the_story_and_can_be_filtered() {
    let whole = text(&sim(&["replay", "7"]));
    assert!(whole.contains("client") && whole.contains("backend"), "{whole}");
    assert!(whole.contains("arrives: "), "{whole}");
    let start = text(&sim(&["replay", "7", "--until", "3"]));
    assert!(start.len() < whole.len());
    let only = text(&sim(&["replay", "7", "--only", "r0"]));
    assert!(only.len() < whole.len());
    let json = sim(&["replay", "7", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert!(answer["lines"].as_array().is_some_and(|lines| lines.len() > 5));
    assert!(answer["state"].is_null() && answer["nearest"].is_null(), "the run passes");
}

#[test]
fn a_seed_written_as_a_plan_replays_the_same() {
    let plan = sim::faults::plan(11, sim::faults::Profile::Swarm, sim::plan::WorldName::Pool);
    let path = scratch("same").join("plan.ron");
    fs::write(&path, sim::plan::write(&plan)).expect("the file can be written");
    let from_file = text(&sim(&["replay", path.to_str().expect("a plain path")]));
    assert_eq!(from_file, text(&sim(&["replay", "11"])));
}

#[test]
fn wrong_usage_is_explained_and_exits_with_64() {
    let directory = scratch("wrong");
    let broken = directory.join("broken.ron");
    fs::write(&broken, "(\n    format: 1,\n    origin: 5,\n)").expect("the file can be written");
    let other = directory.join("other.ron");
    fs::write(&other, "(format: 99)").expect("the file can be written");
    let path = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
    for (arguments, expected) in [
        (vec!["fly".to_owned()], "unrecognized subcommand"),
        (vec!["run".to_owned(), "--seeds".to_owned(), "0".to_owned()], "--seeds"),
        (vec!["run".to_owned(), "--from".to_owned(), "xyz".to_owned()], "40 hexadecimal digits"),
        (vec!["run".to_owned(), "--time".to_owned(), "60".to_owned()], "such as 60s"),
        (
            ["run", "--steer", "--world", "proxy"].map(str::to_owned).to_vec(),
            "--steer: expected the world of the pool, not proxy",
        ),
        (vec!["replay".to_owned(), "no-such-file".to_owned()], "the name of an existing file"),
        (vec!["replay".to_owned(), path(&broken)], "line 3, column"),
        (vec!["replay".to_owned(), path(&other)], "format: expected 1, found 99"),
        (vec!["shrink".to_owned(), "1".to_owned()], "nothing to shrink"),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = sim(&arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let answer = String::from_utf8_lossy(&output.stderr);
        assert!(answer.contains(expected), "{arguments:?}: {answer}");
    }
}

#[test]
fn the_doctor_finds_no_difference() {
    let output = sim(&["doctor", "--seeds", "100"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("100 seeds"), "{}", text(&output));
    assert!(text(&output).contains("0 differ"), "{}", text(&output));
}

#[test]
fn coverage_gaps_are_listed_and_exit_with_4() {
    let output = sim(&["coverage", "--seeds", "1"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output).contains("never  "), "{}", text(&output));
}

#[test]
fn a_small_scope_is_searched_completely() {
    let output =
        sim(&["exhaust", "--backends", "1", "--streams", "1", "--requests", "1", "--faults", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("closed: every reachable state was seen"));
    let output = sim(&["exhaust", "--states", "10"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
}

/// The command checks itself in `doctor`; this checks programs that only use the library.
#[test]
fn a_program_with_this_library_has_a_simulated_clock_and_entropy() {
    sim::doctor::check_program().expect("the library's functions are linked");
}
