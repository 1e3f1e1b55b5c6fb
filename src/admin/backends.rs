//! An operator's orders about a backend: show, drain, undrain, weight. An order goes to every
//! worker. Each worker looks the backend up, and does nothing if none or several match.

use std::collections::BTreeSet;

use http::StatusCode;
use strsim::normalized_damerau_levenshtein;

use super::order::Parameters;
use super::reply::{self, Refused, Reply};
use super::report::{Refusal, Report};
use crate::config::value::Kind;
use crate::pool::limits::WEIGHT_MAX;
use crate::proxy::control::{self, Command, Commands};
use crate::proxy::limits::{NAMED_BACKENDS_MAX, WORKER_ANSWER_TIMEOUT};
use crate::proxy::operator::{Found, Named, Order, Query, WorkerReport};

/// The valid weights.
const WEIGHTS: Kind = Kind::count(WEIGHT_MAX as u64);

/// Reads which backend an order is about.
///
/// # Errors
/// A message if `backend` is missing or empty.
fn query(parameters: &Parameters) -> Result<Query, String> {
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
    let within = parameters.get_as("within", Kind::Duration { zero: true })?;
    Ok(Order::Drain { within })
}

/// Reads an order to set the weight.
///
/// # Errors
/// A message if `weight` is missing or out of bounds.
pub(super) fn weight(parameters: &Parameters) -> Result<Order, String> {
    let weight = parameters.get_as("weight", WEIGHTS)?;
    let missing = || format!("parameter 'weight' is missing; expected {WEIGHTS}");
    weight.map(Order::Weight).ok_or_else(missing)
}

/// Reads an order and carries it out.
pub(super) async fn carry_out(
    workers: &[Commands],
    parameters: &Parameters,
    order: impl FnOnce(&Parameters) -> Result<Order, String>,
) -> Result<Reply, Refused> {
    let read = query(parameters).and_then(|query| Ok((query, order(parameters)?)));
    let (query, order) = read.map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    give(workers, query, order).await
}

/// Gives an order to every worker, and reports the result.
async fn give(workers: &[Commands], query: Query, order: Order) -> Result<Reply, Refused> {
    let question = |sender| Command::Backend(query.clone(), order, sender);
    let answers = control::ask(workers, WORKER_ANSWER_TIMEOUT, question).await;
    let refused = answers.iter().flatten().find_map(|found| refusal(&query, found));
    let mut named = None;
    let reports = answers.into_iter().enumerate().map(|(worker, answer)| {
        let answered = answer.is_some();
        if let Some(Found::One(names, report)) = answer {
            named.get_or_insert(names);
            return report;
        }
        // Workers do not free a removed backend at the same time.
        WorkerReport { worker, answered, ..WorkerReport::default() }
    });
    let reports = reports.collect();
    if let Some(named) = named {
        return Ok(reply::json(StatusCode::OK, &report(named, order, reports)));
    }
    if let Some((status, refusal)) = refused {
        return Ok(reply::json(status, &refusal));
    }
    let limit = WORKER_ANSWER_TIMEOUT;
    let text = format!("no worker answered within {limit:?}; each will act when it can");
    Err((StatusCode::SERVICE_UNAVAILABLE, text))
}

/// Merges the reports of all workers.
fn report(named: Named, order: Order, workers: Vec<WorkerReport>) -> Report {
    let states: BTreeSet<_> = workers.iter().filter_map(|worker| worker.state).collect();
    let state = states.first().filter(|_| states.len() == 1);
    let connections: Vec<_> = workers.iter().flat_map(|worker| &worker.connections).collect();
    Report {
        cluster: named.cluster,
        backend: named.backend,
        state: state.map_or("mixed", |state| state.name()).to_owned(),
        weight: having(&workers).map(|worker| worker.weight).min().unwrap_or_default(),
        changed: workers.iter().any(|worker| worker.changed),
        deadline_ms: workers.iter().filter_map(|worker| worker.deadline_ms).max(),
        connections: connections.len(),
        streams: connections.iter().map(|connection| connection.streams.len()).sum(),
        cut: workers.iter().map(|worker| worker.cut_total).sum(),
        warnings: warnings(order, &workers),
        workers,
    }
}

/// The reports of the workers that have the backend.
fn having(workers: &[WorkerReport]) -> impl Iterator<Item = &WorkerReport> {
    workers.iter().filter(|worker| worker.state.is_some())
}

