//! Tests of the differences between two files.

use std::path::Path;

use super::*;

const BASE: &str = r#"
[[listener]]
address = "127.0.0.1:8080"

[cluster.web]
[[cluster.web.backend]]
url = "http://10.0.0.1"
weight = 2
[[cluster.web.backend]]
url = "https://10.0.0.2"

[cluster.old]
timeouts.connect = "1s"
[[cluster.old.backend]]
url = "http://10.0.0.3"

[[route]]
path_prefix = "/old"
cluster = "old"
[[route]]
cluster = "web"
"#;

fn config(text: &str) -> ProxyConfig {
    crate::config::read("file", text.as_bytes(), Path::new("/")).expect("a good file")
}

fn words(after: &str) -> Vec<String> {
    let difference = Difference::between(&config(BASE), &config(after));
    assert_eq!(difference.is_empty(), difference.words().is_empty());
    difference.words()
}

#[test]
fn order_and_notation_make_no_difference() {
    assert!(words(BASE).is_empty());
    let (backends, rest) = BASE.split_once("[cluster.old]").expect("BASE has this table");
    let reordered = format!("[cluster.old]{rest}{backends}[process]\nlog_level = \"info\"\n");
    let difference = Difference::between(&config(BASE), &config(&reordered));
    assert!(difference.is_empty(), "{difference:?}");
    assert_eq!((difference.clusters.kept, difference.backends.kept), (2, 3));
    assert_eq!((difference.listeners.kept, difference.routes.kept), (1, 2));
}

#[test]
fn every_difference_is_reported_once() {
    let replace = |from: &str, to: &str| words(&BASE.replace(from, to));
    assert_eq!(
        replace("weight = 2", "weight = 5"),
        ["backend http://10.0.0.1:80 of web weight 2 to 5"]
    );
    assert_eq!(
        replace("http://10.0.0.1", "http://10.0.0.9"),
        ["backend http://10.0.0.9:80 of web added", "backend http://10.0.0.1:80 of web removed"]
    );
    assert_eq!(
        replace("https://10.0.0.2\"", "https://10.0.0.2\"\ninsecure = true"),
        ["backend https://10.0.0.2:443 of web with other TLS settings"]
    );
    assert_eq!(
        replace("https://10.0.0.2\"", "https://10.0.0.2\"\ntls_name = \"other\""),
        [
            "backend https://10.0.0.2:443 of web added",
            "backend https://10.0.0.2:443 of web removed"
        ]
    );
    assert_eq!(
        replace("connect = \"1s\"", "connect = \"2s\""),
        ["cluster.old.timeouts.connect \"1s\" to \"2s\""]
    );
    assert_eq!(
        replace("[cluster.web]", "[cluster.web]\nlimits.requests = 64\nlimits.waiting = 8"),
        [
            "pools of cluster web replaced",
            "cluster.web.limits.requests 16384 to 64",
            "cluster.web.limits.waiting 1024 to 8",
        ]
    );
    for size in [
        "limits.backends = 65",
        "limits.connections_per_backend = 17",
        "limits.streams_per_connection = 99",
        "retry.replay_buffer = 1",
    ] {
        let changes = replace("[cluster.web]", &format!("[cluster.web]\n{size}"));
        assert_eq!(changes[0], "pools of cluster web replaced", "{size}");
    }
    assert_eq!(
        replace("8080\"", "8081\"\nhttp2 = false"),
        ["listener 127.0.0.1:8081 added", "listener 127.0.0.1:8080 removed"]
    );
    assert_eq!(replace("8080\"", "8080\"\nhttp2 = false"), ["listener 127.0.0.1:8080 changed"]);
    assert_eq!(
        replace("\"/old\"", "\"/new\""),
        ["route */new to old added", "route */old to old removed"]
    );
    assert_eq!(
        replace("[[route]]\npath_prefix", "[process]\nwatch = true\n[[route]]\npath_prefix"),
        ["process.watch false to true"]
    );
}

#[test]
fn an_added_or_removed_cluster_is_reported_with_its_backends() {
    let renamed = BASE.replace("cluster.old", "cluster.new").replace("\"old\"", "\"new\"");
    assert_eq!(
        words(&renamed),
        [
            "cluster new added",
            "cluster old removed",
            "backend http://10.0.0.3:80 of new added",
            "backend http://10.0.0.3:80 of old removed",
            "route */old to new added",
            "route */old to old removed",
        ]
    );
}

#[test]
fn changes_that_need_a_restart_are_reported() {
    let with = |process: &str| config(&format!("{process}\n{BASE}"));
    let lines = needing_restart(
        &with("[process]\nworkers = 2\nseed = 1\nlog_level = \"warn\""),
        &with("[process]\nworkers = 3\n[admin]\naddress = \"127.0.0.1:9\""),
    );
    let expected = [
        "process.workers cannot change from 2 to 3 without a restart; expected 2, or restart",
        "process.seed cannot change from 1 to drawn without a restart; expected 1, or restart",
        "process.log_level cannot change from \"warn\" to \"info\" without a restart; expected \
         \"warn\", or restart",
        "admin.address cannot change from off to \"127.0.0.1:9\" without a restart; expected off, \
         or restart",
    ];
    assert_eq!(lines, expected);
    let cores = config(BASE).worker_count();
    let same = with(&format!("[process]\nworkers = {cores}"));
    assert!(needing_restart(&config(BASE), &same).is_empty(), "one worker per core is the default");
}

#[test]
fn fixed_values_are_settings() {
    for path in FIXED {
        assert!(of_process().any(|setting| setting.path() == path), "{path}");
    }
}
