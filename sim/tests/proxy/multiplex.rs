//! Tests many requests over few connections: none swapped, none lost.

use crate::support::{Backend, Baton, Http2};
use crate::system::run;

/// Round robin gives each backend half of the requests.
#[test]
fn round_robin_shares_evenly() {
    run(async {
        let first = Backend::healthy().await;
        let second = Backend::healthy().await;
        let baton = Baton::start(&[first.url(), second.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..100 {
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        }
        let shares = [&first, &second].map(|backend| backend.seen(|seen| seen.heads.len()));
        assert!(shares.iter().all(|share| (40..=60).contains(share)), "{shares:?}");
    });
}

/// With `--strategy weighted`, the weights are the shares.
#[test]
fn weights_are_shares() {
    run(async {
        let light = Backend::healthy().await;
        let heavy = Backend::healthy().await;
        let urls = [light.url(), format!("{};weight=4", heavy.url())];
        let baton = Baton::start(&urls, &["--strategy", "weighted"]).await;
        let client = Http2::connect(baton.address).await;
        for _ in 0..100 {
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        }
        let shares = [&light, &heavy].map(|backend| backend.seen(|seen| seen.heads.len()));
        assert!((10..=30).contains(&shares[0]), "{shares:?}: one in five expected");
    });
}
