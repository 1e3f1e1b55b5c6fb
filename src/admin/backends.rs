//! An operator's orders about a backend: show, drain, undrain, weight. An order goes to every
//! worker. Each worker looks the backend up, and does nothing if none or several match.

use std::collections::BTreeSet;

use http::StatusCode;

use super::order::Parameters;
use super::reply::{self, Reply};
use super::report::{Refusal, Report};
use crate::config::value::{Field, Kind};
use crate::pool::limits::WEIGHT_MAX;
use crate::proxy::control::{self, Command, Commands};
use crate::proxy::limits::{NAMED_BACKENDS_MAX, WORKER_ANSWER_TIMEOUT};
use crate::proxy::operator::{BackendReport, Found, Named, Order, Query, WorkerReport};

/// The weights that there are.
const WEIGHTS: Kind = Kind::count(WEIGHT_MAX as u64);

/// Reads which backend an order is about.
///
/// # Errors
/// A message if `backend` is missing or empty.
pub(super) fn query(parameters: &Parameters) -> Result<Query, String> {
    let Some(backend) = parameters.get("backend").filter(|backend| !backend.is_empty()) else {
        return Err("parameter 'backend' is missing; expected a URL, or host and port".to_owned());
    };
    let cluster = parameters.get("cluster").map(str::to_owned);
    Ok(Query { cluster, backend: backend.to_owned() })
}

/// Reads an order to drain.
///
/// # Errors
/// A message if `within` is not a duration.
pub(super) fn drain(parameters: &Parameters) -> Result<Order, String> {
    let within = parameters.get("within");
    let within = within.map(|text| read("within", text, Kind::Duration { zero: true }));
    Ok(Order::Drain { within: within.transpose()? })
}

/// Reads an order to set the weight.
///
/// # Errors
/// A message if `weight` is missing or out of bounds.
pub(super) fn weight(parameters: &Parameters) -> Result<Order, String> {
    let Some(text) = parameters.get("weight") else {
        return Err(format!("parameter 'weight' is missing; expected {WEIGHTS}"));
    };
    Ok(Order::Weight(read("weight", text, WEIGHTS)?))
}

fn read<T: Field>(name: &str, text: &str, kind: Kind) -> Result<T, String> {
    let value = kind.read_text(text).map(T::from_value);
    value.map_err(|expected| format!("parameter '{name}': '{text}'; {expected}"))
}

/// Gives an order to every worker, and reports the result.
pub(super) async fn give(workers: &[Commands], query: Query, order: Order) -> Reply {
    let question = |sender| Command::Backend(query.clone(), order, sender);
    let answers = control::ask(workers, WORKER_ANSWER_TIMEOUT, question).await;
    let refused = answers.iter().flatten().find_map(|found| refusal(&query, found));
    let found: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer {
            Some(Found::One(report)) => Said::Has(report),
            // Workers do not free a removed backend at the same time.
            Some(Found::None(_) | Found::Several(_)) => Said::HasNot,
            None => Said::Nothing,
        })
        .collect();
    if let Some(first) = found.iter().find_map(Said::report) {
        let named = first.named.clone();
        return reply::json(StatusCode::OK, &report(named, order, found));
    }
    if let Some((status, refusal)) = refused {
        return reply::json(status, &refusal);
    }
    let limit = WORKER_ANSWER_TIMEOUT;
    let text = format!("no worker answered within {limit:?}; each acts when it can");
    reply::error(StatusCode::SERVICE_UNAVAILABLE, &text)
}

/// A worker's answer.
enum Said {
    Has(BackendReport),
    HasNot,
    /// No answer in time.
    Nothing,
}

impl Said {
    fn report(&self) -> Option<&BackendReport> {
        match self {
            Self::Has(report) => Some(report),
            Self::HasNot | Self::Nothing => None,
        }
    }
}

/// Merges the answers of all workers.
fn report(named: Named, order: Order, found: Vec<Said>) -> Report {
    let answered = || found.iter().filter_map(Said::report);
    let states: BTreeSet<_> = answered().filter_map(|report| report.worker.state).collect();
    let state = states.first().filter(|_| states.len() == 1);
    let connections = || answered().flat_map(|report| &report.worker.connections);
    Report {
        state: state.map_or("mixed", |state| state.name()).to_owned(),
        weight: answered().map(|report| report.weight).min().unwrap_or_default(),
        changed: answered().any(|report| report.changed),
        deadline_ms: answered().filter_map(|report| report.deadline_ms).max(),
        connections: connections().count(),
        streams: connections().map(|connection| connection.streams.len()).sum(),
        cut: answered().map(|report| report.cut_total).sum(),
        warnings: warnings(order, &found),
        workers: found.into_iter().enumerate().map(worker_report).collect(),
        cluster: named.cluster,
        backend: named.backend,
    }
}

