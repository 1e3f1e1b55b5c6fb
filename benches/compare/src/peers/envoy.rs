//! Envoy, configured in JSON.

use std::process::Command;

use serde_json::{Value, json};

use super::Task;
use crate::Outcome;
use crate::certificates::NAME;
use crate::scenario::BackendProtocol;

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const OPTIONS_KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

pub(super) fn prepare(command: &mut Command, task: &Task<'_>) -> Outcome<()> {
    let text = json!({ "static_resources": {
        "listeners": [listener(task)],
        "clusters": [cluster(task)],
    }});
    let path = task.write("envoy.json", &text.to_string())?;
    command.arg("--config-path").arg(path);
    command.args(["--concurrency", &task.workers.to_string()]);
    command.args(["--disable-hot-restart", "--log-level", "error"]);
    Ok(())
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

fn listener(task: &Task<'_>) -> Value {
    let routes = json!({
        "name": "all",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "origin" } }],
        }],
    });
    let manager = json!({
        "@type": HTTP,
        "stat_prefix": "clients",
        "codec_type": "AUTO",
        "route_config": routes,
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": ROUTER },
        }],
    });
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    }]});
    if task.encrypted {
        let files = task.certificates;
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{TLS}.DownstreamTlsContext"),
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [{
                        "certificate_chain": { "filename": files.certificate },
                        "private_key": { "filename": files.key },
                    }],
                },
            },
        });
    }
    json!({ "name": "clients", "address": address(task.listen), "filter_chains": [chain] })
}

fn cluster(task: &Task<'_>) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(task.origin) } });
    let mut cluster = json!({
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
        "typed_extension_protocol_options": { OPTIONS_KEY: {
            "@type": OPTIONS,
            "explicit_http_config": { "http2_protocol_options": {} },
        }},
    });
    if task.backend == BackendProtocol::Tls {
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{TLS}.UpstreamTlsContext"),
                "sni": NAME,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "validation_context": {
                        "trusted_ca": { "filename": task.certificates.authority },
                        "match_typed_subject_alt_names": [{
                            "san_type": "DNS",
                            "matcher": { "exact": NAME },
                        }],
                    },
                },
            },
        });
    }
    cluster
}
