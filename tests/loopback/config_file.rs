//! Tests `baton check`, `baton config` and `baton run --config`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::baton::message;
use crate::support::certificate::{certificate, scratch_file};
use crate::support::{Backend, Baton, Http2, within};

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `baton` with these arguments until it exits.
async fn baton(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output());
    let output = within("baton ends", ended).await.expect("no panic").expect("cargo built it");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = scratch_file(name);
    std::fs::write(&path, text).expect("target/tmp is writable");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

const CLUSTER: &str = "[[cluster.web.backend]]\nurl = \"http://127.0.0.1:9\"\n";

#[tokio::test(flavor = "local")]
async fn a_valid_file_prints_one_line_and_exits_with_0() {
    let path = file("good.toml", CLUSTER);
    let ended = baton(&["check", text(&path)]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let line = format!("{}: good: listeners 1, clusters 1, backends 1, routes 1\n", text(&path));
    assert_eq!(ended.stdout, line);
}

#[tokio::test(flavor = "local")]
async fn an_invalid_file_exits_with_1_and_lists_every_error_with_its_place() {
    let broken = file("broken.toml", format!("[process]\nworkers = 0\nsede = 1\n{CLUSTER}"));
    let name = text(&broken);
    let ended = baton(&["check", name]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let expected = format!(
        "{name}:2:11: 'process.workers' is 0; expected an integer from 1 to 1024\n\
         {name}:3:1: unknown key 'sede' in [process]; expected 'seed'\n"
    );
    assert_eq!(ended.stderr, expected);
    // `baton run` refuses it too.
    let ended = baton(&["run", "--config", name]).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 2);
    assert!(ended.stderr.starts_with(&format!("baton: {name}:2:11: ")), "{}", ended.stderr);
    // `baton config` refuses it too.
    let ended = baton(&["config", name]).await;
    assert_eq!((ended.code, ended.stderr), (Some(1), expected));
}

/// The files that a configuration names are opened; errors in them are reported at the line that
/// names them.
#[tokio::test(flavor = "local")]
async fn unusable_files_are_reported_where_they_are_named() {
    let good = certificate();
    let (certificate, key) = (text(&good.certificate_file), text(&good.key_file));
    let garbage = file("garbage-for-check.pem", "no PEM in here\n");
    let garbage = text(&garbage);
    let whole = format!(
        "[[listener]]\naddress = \"127.0.0.1:1\"\ncertificate = '{certificate}'\nkey = '{key}'\n\
         [[listener]]\naddress = \"127.0.0.1:2\"\ncertificate = 'absent.pem'\nkey = '{key}'\n\
         [[listener]]\naddress = \"127.0.0.1:3\"\ncertificate = '{certificate}'\nkey = '{garbage}'\n\
         [cluster.web]\nauthorities = '{garbage}'\n\
         [[cluster.web.backend]]\nurl = \"https://127.0.0.1:9\"\n\
         certificate = '{key}'\nkey = '{key}'\nauthorities = '{certificate}'\n"
    );
    let path = file("files.toml", whole);
    let ended = baton(&["check", text(&path)]).await;
    assert_eq!(ended.code, Some(1));
    let lines: Vec<_> = ended.stderr.lines().collect();
    let directory = path.parent().expect("the path has a parent").display();
    for (number, place, names, expected) in [
        (0, "7:1", format!("{directory}/absent.pem: "), "expected certificates in PEM"),
        (1, "11:1", format!("{garbage}: "), "expected a private key in PEM"),
        (2, "14:1", format!("{garbage}: "), "expected certificates in PEM"),
        (3, "17:1", format!("{key}: "), "expected certificates in PEM"),
    ] {
        let start = format!("{}:{place}: {names}", text(&path));
        assert!(lines[number].starts_with(&start), "{start}\n{}", ended.stderr);
        assert!(lines[number].ends_with(expected), "{expected}\n{}", ended.stderr);
    }
    assert_eq!(lines.len(), 4, "{}", ended.stderr);
}

#[tokio::test(flavor = "local")]
async fn unreadable_files_exit_with_1_and_wrong_usage_with_2() {
    let ended = baton(&["check", "/nonexistent/baton.toml"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.starts_with("/nonexistent/baton.toml: cannot be read"),
        "{}",
        ended.stderr
    );
    let latin = file("latin.toml", b"# caf\xe9\n");
    let ended = baton(&["check", text(&latin)]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(":1:6: the byte 0xe9 is not UTF-8"), "{}", ended.stderr);
    let long = file("long.toml", "#".repeat((1 << 20) + 1));
    let ended = baton(&["check", text(&long)]).await;
    assert!(ended.stderr.ends_with("is too long; expected at most 1048576 bytes\n"));
    for wrong in [
        &["check"][..],
        &["check", "a", "b"],
        &["config", "--no-such-flag"],
        &["run", "--config", "a.toml", "--backend", "http://127.0.0.1:9"],
        &["run", "--config", "a.toml", "--listen", "127.0.0.1:0"],
    ] {
        let ended = baton(wrong).await;
        assert_eq!(ended.code, Some(2), "{wrong:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{wrong:?}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "local")]
async fn printed_configuration_is_valid_and_stable() {
    let defaults = baton(&["config"]).await;
    assert_eq!((defaults.code, defaults.stderr.as_str()), (Some(0), ""));
    let path = file("printed.toml", &defaults.stdout);
    let checked = baton(&["check", text(&path)]).await;
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    let again = baton(&["config", text(&path)]).await;
    assert_eq!(again.stdout, defaults.stdout);
    // A relative path is printed as an absolute one, so that the text is valid in any directory.
    let relative = format!("[cluster.web]\nauthorities = \"ca.pem\"\n{CLUSTER}");
    let path = file("relative.toml", relative);
    let printed = baton(&["config", text(&path)]).await.stdout;
    let directory = path.parent().expect("the path has a parent").display();
    assert!(printed.contains(&format!("authorities = \"{directory}/ca.pem\"")), "{printed}");
}

#[tokio::test(flavor = "local")]
async fn process_flags_override_the_file() {
    let backend = Backend::healthy().await;
    let authority = text(&certificate().certificate_file);
    // The file alone would log nothing.
    let whole = format!(
        "[process]\nlog_level = \"error\"\nworkers = 1\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [cluster.web]\nauthorities = '{authority}'\n\
         [[cluster.web.backend]]\nurl = \"{}\"\n",
        backend.url()
    );
    let path = file("run.toml", whole);
    let mut baton = Baton::start_with_file(&path, &["--log-level", "info"]).await;
    let client = Http2::connect(baton.address).await;
    assert_eq!(client.get("/").await.expect("it is answered").status, 200);
    assert_eq!(message(&baton.wait_for_requests(1).await[0]), "request");
    baton.terminate();
    assert_eq!(baton.exit().await, Some(0));
}

/// A missing certificate is reported before any listener is opened.
#[tokio::test(flavor = "local")]
async fn a_file_that_names_a_missing_certificate_is_not_run() {
    let whole = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = \"absent.pem\"\nkey = \"k.pem\"\n\
         {CLUSTER}"
    );
    let path = file("missing.toml", whole);
    let ended = baton(&["run", "--config", text(&path)]).await;
    assert_eq!(ended.code, Some(1));
    let directory = path.parent().expect("the path has a parent").display();
    assert!(ended.stderr.contains(&format!("{directory}/absent.pem")), "{}", ended.stderr);
    assert!(!ended.stderr.contains("listening"), "{}", ended.stderr);
}
