//! `baton drain`, `baton undrain` and `baton weight`: orders to a running Baton.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};

use super::admin_client::{self, AdminAddress, DEFAULT_ADMIN};
use super::table::{cell, counted, duration, table};
use crate::admin::report::{Refusal, Report};
use crate::pool::Instant;
use crate::pool::limits::{WEIGHT_MAX, weight_max};
use crate::proxy::limits::{WAIT_LINE_INTERVAL, WAIT_POLL_INTERVAL, WAIT_SILENT_POLLS_MAX};
use crate::proxy::operator::HeldStream;
use crate::proxy::seams::{self, Clock};

/// The argument that selects the running Baton.
#[derive(Debug, Args)]
pub struct AdminArguments {
    /// Address of the admin interface of the running Baton (its --admin)
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = AdminAddress::parse)]
    pub admin: AdminAddress,
}

/// Arguments that select a backend.
#[derive(Debug, Args)]
pub struct BackendArguments {
    /// URL of the backend, or its host and port
    #[arg(value_name = "BACKEND")]
    pub backend: String,
    /// Cluster of the backend; needed if several clusters have it
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The admin interface.
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// Arguments of `baton drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// The backend.
    #[command(flatten)]
    pub backend: BackendArguments,
    /// Time after which the remaining requests are cut [default: the cluster's timeouts.drain]
    #[arg(long, value_name = "TIME", value_parser = super::any_duration)]
    pub within: Option<Duration>,
    /// Wait until nothing holds the backend; exit with 1 if the deadline cut a request
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of `baton weight`.
#[derive(Debug, Args)]
pub struct WeightArguments {
    /// The backend.
    #[command(flatten)]
    pub backend: BackendArguments,
    /// Share of the requests under the strategy 'weighted', 1 to [`WEIGHT_MAX`].
    #[arg(
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(WEIGHT_MAX)),
        help = concat!("Share of the requests under the strategy 'weighted', 1 to ", weight_max!()),
    )]
    pub weight: u16,
}

/// The result of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Success.
    Good,
    /// The drain deadline cut requests.
    Cut,
}

/// Drains a backend. With `--wait`, waits until nothing holds it. Runs on a `LocalSet`.
///
/// # Errors
/// Why the command failed, one or more lines.
pub async fn drain(arguments: &DrainArguments, out: &mut impl Write) -> Result<Ending, String> {
    let within = arguments.within.map(|within| format!("{}ms", within.as_millis()));
    let report = order(&arguments.backend, "/drain", &[("within", within)]).await?;
    write(out, &beginning(&report))?;
    if !arguments.wait {
        return Ok(Ending::Good);
    }
    match follow(&arguments.backend, report, out).await? {
        Some(report) if report.cut > 0 => {
            write(out, &what_was_cut(&report))?;
            return Ok(Ending::Cut);
        }
        Some(_) => {}
        None => write(out, "it is no longer in the configuration, and nothing holds it\n")?,
    }
    Ok(Ending::Good)
}

/// Returns a backend to service. Runs on a `LocalSet`.
///
/// # Errors
/// Why the command failed, one or more lines.
pub async fn undrain(arguments: &BackendArguments, out: &mut impl Write) -> Result<Ending, String> {
    let report = order(arguments, "/undrain", &[]).await?;
    write(out, &format!("{}\n", headline(&report)))?;
    Ok(Ending::Good)
}

/// Sets the weight of a backend. Runs on a `LocalSet`.
///
/// # Errors
/// Why the command failed, one or more lines.
pub async fn weight(arguments: &WeightArguments, out: &mut impl Write) -> Result<Ending, String> {
    let weight = Some(arguments.weight.to_string());
    let report = order(&arguments.backend, "/weight", &[("weight", weight)]).await?;
    write(out, &format!("{}, weight {}\n", headline(&report), report.weight))?;
    Ok(Ending::Good)
}

/// Polls until nothing holds the backend, and prints each change of what holds it. Returns `None`
/// if the backend no longer exists.
async fn follow(
    arguments: &BackendArguments,
    mut report: Report,
    out: &mut impl Write,
) -> Result<Option<Report>, String> {
    let clock = Clock::start();
    let mut said = (summary(&report), Instant::ZERO);
    let mut silent = 0;
    loop {
        if !report.is_out() {
            return Err(format!("{} was undrained meanwhile", report.backend));
        }
        if report.is_clear() {
            if said.0 != summary(&report) {
                write(out, "nothing holds it any more\n")?;
            }
            return Ok(Some(report));
        }
        silent = if report.silent().next().is_some() { silent + 1 } else { 0 };
        if silent > WAIT_SILENT_POLLS_MAX {
            let workers: Vec<_> = report.silent().collect();
            return Err(format!("workers {workers:?} do not answer"));
        }
        let now = clock.now();
        if said.0 != summary(&report) && now.since(said.1) >= WAIT_LINE_INTERVAL {
            said = (summary(&report), now);
            write(out, &format!("{}{}\n", said.0, deadline(&report)))?;
        }
        seams::sleep(WAIT_POLL_INTERVAL).await;
        match ask(arguments, Method::GET, "/drain", &[]).await? {
            Ok(next) => report = next,
            Err((StatusCode::NOT_FOUND, _)) => return Ok(None),
            Err((_, why)) => return Err(why),
        }
    }
}

