//! Tests the commands about a backend: selecting it, errors, and the output of `baton status`.

use http::Method;

use crate::support::certificate::{cluster_trust, scratch_file};
use crate::support::command::{command, order};
use crate::support::{Backend, Baton, Http2};
use crate::system::{replace, run};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

#[test]
fn weights_shift_the_load_and_status_shows_them() {
    run(async {
        let (heavy, light) = (Backend::healthy().await, Backend::healthy().await);
        let flags = [&ADMIN[..], &["-s", "weighted"]].concat();
        let baton = Baton::start(&[heavy.url(), light.url()], &flags).await;
        let changed = command(&baton, &["weight", &heavy.url(), "9"]).await;
        assert_eq!((changed.code, &*changed.stderr), (Some(0), ""), "{changed:?}");
        let client = Http2::connect(baton.address).await;
        for _ in 0..100 {
            assert_eq!(client.get("/").await.expect("answered").status, 200);
        }
        let counts = [&heavy, &light].map(|backend| backend.seen(|seen| seen.heads.len()));
        assert!(counts[0] >= 85 && counts[1] >= 5, "nine to one: {counts:?}");

        assert_eq!(command(&baton, &["drain", &light.url()]).await.code, Some(0));
        let status = command(&baton, &["status"]).await;
        assert_eq!((status.code, &*status.stderr), (Some(0), ""), "{status:?}");
        let rows: Vec<Vec<_>> =
            status.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0][..4], ["CLUSTER", "BACKEND", "STATE", "SINCE"]);
        assert_eq!((rows[1][1], rows[1][2], rows[1][5]), (&*heavy.url(), "up", "9"), "{status:?}");
        assert_eq!((rows[2][1], rows[2][2], rows[2][4]), (&*light.url(), "draining", "operator"));
    });
}

#[test]
fn an_unknown_backend_is_an_error_that_lists_the_known_ones() {
    run(async {
        let backend = Backend::healthy().await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let near = format!("{}1", backend.url());
        for what in ["drain", "undrain"] {
            let failed = command(&baton, &[what, &near]).await;
            assert_eq!((failed.code, &*failed.stdout), (Some(1), ""), "{failed:?}");
            assert!(failed.stderr.starts_with("baton: no backend"), "{failed:?}");
            assert!(failed.stderr.contains(&backend.url()), "{failed:?}");
        }
        let (status, refusal) = order(&baton, Method::POST, "/drain?backend=nowhere:1").await;
        assert_eq!((status, &refusal["known"][0]["backend"]), (404, &backend.url().into()));
        let (status, _) = order(&baton, Method::GET, "/drain?backend=nowhere:1").await;
        assert_eq!(status, 404);
        let place = backend.address;
        for (target, says) in [
            ("/drain".to_owned(), "'backend' is missing"),
            (format!("/drain?backend={place}&within=soon"), "expected a time"),
            (format!("/drain?backend={place}&wait=1"), "unknown parameter 'wait'"),
            (format!("/drain?backend={place}&backend={place}"), "twice"),
            (format!("/weight?backend={place}"), "'weight' is missing"),
            (format!("/weight?backend={place}&weight=0"), "from 1 to 1000"),
            (format!("/weight?backend={place}&weight=1001"), "from 1 to 1000"),
        ] {
            let (status, refusal) = order(&baton, Method::POST, &target).await;
            let error = refusal["error"].as_str().expect("text");
            assert!(status == 400 && error.contains(says), "{target}: {status} {error}");
        }
        let (status, _) = order(&baton, Method::GET, "/undrain").await;
        assert_eq!(status, 405);
        assert!(baton.lines("backend changed").is_empty(), "no backend changed");
    });
}

#[test]
fn a_backend_of_two_clusters_is_drained_only_in_the_named_one() {
    run(async {
        let backend = Backend::healthy().await;
        let trust = cluster_trust();
        let file = scratch_file("drain-two-clusters.toml");
        let cluster = |name: &str| {
            format!(
                "[cluster.{name}]\n{trust}\n[[cluster.{name}.backend]]\nurl = \"{}\"\n",
                backend.url()
            )
        };
        let text = format!(
            "[process]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \
             \"127.0.0.1:0\"\n{}{}[[route]]\ncluster = \"web\"\n[[route]]\npath_prefix = \"/api\"\ncluster = \
             \"api\"\n",
            cluster("web"),
            cluster("api")
        );
        replace(&file, &text);
        let baton = Baton::start_with_file(&file, &[]).await;
        let ambiguous = command(&baton, &["drain", &backend.url()]).await;
        assert_eq!(ambiguous.code, Some(1), "{ambiguous:?}");
        for name in ["api: ", "web: "] {
            assert!(
                ambiguous.stderr.contains(&format!("{name}{}", backend.url())),
                "{ambiguous:?}"
            );
        }
        let (status, refusal) =
            order(&baton, Method::POST, &format!("/drain?backend={}", backend.url())).await;
        assert_eq!((status, refusal["known"].as_array().map(Vec::len)), (409, Some(2)));
        let drained = command(&baton, &["drain", &backend.url(), "--cluster", "api"]).await;
        assert_eq!(drained.code, Some(0), "{drained:?}");
        let status = command(&baton, &["status"]).await.stdout;
        let state = |cluster: &str| {
            let row = status.lines().find(|line| line.starts_with(cluster)).expect("a row");
            row.split_whitespace().nth(2).expect("a state").to_owned()
        };
        assert_eq!((state("api"), state("web")), ("draining".to_owned(), "up".to_owned()));
        let answer = Http2::connect(baton.address).await.get("/").await.expect("answered");
        assert_eq!(answer.status, 200, "the other cluster still serves");
    });
}
