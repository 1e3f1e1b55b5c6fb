//! Prints a configuration as a file, with a comment for every value. Reading the file and printing
//! it again gives the same text.

use std::fmt::Write as _;

use super::setting::Setting;
use super::settings::{BACKEND, CLIENTS, CLUSTER, LISTENER, PROCESS, ROUTE, UPSTREAM_TLS};
use crate::proxy::config::{
    BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig, UpstreamTlsSettings,
};
use crate::proxy::route::Route;

/// Prints a configuration as a file.
#[must_use]
pub fn print(config: &ProxyConfig) -> String {
    let mut text = String::from(
        "# All values, for `baton run --config FILE`. A value that is left out has its default.\n",
    );
    let mut printer = Printer { text: &mut text };
    printer.sections("", PROCESS, config, &ProxyConfig::default());
    printer.sections("", &CLIENTS, config, &ProxyConfig::default());
    for listener in &config.listeners {
        printer.header("[[listener]]");
        printer.settings(LISTENER.iter(), listener, &ListenerConfig::default());
    }
    for cluster in &config.clusters {
        printer.cluster(cluster);
    }
    for route in &config.routes {
        printer.header("[[route]]");
        printer.settings(ROUTE.iter(), route, &Route::everything(""));
    }
    text
}

struct Printer<'text> {
    text: &'text mut String,
}

impl Printer<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String cannot fail");
    }

    fn header(&mut self, header: &str) {
        self.line(format_args!("\n{header}"));
    }

    fn cluster(&mut self, cluster: &ClusterConfig) {
        let defaults = ClusterConfig::new("");
        let name = format!("cluster.{}", cluster.name);
        self.header(&format!("[{name}]"));
        let own = CLUSTER.iter().filter(|setting| setting.section.is_empty());
        self.settings(own, cluster, &defaults);
        self.settings(UPSTREAM_TLS.iter(), &cluster.tls, &defaults.tls);
        for backend in &cluster.backends {
            self.header(&format!("[[{name}.backend]]"));
            self.backend(backend, &cluster.tls);
        }
        self.sections(&format!("{name}."), &CLUSTER, cluster, &defaults);
    }

    /// Prints a backend, with the TLS values that differ from those of its cluster.
    fn backend(&mut self, backend: &BackendSettings, inherited: &UpstreamTlsSettings) {
        let defaults = BackendSettings { weight: 1, ..backend.clone() };
        self.settings(BACKEND.iter(), backend, &defaults);
        let differs = |setting: &&Setting<UpstreamTlsSettings>| {
            // A certificate and its key are printed together.
            let pair = ["certificate", "key"].contains(&setting.key);
            let changed = pair && backend.tls.certificate != inherited.certificate;
            changed || setting.access.get(&backend.tls) != setting.access.get(inherited)
        };
        let own = UPSTREAM_TLS.iter().filter(differs);
        self.settings(own, &backend.tls, &UpstreamTlsSettings::default());
    }

    /// Prints the sub-tables of a table.
    fn sections<T: 'static>(
        &mut self,
        prefix: &str,
        settings: &'static [Setting<T>],
        values: &T,
        defaults: &T,
    ) {
        let mut done = vec![""];
        for setting in settings {
            let section = setting.section;
            if done.contains(&section) {
                continue;
            }
            done.push(section);
            self.header(&format!("[{prefix}{section}]"));
            let members = settings.iter().filter(|setting| setting.section == section);
            self.settings(members, values, defaults);
        }
    }

    fn settings<T: 'static>(
        &mut self,
        settings: impl Iterator<Item = &'static Setting<T>>,
        values: &T,
        defaults: &T,
    ) {
        for setting in settings {
            let default = setting.default_text(defaults);
            self.line(format_args!("# {}.", setting.description));
            let default =
                if setting.required { String::new() } else { format!(" Default: {default}.") };
            let flag = setting.flag.map_or_else(String::new, |flag| format!(" Flag: --{flag}."));
            self.line(format_args!("# Expected: {}.{default}{flag}", setting.kind));
            match setting.access.get(values) {
                Some(value) => {
                    let value = setting.kind.write(&value);
                    self.line(format_args!("{} = {value}", setting.key));
                }
                None => self.line(format_args!("# {} =", setting.key)),
            }
        }
    }
}