/// Effects of the order that the operator may not expect.
fn warnings(order: Order, workers: &[WorkerReport]) -> Vec<String> {
    let late = workers.iter().filter(|worker| !worker.answered).map(|late| late.worker);
    let late = late
        .map(|worker| format!("worker {worker} did not answer within {WORKER_ANSWER_TIMEOUT:?}"));
    let mut warnings: Vec<_> = late.collect();
    let changed = workers.iter().any(|worker| worker.changed);
    let any = |holds: fn(&WorkerReport) -> bool| having(workers).any(holds);
    let mut warn = |holds: bool, text: &str| warnings.extend(holds.then(|| text.to_owned()));
    match order {
        Order::Show => {}
        Order::Drain { .. } => {
            warn(
                any(|worker| worker.others == 0),
                "no other backend of the cluster takes requests: they wait, then fail with 503",
            );
            warn(!changed, "it was draining already; its deadline is not extended");
        }
        Order::Undrain => warn(!changed, "it was not drained"),
        Order::Weight(_) => warn(
            any(|worker| !worker.weights_count),
            "the cluster's strategy ignores weights; only 'weighted' uses them",
        ),
    }
    warnings
}

/// Returns the error reply if a worker found no backend, or several; `None` otherwise.
fn refusal(query: &Query, found: &Found) -> Option<(StatusCode, Refusal)> {
    let full = |named: &Named| format!("{}: {}", named.cluster, named.backend);
    let Query { cluster, backend } = query;
    let (status, known, error) = match found {
        Found::One(..) => return None,
        Found::Several(meant) => {
            let error = format!("'{backend}' matches more than one backend; expected one of");
            (StatusCode::CONFLICT, meant.clone(), format!("{error} {}", listed(meant, full)))
        }
        Found::None(known) => {
            let known = nearest(query, known);
            let mut clusters: Vec<_> = known.iter().map(|named| &*named.cluster).collect();
            clusters.dedup();
            let error = match cluster.as_deref() {
                Some(name) if !clusters.contains(&name) => {
                    format!(
                        "no cluster '{name}'; expected {}",
                        listed(&clusters, |it| (*it).to_owned())
                    )
                }
                Some(name) => format!(
                    "no backend '{backend}' in cluster '{name}'; expected one of {}",
                    listed(&known, full)
                ),
                None => format!("no backend '{backend}'; expected one of {}", listed(&known, full)),
            };
            (StatusCode::NOT_FOUND, known, error)
        }
    };
    Some((status, Refusal { error, known }))
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
        let [url, place] = [&*named.backend, place]
            .map(|name| normalized_damerau_levenshtein(&query.backend, name));
        let cluster = query.cluster.as_ref();
        let cluster =
            cluster.map_or(1.0, |name| normalized_damerau_levenshtein(name, &named.cluster));
        (cluster, url.max(place))
    };
    let mut sorted: Vec<_> = known.iter().map(|named| (similarity(named), named)).collect();
    // The sort is stable: equally similar backends keep their order.
    sorted.sort_by(|(a, _), (b, _)| b.partial_cmp(a).expect("a similarity is a number"));
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
        let report = WorkerReport {
            answered: true,
            state: Some(crate::pool::BackendState::Draining),
            weight: 1,
            others: 1,
            changed: true,
            deadline_ms: Some(5),
            ..WorkerReport::default()
        };
        Found::One(named("web", &query.backend), report)
    }

    /// A worker that does not answer may still have connections to the backend.
    #[test]
    fn a_backend_is_not_clear_while_a_worker_does_not_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (answering, mut commands) = tokio::sync::mpsc::unbounded_channel();
        let (stalled, _kept) = tokio::sync::mpsc::unbounded_channel();
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
            let both = [answering.clone(), stalled.clone()];
            let reply = give(&both, query.clone(), order).await.expect("one answers");
            let body = http_body_util::BodyExt::collect(reply.into_body()).await.expect("whole");
            let report: Report = serde_json::from_slice(&body.to_bytes()).expect("a report");
            assert!(report.is_out() && !report.is_clear(), "{report:?}");
            assert_eq!(report.silent().collect::<Vec<_>>(), [1]);
            assert_eq!(report.warnings, ["worker 1 did not answer within 1s"]);
            let refused = give(&[stalled], query.clone(), order).await.expect_err("none answers");
            assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
            let reply = give(&[answering], query, order).await.expect("it answers");
            let body = http_body_util::BodyExt::collect(reply.into_body()).await.expect("whole");
            let report: Report = serde_json::from_slice(&body.to_bytes()).expect("a report");
            assert!(report.is_clear() && report.warnings.is_empty(), "{report:?}");
        });
    }
}
