//! Tests several clusters behind one listener, and several listeners.

use http::Method;

use crate::support::certificate::{cluster_trust, scratch_file};
use crate::support::client::head;
use crate::support::{Backend, Baton, Exchange, Http1, Http2};
use crate::system::{replace, run};

/// Writes a configuration file.
fn file(name: &str, text: &str) -> std::path::PathBuf {
    let path = scratch_file(name);
    replace(&path, text);
    path
}

/// One cluster with one backend.
fn cluster(name: &str, url: &str, more: &str) -> String {
    let trust = cluster_trust();
    format!(
        "[cluster.{name}]\n{trust}\n{more}\n\
         [[cluster.{name}.backend]]\nurl = \"{url}\"\n"
    )
}

async fn named(name: &'static str) -> Backend {
    Backend::start(Default::default(), move |exchange: Exchange| exchange.answer(200, name)).await
}

fn request(host: &str, path: &str) -> http::Request<()> {
    let mut head = head(Method::GET, path, path);
    *head.uri_mut() = format!("http://{host}{path}").parse().expect("a valid URI");
    head
}

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";

#[test]
fn host_and_path_decide_which_cluster_gets_a_request() {
    run(async {
        let (web, api, static_files) =
            (named("web").await, named("api").await, named("files").await);
        let text = [
            "[process]\nworkers = 1\n".to_owned(),
            LISTENER.to_owned(),
            cluster("web", &web.url(), ""),
            cluster("api", &api.url(), ""),
            cluster("files", &static_files.url(), ""),
            "[[route]]\nhost = \"www.test\"\ncluster = \"web\"\n".to_owned(),
            "[[route]]\nhost = \"www.test\"\npath_prefix = \"/files\"\ncluster = \"files\"\n"
                .to_owned(),
            "[[route]]\nhost = \"*.test\"\npath_prefix = \"/api\"\ncluster = \"api\"\n".to_owned(),
        ];
        let baton = Baton::start_with_file(&file("routes.toml", &text.concat()), &[]).await;
        let http2 = Http2::connect(baton.address).await;
        let mut http1 = Http1::connect(baton.address).await;
        let expected = [
            ("www.test", "/", "web"),
            ("WWW.test.", "/x?y=/files", "web"),
            ("www.test:8080", "/files?x", "files"),
            ("www.test", "/files/x", "files"),
            ("www.test", "/filesystem", "web"),
            ("www.test", "/api", "web"),
            ("other.test", "/api/x", "api"),
        ];
        for (host, path, cluster) in expected {
            let answer = http2.send(request(host, path), "").await.expect("it is answered");
            assert_eq!(
                (answer.status.as_u16(), &answer.body[..]),
                (200, cluster.as_bytes()),
                "{path}"
            );
            let answer = http1.send(request(host, path), "").await.expect("it is answered");
            assert_eq!(
                (answer.status.as_u16(), &answer.body[..]),
                (200, cluster.as_bytes()),
                "{path}"
            );
        }
        for (host, path) in [("other.test", "/"), ("other.test", "/apix"), ("test", "/api")] {
            let answer = http2.send(request(host, path), "").await.expect("Baton's own answer");
            assert_eq!(answer.status, 404, "{host}{path}");
            let status = answer.header("proxy-status");
            assert!(
                status.starts_with("baton; error=destination_not_found; details=\""),
                "{status}"
            );
            assert_eq!(answer.body, "no route for this host and path\n");
        }
        let lines = baton.wait_for_requests(2 * expected.len() + 3).await;
        let unrouted: Vec<_> = lines.iter().filter(|line| line["reason"] == "no_route").collect();
        assert_eq!(unrouted.len(), 3, "{lines:?}");
        for line in unrouted {
            assert_eq!((&line["status"], &line["backend"]), (&404.into(), &"-".into()), "{line}");
        }
    });
}

/// Clusters have separate pools: a failure in one does not affect the other.
#[test]
fn a_cluster_that_is_down_does_not_affect_the_other() {
    run(async {
        let mut down = named("down").await;
        let up = named("up").await;
        let text = [
            "[process]\nworkers = 1\n".to_owned(),
            LISTENER.to_owned(),
            cluster("down", &down.url(), "timeouts.queue = \"300ms\""),
            cluster("up", &up.url(), "limits = { connections_per_backend = 1 }"),
            "[[route]]\npath_prefix = \"/down\"\ncluster = \"down\"\n".to_owned(),
            "[[route]]\ncluster = \"up\"\n".to_owned(),
        ];
        let baton = Baton::start_with_file(&file("down.toml", &text.concat()), &[]).await;
        let client = Http2::connect(baton.address).await;
        assert_eq!(client.get("/down").await.expect("it is answered").body, "down");
        down.stop().await;
        for _ in 0..3 {
            assert_eq!(client.get("/down").await.expect("Baton's own answer").status, 503);
            assert_eq!(client.get("/").await.expect("it is answered").body, "up");
        }
        assert_eq!(up.seen(|seen| seen.connections), 1);
    });
}

/// Each worker has one pool per cluster, and uses one connection per backend.
#[test]
fn every_worker_serves_every_cluster() {
    run(async {
        let (one, two) = (named("one").await, named("two").await);
        let text = [
            LISTENER.to_owned(),
            cluster("one", &one.url(), ""),
            cluster("two", &two.url(), ""),
            "[[route]]\nhost = \"one.test\"\ncluster = \"one\"\n".to_owned(),
            "[[route]]\nhost = \"two.test\"\ncluster = \"two\"\n".to_owned(),
        ];
        let path = file("workers.toml", &text.concat());
        let baton = Baton::start_with_file(&path, &["--workers", "3"]).await;
        for _ in 0..24 {
            let client = Http2::connect(baton.address).await;
            for host in ["one.test", "two.test"] {
                let answer = client.send(request(host, "/"), "").await.expect("it is answered");
                assert_eq!(answer.body, host.strip_suffix(".test").expect("as above"));
            }
        }
        let most = |backend: &Backend| backend.seen(|seen| seen.connections);
        assert!(most(&one) <= 3 && most(&two) <= 3, "one connection for each worker");
    });
}