/// Gives an order, and prints its warnings to standard error.
async fn order(
    arguments: &BackendArguments,
    path: &str,
    parameters: &[(&str, Option<String>)],
) -> Result<Report, String> {
    let report = ask(arguments, Method::POST, path, parameters).await?.map_err(|(_, why)| why)?;
    for warning in &report.warnings {
        eprintln!("baton: warning: {warning}");
    }
    Ok(report)
}

/// The report, or the status and the message of a refusal.
type Answered = Result<Report, (StatusCode, String)>;

async fn ask(
    arguments: &BackendArguments,
    method: Method,
    path: &str,
    parameters: &[(&str, Option<String>)],
) -> Result<Answered, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("backend", &arguments.backend);
    if let Some(cluster) = &arguments.cluster {
        query.append_pair("cluster", cluster);
    }
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    query.extend_pairs(given);
    let target = format!("{path}?{}", query.finish());
    let address = &arguments.admin.admin;
    let (status, body) = admin_client::ask(address, method, &target).await?;
    let expected = "expected a Baton of this version";
    if status == StatusCode::OK {
        let wrong = |error| format!("cannot read the answer of {address}; {expected}: {error}");
        return serde_json::from_slice(&body).map(Ok).map_err(wrong);
    }
    let refusal: Result<Refusal, _> = serde_json::from_slice(&body);
    let unknown = |_| format!("{address} answered {status}; {expected}");
    Ok(Err((status, refusal.map_or_else(unknown, |refusal| refusal.error))))
}

/// Writes to standard output. If standard output is closed, the command ends with an error.
pub(super) fn write(out: &mut impl Write, text: &str) -> Result<(), String> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error: io::Error| format!("cannot write to standard output: {error}"))
}

fn headline(report: &Report) -> String {
    let Report { backend, cluster, state, .. } = report;
    format!("{backend} (cluster {cluster}): {state}")
}

/// Describes in one line what holds the backend.
fn summary(report: &Report) -> String {
    let mut text = if report.connections == 0 {
        "nothing holds it".to_owned()
    } else {
        let streams = counted(report.streams as u64, "request");
        format!("held by {streams} on {}", counted(report.connections as u64, "connection"))
    };
    for worker in report.silent() {
        text.push_str(&format!(", worker {worker} does not answer"));
    }
    text
}

fn deadline(report: &Report) -> String {
    let left = report.deadline_ms.map(|left| format!(", deadline in {}", duration(left)));
    left.unwrap_or_default()
}

/// Columns about a request: the stream, its age, the response and the request line.
fn request(held: &HeldStream) -> [String; 4] {
    let response = if held.response_begun { "begun" } else { "-" }.to_owned();
    let request = format!("{} {}", cell(&held.method), cell(&held.path));
    [held.stream.to_string(), duration(held.age_ms), response, request]
}

/// The first output of a drain: the state, and a table of what holds the backend.
fn beginning(report: &Report) -> String {
    let mut rows = Vec::new();
    for worker in &report.workers {
        for connection in &worker.connections {
            let mut requests: Vec<_> = connection.streams.iter().map(request).collect();
            if requests.is_empty() {
                requests.push(["-"; 4].map(str::to_owned));
            }
            for [stream, age, response, request] in requests {
                let (worker, name) = (worker.worker.to_string(), connection.connection.clone());
                let state = connection.state.to_string();
                rows.push([worker, name, state, stream, age, response, request]);
            }
        }
    }
    let head = ["WORKER", "CONNECTION", "STATE", "STREAM", "AGE", "RESPONSE", "REQUEST"];
    let left = if report.is_clear() { String::new() } else { deadline(report) };
    format!("{}; {}{left}\n{}", headline(report), summary(report), table(head, &rows))
}

/// A table of the requests that the deadline cut.
fn what_was_cut(report: &Report) -> String {
    let mut rows = Vec::new();
    for worker in &report.workers {
        for cut in &worker.cut {
            let [stream, age, response, request] = request(&cut.stream);
            let (worker, connection) = (worker.worker.to_string(), cut.connection.clone());
            let became = if cut.retried { "sent elsewhere" } else { "lost" }.to_owned();
            rows.push([worker, connection, stream, age, response, became, request]);
        }
    }
    let head = ["WORKER", "CONNECTION", "STREAM", "AGE", "RESPONSE", "BECAME", "REQUEST"];
    let more = report.cut.saturating_sub(rows.len() as u64);
    let more = if more > 0 { format!("and {more} more; see the log\n") } else { String::new() };
    let cut = counted(report.cut, "request");
    format!("the deadline cut {cut}:\n{}{more}", table(head, &rows))
}
