//! Tests the commands about a backend: selecting it, errors, and the output of `baton status`.

use crate::support::command::run_baton;

#[tokio::test(flavor = "local")]
async fn commands_report_an_unreachable_baton_and_wrong_usage() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("the system has a port");
    let address = unused.local_addr().expect("it is bound").to_string();
    drop(unused);
    for arguments in [
        &["drain", "a:1"][..],
        &["drain", "a:1", "--wait"],
        &["undrain", "a:1"],
        &["weight", "a:1", "2"],
        &["status"],
    ] {
        let failed = run_baton(&[arguments, &["--admin", &address]].concat()).await;
        assert_eq!((failed.code, &*failed.stdout), (Some(1), ""), "{arguments:?}: {failed:?}");
        assert_eq!(failed.stderr.lines().count(), 1, "{failed:?}");
        let says = format!("cannot reach the admin interface at {address}");
        assert!(failed.stderr.contains(&says), "{failed:?}");
    }
    for arguments in [
        &["drain"][..],
        &["drain", "a:1", "--within", "soon"],
        &["drain", "a:1", "--admin", "nowhere"],
        &["weight", "a:1"],
        &["weight", "a:1", "0"],
        &["weight", "a:1", "1001"],
        &["status", "a:1"],
    ] {
        let wrong = run_baton(arguments).await;
        assert_eq!(wrong.code, Some(2), "{arguments:?}: {wrong:?}");
    }
}
