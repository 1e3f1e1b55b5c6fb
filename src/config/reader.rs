//! Parses a file into a configuration. It finds all errors, and does not stop at the first one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::error::Finding;
use super::files::FileUse;
use super::section::{Notes, Section};
use super::setting::Setting;
use super::settings::{BACKEND, CLIENTS, CLUSTER, LISTENER, PROCESS, ROUTE, UPSTREAM_TLS, text};
use super::value::Kind;
use super::{rules, syntax};
use crate::proxy::backend_url::{BackendUrl, Scheme};
use crate::proxy::config::{
    BackendSettings, CertificateFiles, ClusterConfig, ListenerConfig, ProxyConfig,
    UpstreamTlsSettings,
};
use crate::proxy::route::Route;

/// The result of parsing a file.
pub(super) struct Reading {
    /// The configuration; valid only if there are no findings.
    pub(super) config: ProxyConfig,
    /// All errors.
    pub(super) findings: Vec<Finding>,
    /// The files that the configuration names, and where it names them.
    pub(super) files: Vec<(FileUse, Range<usize>)>,
}

/// Parses a file. Relative paths start from `base`. Opens no file.
pub(super) fn read(bytes: &[u8], base: &Path) -> Reading {
    let readable = syntax::readable(bytes);
    let (tree, _) = DeTable::parse_recoverable(&readable.text);
    let mut notes = Notes { base: base.to_path_buf(), ..Notes::default() };
    let config = read_file(tree.get_ref(), &mut notes);
    for problem in rules::problems(&config) {
        let mut depends_on = problem.depends_on.iter();
        if !depends_on.any(|path| notes.is_broken(path)) {
            notes.findings.push(Finding {
                span: notes.span(&problem.path),
                absence: problem.absence,
                what: problem.what,
                expected: problem.expected,
            });
        }
    }
    let certain = |it: &Finding| !it.absence || readable.is_certain(it.span.start);
    notes.findings.retain(certain);
    let mut findings = readable.findings.clone();
    findings.append(&mut notes.findings);
    Reading { config, findings, files: notes.files }
}

fn read_file(table: &DeTable<'_>, notes: &mut Notes) -> ProxyConfig {
    let mut config = ProxyConfig::default();
    let mut file = Section::new(String::new(), 0..0, table);
    apply_sections(&mut file, notes, PROCESS, &mut config);
    apply_sections(&mut file, notes, &CLIENTS, &mut config);
    for section in file.tables(notes, "listener") {
        config.listeners.push(read_listener(section, notes));
    }
    if !file.has("listener") {
        config.listeners.push(ListenerConfig::default());
    }
    if let Some(clusters) = file.table(notes, "cluster") {
        for (name, section) in clusters.named_tables(notes, text::CLUSTER_NAME) {
            config.clusters.push(read_cluster(name, section, notes));
        }
    }
    for section in file.tables(notes, "route") {
        config.routes.push(read_route(section, notes));
    }
    if let [cluster] = &config.clusters[..]
        && !file.has("route")
    {
        config.routes.push(Route::everything(cluster.name.clone()));
    }
    file.finish(notes);
    config
}

/// Reads settings from a table and its sub-tables.
fn apply_sections<T: 'static>(
    outer: &mut Section<'_, '_>,
    notes: &mut Notes,
    settings: &'static [Setting<T>],
    target: &mut T,
) {
    let names: BTreeSet<_> = settings.iter().map(|setting| setting.section).collect();
    for name in names {
        let settings = settings.iter().filter(|setting| setting.section == name);
        outer.expect_within(name, settings.clone().map(|setting| setting.key));
        if name.is_empty() {
            outer.apply(notes, settings, target);
        } else if let Some(mut inner) = outer.table(notes, name) {
            inner.apply(notes, settings, target);
            inner.finish(notes);
        }
    }
}

fn read_listener(mut section: Section<'_, '_>, notes: &mut Notes) -> ListenerConfig {
    let mut listener = ListenerConfig::default();
    section.apply(notes, LISTENER.iter(), &mut listener);
    if let Some(files) = whole_certificate(&section, notes, &mut listener.tls) {
        note_file(&section, notes, FileUse::ListenerCertificate(files));
    }
    section.finish(notes);
    listener
}

fn read_cluster(name: &str, mut section: Section<'_, '_>, notes: &mut Notes) -> ClusterConfig {
    let mut cluster = ClusterConfig::new(name);
    apply_sections(&mut section, notes, &CLUSTER, &mut cluster);
    read_upstream_tls(&mut section, notes, &mut cluster.tls);
    for backend in section.tables(notes, "backend") {
        cluster.backends.push(read_backend(backend, notes, &cluster.tls));
    }
    section.finish(notes);
    cluster
}

fn read_backend(
    mut section: Section<'_, '_>,
    notes: &mut Notes,
    inherited: &UpstreamTlsSettings,
) -> BackendSettings {
    let nowhere = BackendUrl { scheme: Scheme::Https, host: String::new(), port: 443 };
    let mut backend = BackendSettings { url: nowhere, weight: 1, tls: inherited.clone() };
    section.apply(notes, BACKEND.iter(), &mut backend);
    if section.has("certificate") || section.has("key") {
        // A certificate and a key from different tables would not match.
        backend.tls.certificate = None;
    }
    read_upstream_tls(&mut section, notes, &mut backend.tls);
    if backend.url.scheme != Scheme::Https {
        for setting in UPSTREAM_TLS.iter().filter(|setting| section.has(setting.key)) {
            let path = section.path_of(setting.key);
            let what = format!("'{}' has no effect for {}", setting.key, backend.url);
            notes.wrong(&path, notes.span(&path), what, "an https:// backend");
        }
    }
    section.finish(notes);
    backend
}

fn read_upstream_tls(
    section: &mut Section<'_, '_>,
    notes: &mut Notes,
    tls: &mut UpstreamTlsSettings,
) {
    section.apply(notes, UPSTREAM_TLS.iter(), tls);
    if let Some(files) = whole_certificate(section, notes, &mut tls.certificate) {
        note_file(section, notes, FileUse::ClientCertificate(files));
    }
    if section.has("authorities")
        && let Some(path) = &tls.authorities
    {
        let span = notes.span(&section.path_of("authorities"));
        notes.files.push((FileUse::Authorities(path.clone()), span));
    }
}

fn read_route(mut section: Section<'_, '_>, notes: &mut Notes) -> Route {
    let mut route = Route::everything("");
    section.apply(notes, ROUTE.iter(), &mut route);
    section.finish(notes);
    route
}

/// Returns the certificate that a table names, if it names both files. If it names only one, notes
/// that the other is missing and clears the certificate.
fn whole_certificate(
    section: &Section<'_, '_>,
    notes: &mut Notes,
    certificate: &mut Option<CertificateFiles>,
) -> Option<CertificateFiles> {
    for (present, absent) in [("certificate", "key"), ("key", "certificate")] {
        if section.has(present) && !section.has(absent) {
            section.require(notes, absent, Kind::Path);
        }
    }
    let named = section.has("certificate") || section.has("key");
    let whole = |files: &CertificateFiles| {
        !files.certificate.as_os_str().is_empty() && !files.key.as_os_str().is_empty()
    };
    *certificate = certificate.take().filter(whole);
    certificate.clone().filter(|_| named)
}

fn note_file(section: &Section<'_, '_>, notes: &mut Notes, file: FileUse) {
    let span = notes.span(&section.path_of("certificate"));
    notes.files.push((file, span));
}
