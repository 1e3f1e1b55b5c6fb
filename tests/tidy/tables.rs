//! Tables in documents against the code. A table follows a line `<!-- checked: NAME -->`; its first
//! column is a name in backticks.

use std::collections::{BTreeMap, BTreeSet};

use baton::config::setting::Setting;
use baton::config::settings::{BACKEND, CLUSTER, LISTENER, ROUTE, UPSTREAM_TLS, of_process};
use baton::pool::{BackendState, CloseReason, Evidence, Limit, Rejection, StreamFailure};
use baton::proxy::client_limits::{ClientLimit, FrameBudgets};
use baton::proxy::config::{
    BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig, UpstreamTlsSettings,
};
use baton::proxy::route::Route;

use crate::expect_none;
use crate::tree::files;

/// Cells of each row by the name in its first cell.
type Rows = BTreeMap<String, Vec<String>>;

/// All tables of a name, together.
fn table(name: &str) -> Rows {
    let marker = format!("<!-- checked: {name} -->");
    let mut rows = Rows::new();
    for file in files("", &[".md"]) {
        let mut lines = file.lines();
        while lines.any(|(_, line)| line == marker) {
            let table = lines.by_ref().skip_while(|(_, line)| !line.starts_with('|'));
            let table = table.skip(2).take_while(|(_, line)| line.starts_with('|'));
            for (number, line) in table {
                let cells = cells(line);
                let name = cells[0].trim_matches('`').to_owned();
                assert!(
                    rows.insert(name.clone(), cells).is_none(),
                    "{}:{number}: {name} stands twice",
                    file.path
                );
            }
        }
    }
    assert!(!rows.is_empty(), "no document has a table after {marker}");
    rows
}

fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{0}");
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// Says which names only one side has.
fn compare_names<'a>(table_name: &str, expected: impl IntoIterator<Item = &'a str>) {
    let documented: BTreeSet<String> = table(table_name).into_keys().collect();
    let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
    let missing = expected.difference(&documented).map(|name| format!("not documented: {name}"));
    let extra = documented.difference(&expected).map(|name| format!("not in the code: {name}"));
    let findings: Vec<_> =
        missing.chain(extra).map(|finding| format!("{table_name}: {finding}")).collect();
    expect_none(&findings);
}

#[test]
fn settings_are_documented_with_flag_and_default() {
    let mut expected = BTreeMap::new();
    of(&mut expected, "", of_process(), &ProxyConfig::default());
    of(&mut expected, "listener.", LISTENER, &ListenerConfig::default());
    of(&mut expected, "", CLUSTER.iter(), &ClusterConfig::new("web"));
    of(&mut expected, "", UPSTREAM_TLS, &UpstreamTlsSettings::default());
    let url = "http://localhost:80".parse().expect("a valid address");
    let backend = BackendSettings { url, weight: 1, tls: UpstreamTlsSettings::default() };
    of(&mut expected, "backend.", BACKEND, &backend);
    of(&mut expected, "route.", ROUTE, &Route::everything("web"));
    // These flags are made by hand.
    let address = ListenerConfig::default().address.to_string();
    expected.insert("listener.address".to_owned(), ("--listen".to_owned(), address));
    expected.insert("backend.url".to_owned(), ("--backend".to_owned(), "–".to_owned()));
    let weight = ";weight=N` after the URL".to_owned();
    expected.insert("backend.weight".to_owned(), (weight, "1".to_owned()));
    let mut rows = table("settings");
    let mut findings = Vec::new();
    for (path, (flag, default)) in &expected {
        match rows.remove(path) {
            None => findings.push(format!("not documented: {path} {flag} {default}")),
            Some(cells) => {
                let documented = (cells[1].trim_matches('`'), cells[2].trim_matches('`'));
                let expected = (flag.trim_matches('`'), default.as_str());
                if documented != expected {
                    findings.push(format!("{path}: {documented:?}, expected {expected:?}"));
                }
            }
        }
    }
    findings.extend(rows.keys().map(|path| format!("not a setting: {path}")));
    expect_none(&findings);
}

/// Flag and default of each setting of a part, by path.
fn of<T: 'static>(
    into: &mut BTreeMap<String, (String, String)>,
    prefix: &str,
    settings: impl IntoIterator<Item = &'static Setting<T>>,
    defaults: &T,
) {
    for setting in settings {
        let flag = setting.flag.map_or_else(|| "–".to_owned(), |flag| format!("--{flag}"));
        let default = setting.default_text(defaults);
        let default = if default == "\"\"" { &default } else { default.trim_matches('"') };
        let default = if setting.required { "–" } else { default };
        into.insert(format!("{prefix}{}", setting.path()), (flag, default.to_owned()));
    }
}

#[test]
fn frame_budgets_are_documented_for_clients_and_backends() {
    let clients = ProxyConfig::default();
    let mut backends = ProxyConfig::default();
    backends.client_limits.frames = FrameBudgets::BACKEND;
    let budgets = of_process().filter(|setting| setting.section == "client_frames");
    let expected: Rows = budgets
        .filter(|setting| setting.key != "window")
        .map(|setting| {
            let value = |config| setting.default_text(config);
            // Backends send no requests.
            let backend =
                if setting.key == "refused_heads" { "–".to_owned() } else { value(&backends) };
            (setting.key.to_owned(), vec![value(&clients), backend])
        })
        .collect();
    let documented = table("frame budgets").into_iter();
    let documented: Rows = documented.map(|(name, cells)| (name, cells[2..4].to_vec())).collect();
    assert_eq!(documented, expected);
}

#[test]
fn metric_families_are_documented() {
    let sources = files("src/admin", &[".rs"]);
    let mut names = BTreeSet::new();
    for source in &sources {
        // A family is declared where its name alone is a string.
        let strings = source.text.split('"').skip(1).step_by(2);
        let named = |text: &&str| {
            (text.starts_with("baton_") || text.starts_with("process_"))
                && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        names.extend(strings.filter(named));
    }
    assert!(names.len() > 30, "only {names:?} were found");
    compare_names("metrics", names);
}

#[test]
fn enums_that_people_see_are_documented() {
    compare_names("client limits", ClientLimit::NAMES.iter().copied());
    compare_names("reasons", Rejection::NAMES.iter().copied());
    compare_names("states", BackendState::NAMES.iter().copied());
    compare_names("evidence", Evidence::NAMES.iter().copied());
    let of_streams = [
        StreamFailure::NotSent,
        StreamFailure::HeadTooLarge,
        StreamFailure::Unprocessed,
        StreamFailure::ConnectionLost,
        StreamFailure::Malformed,
    ];
    // The other reasons close connections that carry nothing.
    let closed = [CloseReason::DrainDeadline, CloseReason::Silent, CloseReason::Shutdown];
    let failures = of_streams.map(StreamFailure::name).into_iter();
    let failures = failures.chain(closed.map(CloseReason::name));
    compare_names("failures", failures.chain(Limit::NAMES.iter().copied()));
}

#[test]
fn mutants_are_documented() {
    let patches = files("sim/mutants", &[".patch"]);
    let names = patches.iter().filter_map(|file| {
        file.path.strip_prefix("sim/mutants/").and_then(|name| name.strip_suffix(".patch"))
    });
    // Those of the proxy are in a directory of their own.
    let (proxy, pool): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with("proxy/"));
    compare_names("mutants", pool);
    compare_names("proxy mutants", proxy.iter().filter_map(|name| name.strip_prefix("proxy/")));
}
