//! This program as the minimal relay.

use std::process::Command;

use super::Task;
use crate::scenario::BackendProtocol;

pub(super) fn prepare(command: &mut Command, task: &Task<'_>) {
    command.arg("floor");
    command.args(["--listen", &task.listen.to_string(), "--to", &task.origin.to_string()]);
    if task.encrypted {
        command.arg("--tls-listen");
    }
    if task.backend == BackendProtocol::Tls {
        command.arg("--tls-to");
    }
    command.arg("--certificates").args(task.certificates.authority.parent());
}