fn worker_report((worker, said): (usize, Said)) -> WorkerReport {
    match said {
        Said::Nothing => WorkerReport { worker, ..WorkerReport::default() },
        Said::HasNot => WorkerReport { worker, answered: true, ..WorkerReport::default() },
        Said::Has(report) => report.worker,
    }
}

/// Effects of the order that the operator may not expect.
fn warnings(order: Order, found: &[Said]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (worker, said) in found.iter().enumerate() {
        if matches!(said, Said::Nothing) {
            let limit = WORKER_ANSWER_TIMEOUT;
            warnings.push(format!("worker {worker} did not answer within {limit:?}"));
        }
    }
    let any = |holds: fn(&BackendReport) -> bool| found.iter().filter_map(Said::report).any(holds);
    let changed = any(|report| report.changed);
    match order {
        Order::Show => {}
        Order::Drain { .. } => {
            if any(|report| report.others == 0) {
                let text =
                    "no other backend of the cluster takes requests: they wait, then fail with 503";
                warnings.push(text.to_owned());
            }
            if !changed {
                let text = "it was draining already; its deadline is not extended";
                warnings.push(text.to_owned());
            }
        }
        Order::Undrain if !changed => warnings.push("it was not drained".to_owned()),
        Order::Undrain => {}
        Order::Weight(_) => {
            if any(|report| !report.weights_count) {
                let text = "the cluster's strategy ignores weights; only 'weighted' uses them";
                warnings.push(text.to_owned());
            }
        }
    }
    warnings
}

/// The error to answer if a worker found no backend, or several.
fn refusal(query: &Query, found: &Found) -> Option<(StatusCode, Refusal)> {
    let backend = &query.backend;
    match found {
        Found::One(_) => None,
        Found::Several(meant) => {
            let error = format!(
                "'{backend}' matches more than one backend; expected one of {}",
                listed(meant, |named| named.cluster.clone() + ": " + &named.backend)
            );
            Some((StatusCode::CONFLICT, Refusal { error, known: meant.clone() }))
        }
        Found::None(known) => {
            let known = nearest(query, known);
            let clusters = known.iter().map(|named| &named.cluster);
            let unknown =
                query.cluster.as_ref().filter(|name| !clusters.clone().any(|it| it == *name));
            let error = if let Some(cluster) = unknown {
                let mut names: Vec<_> = clusters.cloned().collect();
                names.dedup();
                format!("no cluster '{cluster}'; expected {}", listed(&names, String::clone))
            } else {
                let within = query.cluster.as_ref();
                let cluster =
                    within.map_or_else(String::new, |name| format!(" in cluster '{name}'"));
                let listed = listed(&known, |named| named.cluster.clone() + ": " + &named.backend);
                format!("no backend '{backend}'{cluster}; expected one of {listed}")
            };
            Some((StatusCode::NOT_FOUND, Refusal { error, known }))
        }
    }
}

/// Lists the first few entries, and counts the others.
fn listed<T>(all: &[T], name: impl Fn(&T) -> String) -> String {
    let mut names: Vec<_> = all.iter().take(NAMED_BACKENDS_MAX).map(name).collect();
    if all.len() > NAMED_BACKENDS_MAX {
        names.push(format!("{} more", all.len() - NAMED_BACKENDS_MAX));
    }
    names.join(", ")
}

