//! Baton with its defaults except for the task's settings. The access log goes to /dev/null, so
//! that only the cost of formatting and writing the lines is measured.

use std::process::Command;

use super::Task;
use crate::certificates::NAME;
use crate::scenario::BackendProtocol;

/// Sets the arguments. Baton's limit of 2 048 connections per client address stays, because idle
/// clients use several addresses.
pub(super) fn prepare(command: &mut Command, task: &Task<'_>, access_log: bool) {
    let scheme = match task.backend {
        BackendProtocol::Tls => "https",
        BackendProtocol::Cleartext => "h2c",
    };
    let files = task.certificates;
    command.args(["run", "--log-level", "warn"]);
    command.args(["--client-http1-idle-timeout", "10m", "--client-http2-idle-timeout", "10m"]);
    command.args(["--listen", &task.listen.to_string()]);
    command.args(["--backend", &format!("{scheme}://{}", task.origin)]);
    command.args(["--workers", &task.workers.to_string()]);
    if task.backend == BackendProtocol::Tls {
        command.arg("--ca").arg(&files.authority).args(["--tls-name", NAME]);
    }
    if task.encrypted {
        command.arg("--tls-cert").arg(&files.certificate).arg("--tls-key").arg(&files.key);
    }
    match access_log {
        true => command.args(["--access-log", "json", "--access-log-file", "/dev/null"]),
        false => command.args(["--access-log", "off"]),
    };
}
