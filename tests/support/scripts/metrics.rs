//! A proxy with metrics, and a backend that changes each of them.

use bytes::Bytes;
use h2::Reason;

use crate::support::exposition::Exposition;
use crate::support::{Baton, Exchange};

/// Starts Baton with an admin interface and these flags, before one backend.
pub(crate) async fn start(url: &str, flags: &[&str]) -> Baton {
    Baton::start(&[url], &[&["--admin", "127.0.0.1:0"], flags].concat()).await
}

/// The value of a metric in the default cluster.
pub(crate) fn count(metrics: &Exposition, name: &str, labels: &[(&str, &str)]) -> u64 {
    metrics.sum(name, &[&[("cluster", "default")], labels].concat()) as u64
}

pub(crate) async fn answer_by_path(mut exchange: Exchange) {
    match exchange.head.uri().path() {
        "/hang" => exchange.wait_for_reset().await,
        "/refuse" => match exchange.times_arrived() {
            1 => exchange.reset(Reason::REFUSED_STREAM),
            _ => exchange.answer(200, "second").await,
        },
        "/retry" => match exchange.times_arrived() {
            1 => exchange.reset(Reason::REFUSED_STREAM),
            _ => exchange.wait_for_reset().await,
        },
        "/reset" => exchange.reset(Reason::INTERNAL_ERROR),
        "/404" => exchange.answer(404, "no").await,
        "/echo" => exchange.echo().await,
        _ => {
            let _ = exchange.start(200).map(|mut stream| stream.send_data(Bytes::new(), true));
        }
    }
}
