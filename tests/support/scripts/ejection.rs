//! Backends that fail on demand, and a proxy with clients before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crate::support::{Backend, Baton, Behaviour, Http2};

/// Answers with 502, 503 and 504 in turn while `failing`, otherwise with 200.
pub(crate) async fn failing_while(failing: &Arc<AtomicBool>) -> Backend {
    let failing = Arc::clone(failing);
    let failures = AtomicU16::new(0);
    let behaviour = Behaviour { cleartext: true, ..Behaviour::default() };
    Backend::start(behaviour, move |exchange| {
        let status = match failing.load(Ordering::Relaxed) {
            true => 502 + failures.fetch_add(1, Ordering::Relaxed) % 3,
            false => 200,
        };
        exchange.answer(status, "")
    })
    .await
}

pub(crate) fn always(failing: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(failing))
}

pub(crate) async fn start(backends: &[&Backend], flags: &[&str]) -> (Baton, Http2) {
    let urls: Vec<_> = backends.iter().map(|backend| backend.url()).collect();
    let baton = Baton::start(&urls, &[&["--admin", "127.0.0.1:0"], flags].concat()).await;
    let client = Http2::connect(baton.address).await;
    (baton, client)
}
