//! The proxy's configuration that a plan stands for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use baton::pool::HealthChecking;
use baton::proxy::client_limits::ClientLimits;
use baton::proxy::config::{
    AccessLogFormat, AccessLogSettings, BackendSettings, CertificateFiles, ClusterConfig,
    HealthCheckKind, HealthCheckSettings, ListenerConfig, ProxyConfig, UpstreamTlsSettings,
};
use baton::proxy::route::Route;

use crate::plan::{Act, Plan, ProcessAct, REPLAY_BUFFER_BYTES};

/// The address of the proxy's first listener.
pub(crate) const LISTENER: ([u8; 4], u16) = ([10, 0, 0, 1], 80);
/// The addresses of all listeners that the operator may open.
pub(crate) const LISTENERS: [([u8; 4], u16); 3] = [LISTENER, (LISTENER.0, 81), (LISTENER.0, 82)];
/// The address of the admin interface.
pub(crate) const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9900);
/// The name of the cluster.
pub(crate) const CLUSTER: &str = "cluster";
/// The path of health checks.
pub(crate) const HEALTH_PATH: &str = "/healthy";
/// The names of the files that the simulated file system has.
pub(crate) const AUTHORITY_FILE: &str = "/etc/baton/authority.pem";
/// The certificate of the listener.
pub(crate) const CERTIFICATE_FILE: &str = "/etc/baton/certificate.pem";
/// Its key.
pub(crate) const KEY_FILE: &str = "/etc/baton/key.pem";
/// The name in the backends' certificate.
pub(crate) const TLS_NAME: &str = "backends.test";

/// The address of the proxy's machine.
pub(crate) fn machine() -> IpAddr {
    IpAddr::from(LISTENER.0)
}

/// The kind of health checks, if there are any.
pub(crate) fn health_check_kind(on: bool) -> HealthCheckKind {
    if on { HealthCheckKind::Http } else { HealthCheckKind::Off }
}

/// The address of a backend: each is a host of its own.
pub(crate) fn backend_address(backend: u16) -> SocketAddr {
    let [high, low] = backend.to_be_bytes();
    SocketAddr::from(([10, 1, high, low], 8080))
}

/// Listeners, by the indices of their addresses.
pub(crate) fn listeners(plan: &Plan, open: &[u8]) -> Vec<ListenerConfig> {
    let files = || CertificateFiles { certificate: CERTIFICATE_FILE.into(), key: KEY_FILE.into() };
    let listener = |index: &u8| ListenerConfig {
        address: SocketAddr::from(LISTENERS[usize::from(*index)]),
        tls: plan.wire.tls.then(files),
        http2: true,
    };
    open.iter().map(listener).collect()
}

/// True if a directive changes files: only then the proxy watches them.
fn changes_files(plan: &Plan) -> bool {
    plan.directives.iter().any(|directive| {
        matches!(directive.act, Act::Process { act: ProcessAct::Certificate { .. } })
    })
}

/// An address of a backend's name, by its place in the list.
pub(crate) fn named_address(backend: u16, place: usize) -> IpAddr {
    let [high, low] = backend.to_be_bytes();
    IpAddr::from([10, 10 + place as u8, high, low])
}

/// The name of a backend.
pub(crate) fn backend_name(backend: u16) -> String {
    format!("backend-{backend}.test")
}

/// Host and port of a backend in the configuration: its name, if it has one.
pub(crate) fn backend_authority(plan: &Plan, backend: u16) -> String {
    let address = backend_address(backend);
    if !plan.backends[usize::from(backend)].wire.has_name() {
        return address.to_string();
    }
    format!("{}:{}", backend_name(backend), address.port())
}

/// The limits of clients.
pub(crate) fn client_limits(plan: &Plan) -> ClientLimits {
    let default = ClientLimits::DEFAULT;
    let write_stall_timeout = match plan.wire.write_stall_ms {
        0 => default.write_stall_timeout,
        time => Duration::from_millis(time.into()),
    };
    ClientLimits { write_stall_timeout, ..default }
}

/// The configuration with these backends, each with its weight.
pub(crate) fn config(plan: &Plan, backends: &[(u16, u16)]) -> ProxyConfig {
    let tls = UpstreamTlsSettings {
        name: Some(TLS_NAME.to_owned()),
        authorities: Some(AUTHORITY_FILE.into()),
        ..UpstreamTlsSettings::default()
    };
    let mut pool = plan.pool.config.clone();
    pool.limits.backends = plan.backends_at_start().max(1) + plan.pool.spare_places;
    pool.retry.replay_buffer_bytes = REPLAY_BUFFER_BYTES;
    let kind = health_check_kind(pool.health_checking != HealthChecking::Off);
    let settings = |(backend, weight): &(u16, u16)| {
        let scheme = match (plan.wire.tls, plan.backends[usize::from(*backend)].http1) {
            (true, _) => "https",
            (false, true) => "http",
            (false, false) => "h2c",
        };
        let url = format!("{scheme}://{}", backend_authority(plan, *backend));
        let url = url.parse().expect("an address is a URL's host and port");
        BackendSettings { url, weight: *weight, tls: tls.clone() }
    };
    let cluster = ClusterConfig {
        backends: backends.iter().map(settings).collect(),
        tls: tls.clone(),
        pool,
        health_check: HealthCheckSettings {
            kind,
            path: HEALTH_PATH.to_owned(),
            ..HealthCheckSettings::default()
        },
        ..ClusterConfig::new(CLUSTER)
    };
    ProxyConfig {
        workers: Some(u16::from(plan.wire.workers.max(1))),
        client_limits: client_limits(plan),
        seed: Some(plan.seed),
        listeners: listeners(plan, &[0]),
        watch: changes_files(plan),
        clusters: vec![cluster],
        routes: vec![Route::everything(CLUSTER)],
        admin: Some(SocketAddr::from(ADMIN)),
        access_log: AccessLogSettings { format: AccessLogFormat::Json, file: None },
        ..ProxyConfig::default()
    }
}

/// The backends at the start of a run, with their weights.
pub(crate) fn at_start(plan: &Plan) -> Vec<(u16, u16)> {
    let weight = |backend: usize| if backend == 0 { plan.pool.weight } else { 1 };
    (0..plan.backends_at_start()).map(|backend| (backend as u16, weight(backend))).collect()
}
