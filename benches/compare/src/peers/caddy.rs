//! Caddy, with `GOMAXPROCS` as the number of workers and without the user's own configuration.

use std::process::Command;

use super::Task;
use crate::Outcome;
use crate::certificates::NAME;
use crate::scenario::BackendProtocol;

pub(super) fn prepare(command: &mut Command, task: &Task<'_>) -> Outcome<()> {
    let path = task.write("Caddyfile", &configuration(task))?;
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(path);
    command.env("GOMAXPROCS", task.workers.to_string());
    for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(name, task.directory);
    }
    Ok(())
}

fn configuration(task: &Task<'_>) -> String {
    let files = task.certificates;
    let (scheme, security) = match task.encrypted {
        true => ("https", format!("tls {} {}", files.certificate.display(), files.key.display())),
        false => ("http", String::new()),
    };
    let (to, transport) = match task.backend {
        BackendProtocol::Tls => (
            "https",
            format!(
                "versions 2
            tls_trusted_ca_certs {}
            tls_server_name {NAME}",
                files.authority.display()
            ),
        ),
        BackendProtocol::Cleartext => ("http", "versions h2c 2".to_owned()),
    };
    format!(
        "{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
{scheme}://:{port} {{
    bind 127.0.0.1
    {security}
    reverse_proxy {to}://{origin} {{
        transport http {{
            {transport}
        }}
    }}
}}
",
        port = task.listen.port(),
        origin = task.origin,
    )
}
