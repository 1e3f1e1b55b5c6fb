//! nghttpx, without the system's configuration file.

use std::process::Command;

use super::Task;
use crate::certificates::NAME;
use crate::scenario::BackendProtocol;

pub(super) fn prepare(command: &mut Command, task: &Task<'_>) {
    let files = task.certificates;
    let (origin, listen) = (task.origin, task.listen);
    let security = match task.backend {
        BackendProtocol::Tls => format!("tls;sni={NAME}"),
        BackendProtocol::Cleartext => "no-tls".to_owned(),
    };
    let backend = format!("{},{};;proto=h2;{security}", origin.ip(), origin.port());
    let frontend = match task.encrypted {
        true => format!("{},{}", listen.ip(), listen.port()),
        false => format!("{},{};no-tls", listen.ip(), listen.port()),
    };
    command.arg("--conf=/dev/null").arg(format!("--workers={}", task.workers));
    command.arg(format!("--backend={backend}")).arg(format!("--frontend={frontend}"));
    command.arg(format!("--cacert={}", files.authority.display()));
    command.args(["--no-ocsp", "--no-verify-ocsp", "--log-level=ERROR"]);
    command.args([
        "--frontend-keep-alive-timeout=10m",
        "--frontend-read-timeout=10m",
        "--frontend-http2-read-timeout=10m",
    ]);
    command.arg(&files.key).arg(&files.certificate);
}
