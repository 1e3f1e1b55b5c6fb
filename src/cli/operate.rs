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
use crate::proxy::seams::{self, Clock};

/// Where the running Baton is asked.
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
    let report = follow(&arguments.backend, report, out).await?;
    match report {
        Some(report) if report.cut > 0 => {
            write(out, &what_was_cut(&report))?;
            Ok(Ending::Cut)
        }
        Some(_) => Ok(Ending::Good),
        None => {
            write(out, "it is no longer in the configuration, and nothing holds it\n")?;
            Ok(Ending::Good)
        }
    }
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
            let left = report
                .deadline_ms
                .map_or_else(String::new, |left| format!(", deadline in {}", duration(left)));
            write(out, &format!("{}{left}\n", said.0))?;
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
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let target = format!("{path}?{}", query.finish());
    let address = &arguments.admin.admin;
    let (status, body) = admin_client::ask(address, method, &target).await?;
    if status == StatusCode::OK {
        let report = serde_json::from_slice(&body);
        return report.map(Ok).map_err(|error| {
            format!(
                "cannot read the answer of {address}; expected a Baton of this version: {error}"
            )
        });
    }
    let error = serde_json::from_slice::<Refusal>(&body).map_or_else(
        |_| format!("{address} answered {status}; expected a Baton of this version"),
        |refusal| refusal.error,
    );
    Ok(Err((status, error)))
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

/// The first output of a drain: the state, and a table of what holds the backend.
fn beginning(report: &Report) -> String {
    let left = report.deadline_ms.filter(|_| !report.is_clear());
    let left = left.map_or_else(String::new, |left| format!(", deadline in {}", duration(left)));
    let mut rows = Vec::new();
    for worker in &report.workers {
        for connection in &worker.connections {
            let start = || {
                let name = connection.connection.clone();
                [worker.worker.to_string(), name, connection.state.to_string()]
            };
            for stream in &connection.streams {
                let [worker, connection, state] = start();
                let response = if stream.response_begun { "begun" } else { "-" }.to_owned();
                let request = format!("{} {}", cell(&stream.method), cell(&stream.path));
                let number = stream.stream.to_string();
                let age = duration(stream.age_ms);
                rows.push([worker, connection, state, number, age, response, request]);
            }
            if connection.streams.is_empty() {
                let [worker, connection, state] = start();
                let rest = || "-".to_owned();
                rows.push([worker, connection, state, rest(), rest(), rest(), rest()]);
            }
        }
    }
    let head = ["WORKER", "CONNECTION", "STATE", "STREAM", "AGE", "RESPONSE", "REQUEST"];
    format!("{}; {}{left}\n{}", headline(report), summary(report), table(head, &rows))
}

/// A table of the requests that the deadline cut.
fn what_was_cut(report: &Report) -> String {
    let mut rows = Vec::new();
    for worker in &report.workers {
        for cut in &worker.cut {
            let request = format!("{} {}", cell(&cut.stream.method), cell(&cut.stream.path));
            rows.push([
                worker.worker.to_string(),
                cut.connection.clone(),
                cut.stream.stream.to_string(),
                duration(cut.stream.age_ms),
                if cut.stream.response_begun { "begun" } else { "-" }.to_owned(),
                if cut.retried { "sent elsewhere" } else { "lost" }.to_owned(),
                request,
            ]);
        }
    }
    let head = ["WORKER", "CONNECTION", "STREAM", "AGE", "RESPONSE", "BECAME", "REQUEST"];
    let listed = rows.len() as u64;
    let more = report.cut.saturating_sub(listed);
    let more = if more > 0 { format!("and {more} more; see the log\n") } else { String::new() };
    let cut = counted(report.cut, "request");
    format!("the deadline cut {cut}:\n{}{more}", table(head, &rows))
}
