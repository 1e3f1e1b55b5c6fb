use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::*;
use crate::proxy::content::Body;

/// Runs a test that is a client of the plan's backend, on one connection.
fn against<Test>(plan: Plan, test: impl FnOnce(Pipe, Rc<Http1Backend>) -> Test) -> Ran
where
    Test: Future<Output = ()>,
{
    simulate(async {
        let hub = Hub::start(plan);
        let (path, backend) = (Path::new(1 << 16), Http1Backend::new(&hub, 0));
        let io = path.dial(1).expect("it listens");
        tokio::select! {
            biased;
            () = path.lead_to(&backend) => unreachable!("it serves for ever"),
            () = test(io, Rc::clone(&backend)) => {}
        }
        Ran::end(hub)
    })
}

async fn write(io: &mut Pipe, text: &str) {
    io.write_all(text.as_bytes()).await.expect("the backend reads");
}

/// Everything up to the end of the connection.
async fn read_to_end(io: &mut Pipe) -> String {
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.expect("the backend closes");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn a_backend_notices_wrong_bytes_and_a_missing_end() {
    let ran = against(plan(vec![upload(2)]), |mut io, _| async move {
        let mut content = Body::Request(2).piece(0, 100).to_vec();
        content[7] ^= 1;
        write(&mut io, "POST /r2 HTTP/1.1\r\nhost: a\r\ncontent-length: 101\r\n\r\n").await;
        io.write_all(&content).await.expect("the backend reads");
        sleep(Duration::from_millis(10)).await;
    });
    let execution = ran.execution(2);
    assert_eq!((execution.body.length, execution.body.wrong_at), (100, Some(7)));
    assert!(!execution.body_ended && execution.answer.is_none());
    ran.check_no_faults();
}

#[test]
fn a_backend_notes_what_the_proxy_must_not_write() {
    let cases = [
        "GET /r2 HTTP/1.1\r\n\r\n",
        "GET /r2 HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET /r2 HTTP/1.1\nhost: a\n\n",
        "GET /r2 HTTP/1.1\r\nhost: a\r\n\r\nGET /r3 HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /r2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        "POST /r2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
    ];
    for text in cases {
        let ran = against(plan(vec![request(2)]), |mut io, _| async move {
            write(&mut io, text).await;
            assert_eq!(read_to_end(&mut io).await, "");
        });
        assert_eq!(ran.hub.ledger.faults().len(), 1, "{text:?}");
    }
}

#[test]
fn a_request_that_is_given_up_is_not_answered() {
    let ran = against(plan(vec![request(2)]), |mut io, _| async move {
        write(&mut io, "GET /r2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        sleep(Duration::from_millis(5)).await;
        drop(io);
        sleep(Duration::from_secs(5)).await;
    });
    assert!(ran.execution(2).body_ended && ran.execution(2).answer.is_none());
    ran.check_no_faults();
}

#[test]
fn health_checks_are_answered_and_are_no_executions() {
    let check = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for (passed, expected) in [(Some(true), Some("200")), (Some(false), Some("503")), (None, None)]
    {
        let ran = against(plan(Vec::new()), |mut io, backend| async move {
            backend.answer_health_checks(passed, 1_000_000);
            write(&mut io, check).await;
            let read = timeout(Duration::from_secs(60), read_to_end(&mut io)).await.ok();
            let status = read.as_deref().and_then(|text| text.get(9..12));
            assert_eq!(status, expected);
        });
        assert!(ran.hub.ledger.executions().is_empty());
        ran.check_no_faults();
    }
    let _ = against(plan(Vec::new()), |mut io, backend| async move {
        backend.answer_health_checks(Some(false), 1_000_000);
        sleep(Duration::from_secs(2)).await;
        write(&mut io, check).await;
        assert!(read_to_end(&mut io).await.starts_with("HTTP/1.1 200 OK\r\n"));
    });
}

#[test]
fn a_request_from_after_the_faults_is_answered() {
    let ran = against(plan(Vec::new()), |mut io, _| async move {
        write(&mut io, "GET /r77 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let text = read_to_end(&mut io).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nx-execution: 0\r\ncontent-length: 0\r\n"));
        assert!(text.contains("connection: close\r\n"));
    });
    assert_eq!(ran.executions(77).len(), 1);
}

#[test]
fn a_backend_that_closes_early_reads_on_so_that_its_answer_is_not_lost() {
    let early = RequestPlan { early_response: true, ..upload(2) };
    let mut plan = plan(vec![early]);
    plan.backends[0].streams_per_connection = Some(1);
    let ran = against(plan, |mut io, _| async move {
        let head = "POST /r2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        write(&mut io, head).await;
        assert!(read_to_end(&mut io).await.contains("connection: close\r\n"));
        sleep(Duration::from_millis(900)).await;
        write(&mut io, "1\r\na\r\n").await;
        sleep(Duration::from_millis(200)).await;
        assert!(io.write_all(b"1\r\na\r\n").await.is_err(), "not for ever");
    });
    assert!(ran.execution(2).answer.expect("it was answered").ended.is_some());
    assert!(!ran.execution(2).body_ended);
}
