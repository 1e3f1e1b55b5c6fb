//! Tests startup errors: one line with the cause and its place, and an exit code.

use crate::support::Baton;
use crate::support::certificate::{certificate, scratch_file};
use crate::support::command::run_baton;

const BACKEND: &str = "https://127.0.0.1:9";

/// Runs `baton run` with these flags, and checks the exit code and that stderr is one line with
/// this text.
async fn fails(flags: &[&str], code: i32, says: &str) {
    let mut arguments = vec!["run"];
    arguments.extend_from_slice(flags);
    let ran = run_baton(&arguments).await;
    let (status, stderr) = (ran.code, ran.stderr);
    assert_eq!(status, Some(code), "{flags:?}: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{flags:?}: one line: {stderr}");
    assert!(stderr.starts_with("baton: "), "{flags:?}: {stderr}");
    assert!(stderr.contains(says), "{flags:?}: says {says:?}: {stderr}");
}

#[tokio::test(flavor = "local")]
async fn usage_errors_exit_with_2_and_one_line() {
    let any = "127.0.0.1:0";
    fails(&["--no-such-flag"], 2, "--no-such-flag").await;
    fails(&["--listen", any], 2, "--backend").await;
    for url in ["ftp://host:1", "https://", "host", "https://host:99999", "https://h:1;weight=0"] {
        fails(&["--listen", any, "--backend", url], 2, url).await;
    }
    let backend = ["--listen", any, "--backend", BACKEND];
    for (flag, value) in [
        ("--listen", "nowhere"),
        ("--workers", "0"),
        ("--strategy", "guess"),
        ("--log-level", "loud"),
        ("--idle-timeout", "soon"),
        ("--connect-timeout", "0s"),
        ("--max-streams", "257"),
        ("--max-connections", "0"),
        ("--attempts", "0"),
    ] {
        fails(&[&backend[..], &[flag, value]].concat(), 2, flag).await;
    }
    fails(&[&backend[..], &["--tls-cert", "cert.pem"]].concat(), 2, "--tls-key").await;
}

#[tokio::test(flavor = "local")]
async fn an_access_log_that_cannot_be_opened_exits_with_1_and_names_the_file() {
    let authority = certificate().certificate_file.to_str().expect("UTF-8");
    let backend = ["--listen", "127.0.0.1:0", "--backend", BACKEND, "--ca", authority];
    let file = ["--access-log-file", "/no/such/folder/access.log"];
    fails(&[&backend[..], &file].concat(), 1, "access log /no/such/folder/access.log").await;
}

#[tokio::test(flavor = "local")]
async fn an_admin_port_in_use_exits_with_1_and_names_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the system has a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let authority = certificate().certificate_file.to_str().expect("UTF-8");
    let backend = ["--listen", "127.0.0.1:0", "--backend", BACKEND, "--ca", authority];
    fails(&[&backend[..], &["--admin", &address]].concat(), 1, &address).await;
}

#[tokio::test(flavor = "local")]
async fn a_port_in_use_exits_with_1_and_names_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the system has a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let authority = certificate().certificate_file.to_str().expect("UTF-8");
    fails(&["--listen", &address, "--backend", BACKEND, "--ca", authority], 1, &address).await;
}

/// SO_REUSEPORT is for the workers of one Baton: a second process must not get half of its clients.
#[tokio::test(flavor = "local")]
async fn a_second_baton_on_the_same_port_exits_with_1() {
    let baton = Baton::start(&[BACKEND], &["--workers", "2"]).await;
    let address = baton.address.to_string();
    let authority = certificate().certificate_file.to_str().expect("UTF-8");
    fails(&["--listen", &address, "--backend", BACKEND, "--ca", authority], 1, &address).await;
}

#[tokio::test(flavor = "local")]
async fn unreadable_certificates_exit_with_1_and_name_the_file() {
    let certificate = certificate();
    let good = certificate.certificate_file.to_str().expect("UTF-8");
    let key = certificate.key_file.to_str().expect("UTF-8");
    let absent = "/nonexistent/certificate.pem";
    let garbage = scratch_file("garbage.pem");
    std::fs::write(&garbage, "no PEM in here\n").expect("target/tmp is writable");
    let garbage = garbage.to_str().expect("UTF-8");
    let base = ["--listen", "127.0.0.1:0", "--backend", BACKEND];
    for (cert, key, names) in [
        (absent, key, absent),
        (good, absent, absent),
        (garbage, key, garbage),
        (good, garbage, garbage),
    ] {
        let tls = ["--ca", good, "--tls-cert", cert, "--tls-key", key];
        let flags = [&base[..], &tls].concat();
        fails(&flags, 1, names).await;
    }
    fails(&[&base[..], &["--ca", absent]].concat(), 1, absent).await;
    fails(&[&base[..], &["--ca", garbage]].concat(), 1, garbage).await;
}

#[tokio::test(flavor = "local")]
async fn help_and_version_exit_with_0() {
    for arguments in [&["--help"][..], &["run", "--help"], &["demo", "--help"], &["--version"]] {
        let ran = run_baton(arguments).await;
        let (status, stderr) = (ran.code, ran.stderr);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