/// Sorts backends by similarity to the query, most similar first.
fn nearest(query: &Query, known: &[Named]) -> Vec<Named> {
    let similarity = |named: &Named| {
        let place = named.backend.split_once("://").map_or(&*named.backend, |(_, place)| place);
        let backend = [&*named.backend, place]
            .map(|name| strsim::normalized_damerau_levenshtein(&query.backend, name));
        let cluster = query
            .cluster
            .as_ref()
            .map_or(1.0, |cluster| strsim::normalized_damerau_levenshtein(cluster, &named.cluster));
        (cluster, backend[0].max(backend[1]))
    };
    let mut sorted: Vec<_> = known.iter().map(|named| (similarity(named), named)).collect();
    // The sort is stable: equally similar backends keep their order.
    sorted.sort_by(|((a_cluster, a), _), ((b_cluster, b), _)| {
        b_cluster.total_cmp(a_cluster).then(b.total_cmp(a))
    });
    sorted.into_iter().map(|(_, named)| named.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::seams;

    fn named(cluster: &str, backend: &str) -> Named {
        Named { cluster: cluster.to_owned(), backend: backend.to_owned() }
    }

    fn refused(cluster: Option<&str>, backend: &str, found: &Found) -> (u16, Refusal) {
        let query = Query { cluster: cluster.map(str::to_owned), backend: backend.to_owned() };
        let (status, refusal) = refusal(&query, found).expect("it is refused");
        (status.as_u16(), refusal)
    }

    #[test]
    fn an_unknown_backend_names_the_nearest_first() {
        let known = [
            named("api", "https://10.0.0.3:8443"),
            named("web", "https://10.0.0.1:8443"),
            named("web", "https://10.0.0.2:9000"),
        ];
        let found = Found::None(known.to_vec());
        let (status, refusal) = refused(None, "10.0.0.2:9001", &found);
        assert_eq!((status, &refusal.known[0]), (404, &known[2]));
        assert!(refusal.error.starts_with(
            "no backend '10.0.0.2:9001'; expected one of web: https://10.0.0.2:9000, "
        ));
        let (_, refusal) = refused(Some("api"), "10.0.0.2:9000", &found);
        assert_eq!(refusal.known[0], known[0], "the cluster counts first");
        assert!(refusal.error.starts_with("no backend '10.0.0.2:9000' in cluster 'api'"));
        let (_, refusal) = refused(Some("wbe"), "10.0.0.2:9000", &found);
        assert_eq!(refusal.error, "no cluster 'wbe'; expected web, api");
    }

    #[test]
    fn a_long_list_is_cut_in_the_message_but_complete_in_the_json() {
        let many: Vec<_> = (1..=20).map(|port| named("web", &format!("http://a:{port}"))).collect();
        let (status, refusal) = refused(None, "a:1", &Found::Several(many));
        assert_eq!((status, refusal.known.len()), (409, 20));
        assert!(refusal.error.ends_with("web: http://a:5, 15 more"), "{}", refusal.error);
    }

    fn has(query: &Query) -> Found {
        Found::One(BackendReport {
            named: named("web", &query.backend),
            weight: 1,
            weights_count: false,
            others: 1,
            changed: true,
            deadline_ms: Some(5),
            cut_total: 0,
            worker: WorkerReport {
                answered: true,
                state: Some(crate::pool::BackendState::Draining),
                ..WorkerReport::default()
            },
        })
    }

    /// A worker that does not answer may still have connections to the backend.
    #[test]
    fn a_backend_is_not_clear_while_a_worker_does_not_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (answering, mut commands) = tokio::sync::mpsc::unbounded_channel();
        let (hanging, _kept) = tokio::sync::mpsc::unbounded_channel();
        let query = Query { cluster: None, backend: "http://a:1".to_owned() };
        let order = Order::Drain { within: None };
        tokio::task::LocalSet::new().block_on(&runtime, async {
            seams::spawn(async move {
                while let Some(command) = commands.recv().await {
                    if let Command::Backend(query, _, answer) = command {
                        let _ = answer.send(has(&query));
                    }
                }
            });
            let reply = give(&[answering.clone(), hanging.clone()], query.clone(), order).await;
            let body = http_body_util::BodyExt::collect(reply.into_body()).await.expect("whole");
            let report: Report = serde_json::from_slice(&body.to_bytes()).expect("a report");
            assert!(report.is_out() && !report.is_clear(), "{report:?}");
            assert_eq!(report.silent().collect::<Vec<_>>(), [1]);
            assert_eq!(report.warnings, ["worker 1 did not answer within 1s"]);
            let reply = give(std::slice::from_ref(&hanging), query.clone(), order).await;
            assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
            let reply = give(std::slice::from_ref(&answering), query, order).await;
            let body = http_body_util::BodyExt::collect(reply.into_body()).await.expect("whole");
            let report: Report = serde_json::from_slice(&body.to_bytes()).expect("a report");
            assert!(report.is_clear() && report.warnings.is_empty(), "{report:?}");
        });
    }
}
