//! nginx. Before 1.29 it only speaks HTTP/1.1 to backends, so it is measured with that, and its
//! rows have a footnote. Buffers hold a whole body, so that no temporary files are used.

use std::process::Command;

use super::Task;
use crate::Outcome;
use crate::certificates::NAME;
use crate::scenario::BackendProtocol;

pub(super) fn prepare(command: &mut Command, task: &Task<'_>) -> Outcome<()> {
    let path = task.write("nginx.conf", &configuration(task))?;
    command.arg("-p").arg(task.directory).arg("-e").arg(task.directory.join("error.log"));
    command.arg("-c").arg(path);
    Ok(())
}

fn configuration(task: &Task<'_>) -> String {
    let files = task.certificates;
    let listen = match task.encrypted {
        true => format!(
            "listen {} ssl http2;
        ssl_certificate {};
        ssl_certificate_key {};",
            task.listen,
            files.certificate.display(),
            files.key.display()
        ),
        false => format!("listen {};", task.listen),
    };
    let pass = match task.backend {
        BackendProtocol::Tls => format!(
            "proxy_pass https://origin;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {};
            proxy_ssl_server_name on;
            proxy_ssl_name {NAME};",
            files.authority.display()
        ),
        BackendProtocol::Cleartext => "proxy_pass http://origin;".to_owned(),
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {}/{kind};\n", task.directory.display()))
        .concat();
    format!(
        "daemon off;
pid {directory}/nginx.pid;
worker_processes {workers};
error_log {directory}/error.log crit;
events {{ worker_connections {most}; }}
http {{
{temporary}    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 10m;
    client_body_buffer_size 128k;
    proxy_buffers 16 16k;
    proxy_max_temp_file_size 0;
    upstream origin {{
        server {origin};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        {listen}
        location / {{
            {pass}
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
",
        directory = task.directory.display(),
        workers = task.workers,
        // nginx closes idle connections when fewer than a sixteenth of these are free.
        most = task.clients / 4 * 5 + 500,
        origin = task.origin,
    )
}
