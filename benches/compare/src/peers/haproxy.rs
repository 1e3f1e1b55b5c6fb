//! HAProxy. Idle upstream connections are shared between clients (`http-reuse always`), its
//! cheapest mode. It requires two file descriptors per expected client, more than idle clients
//! need, so `no strict-limits` is set.

use std::process::Command;

use super::Task;
use crate::Outcome;
use crate::certificates::NAME;
use crate::scenario::BackendProtocol;

pub(super) fn prepare(command: &mut Command, task: &Task<'_>) -> Outcome<()> {
    let path = task.write("haproxy.cfg", &configuration(task))?;
    command.args(["-db", "-f"]).arg(path);
    Ok(())
}

fn configuration(task: &Task<'_>) -> String {
    let files = task.certificates;
    let bind = match task.encrypted {
        true => format!("ssl crt {} alpn h2,http/1.1", files.both.display()),
        false => String::new(),
    };
    let server = match task.backend {
        BackendProtocol::Tls => format!(
            "ssl alpn h2 verify required ca-file {} verifyhost {NAME} sni str({NAME})",
            files.authority.display()
        ),
        BackendProtocol::Cleartext => "proto h2".to_owned(),
    };
    format!(
        "global
    nbthread {workers}
    maxconn {most}
    no strict-limits
defaults
    mode http
    http-reuse always
    timeout connect 10s
    timeout client 10m
    timeout server 10m
    timeout http-keep-alive 10m
frontend clients
    bind {listen} {bind}
    default_backend origin
backend origin
    server origin {origin} {server}
",
        workers = task.workers,
        most = task.clients + 500,
        listen = task.listen,
        origin = task.origin,
    )
}
