//! Serves the commands to a worker.

use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::backends::BackendEntry;
use super::clusters::Clusters;
use super::control::{Command, Reload};
use super::drain::Drain;
use super::driver::Driver;
use super::metrics::WorkerMetrics;
use super::operator::{Found, Named, Order, Query};
use super::snapshot::WorkerSnapshot;
use super::worker_state::WorkerState;

/// Serves commands until every sender is dropped.
pub async fn serve(
    mut commands: UnboundedReceiver<Command>,
    worker_state: Rc<WorkerState>,
    stop: Rc<Notify>,
    drain: Drain,
) {
    let clusters = worker_state.clusters();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Snapshot(answer) => {
                let client_buffered_bytes = worker_state.buffered_bytes();
                let snapshot = WorkerSnapshot {
                    metrics: WorkerMetrics {
                        client_buffered_bytes,
                        ..clusters.telemetry().metrics()
                    },
                    clusters: clusters.drivers().iter().map(|driver| driver.snapshot()).collect(),
                };
                // The requester may have given up.
                let _ = answer.send(snapshot);
            }
            Command::HealthCheckFound(found) => clusters.health_check_found(&found),
            Command::Reload(Reload { config, certificates, difference, listeners, confirm }) => {
                let confirmed =
                    worker_state.reconfigure(&config, &certificates, &difference, listeners);
                // The requester may have given up.
                let _ = confirm.send(confirmed);
            }
            Command::Backend(query, order, answer) => {
                let _ = answer.send(carry_out(clusters, &query, order));
            }
            Command::Drain => drain.order(),
            Command::Stop => stop.notify_one(),
        }
    }
}

/// Finds the backend that `query` selects and carries out the order. Does nothing if several match.
fn carry_out(clusters: &Clusters, query: &Query, order: Order) -> Found {
    let drivers = clusters.drivers();
    let all = |backends: fn(&Driver) -> Vec<Rc<BackendEntry>>| {
        drivers.iter().flat_map(move |driver| {
            backends(driver).into_iter().map(move |backend| (driver, backend))
        })
    };
    let meant = |(driver, backend): &(&Rc<Driver>, Rc<BackendEntry>)| {
        query.cluster.as_deref().is_none_or(|cluster| *cluster == **driver.cluster())
            && backend.url.is_called(&query.backend)
    };
    let mut found: Vec<_> = all(Driver::configured).filter(meant).collect();
    if found.is_empty() && order == Order::Show {
        // A removed backend can be shown until its last connection is closed.
        found = all(Driver::all_backends).filter(meant).collect();
    }
    let Some((driver, _)) = found.first() else {
        return Found::None(names(all(Driver::configured)));
    };
    let mut names = names(found.iter().cloned());
    if names.len() > 1 {
        return Found::Several(names);
    }
    // The same URL may be configured twice with different TLS names: it is one backend to an
    // operator.
    let backends: Vec<_> = found.iter().map(|(_, backend)| Rc::clone(backend)).collect();
    let mut changed = false;
    for backend in &backends {
        changed |= driver.carry_out_order(backend.token, order);
    }
    let named = names.pop().expect("a backend was found");
    Found::One(named, driver.report(&backends, changed))
}

/// The names of backends, sorted, each once.
fn names<'a>(backends: impl Iterator<Item = (&'a Rc<Driver>, Rc<BackendEntry>)>) -> Vec<Named> {
    let named = backends.map(|(driver, backend)| Named {
        cluster: driver.cluster().to_string(),
        backend: backend.name.to_string(),
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}
