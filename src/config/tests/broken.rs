//! Invalid files, and all errors expected in each, with line and column.

use super::read_text;

/// The end of each file that has no cluster of its own.
const CLUSTER: &str = "\n[cluster.a]\n[[cluster.a.backend]]\nurl = \"https://a\"\n";

struct Broken {
    what: &'static str,
    text: &'static str,
    /// For each error: its line, its column, and texts that it contains.
    errors: &'static [(usize, usize, &'static [&'static str])],
}

const fn broken(
    what: &'static str,
    text: &'static str,
    errors: &'static [(usize, usize, &'static [&'static str])],
) -> Broken {
    Broken { what, text, errors }
}

const VALUES: &[Broken] = &[
    broken(
        "a misspelt key",
        "[process]\nwokers = 2",
        &[(2, 1, &["unknown key 'wokers' in [process]", "expected 'workers'"])],
    ),
    broken(
        "a misspelt table",
        "[proces]\nworkers = 2",
        &[(1, 2, &["unknown key 'proces'", "expected 'process'"])],
    ),
    broken(
        "an unknown key like no other",
        "[access_log]\nxyzzy = 2",
        &[(2, 1, &["unknown key 'xyzzy' in [access_log]", "expected one of format, file"])],
    ),
    broken(
        "a key outside of its table",
        "workers = 2",
        &[(1, 1, &["unknown key 'workers'", "expected it in [process]"])],
    ),
    broken(
        "text instead of a number",
        "[process]\n  workers = \"two\"",
        &[(2, 13, &["'process.workers' is the string \"two\"", "an integer from 1 to 1024"])],
    ),
    broken(
        "a number out of bounds",
        "[process]\nworkers = 1025",
        &[(2, 11, &["'process.workers' is 1025", "an integer from 1 to 1024"])],
    ),
    broken(
        "a negative number, and one beyond 64 bits",
        "[process]\nworkers = -1\nseed = 99999999999999999999",
        &[(2, 11, &["is -1", "from 1 to 1024"]), (3, 8, &["is 99999999999999999999", "from 0"])],
    ),
    broken(
        "a window that is too short, and a head that is too small",
        "[clients]\nhead_bytes = 100\n[client_frames]\nwindow = \"999ms\"",
        &[
            (2, 14, &["'clients.head_bytes' is 100", "8192"]),
            (4, 1, &["'client_frames.window'", "at least 1 s"]),
        ],
    ),
    broken(
        "a number with a fraction",
        "[process]\nworkers = 1.5",
        &[(2, 11, &["is the number 1.5", "an integer"])],
    ),
    broken(
        "a name that is not one of the choices",
        "[process]\nlog_level = \"loud\"",
        &[(2, 13, &["\"loud\"", "one of error, warn, info, debug, trace"])],
    ),
    broken(
        "a table as a value, a value as a table",
        "process = 1\n[access_log.format]",
        &[(1, 11, &["'process' is 1", "a table [process]"]), (2, 1, &["is a table", "one of off"])],
    ),
    broken(
        "an invalid address, and a missing one",
        "[admin]\naddress = \"localhost:1\"\n[[listener]]\nhttp2 = 1",
        &[
            (2, 11, &["\"localhost:1\"", "an IP address and a port"]),
            (3, 1, &["'address' is missing in [[listener]]", "an IP address and a port"]),
            (4, 9, &["'listener[0].http2' is 1", "true or false"]),
        ],
    ),
    broken(
        "one listener as a table",
        "[listener]\naddress = \"127.0.0.1:1\"",
        &[(1, 2, &["'listener' is a table", "tables [[listener]]"])],
    ),
    broken(
        "a certificate without a key",
        "[[listener]]\naddress = \"127.0.0.1:1\"\ncertificate = \"x\"",
        &[(1, 1, &["'key' is missing in [[listener]]", "the path of a file"])],
    ),
    broken(
        "an address that is used twice",
        "[admin]\naddress = \"[::1]:1\"\n[[listener]]\naddress = \"[::1]:1\"",
        &[(2, 1, &["[::1]:1 is used twice", "a different address"])],
    ),
];

const CLUSTERS: &[Broken] = &[
    broken("an empty file", "", &[(1, 1, &["there is no cluster", "[cluster.NAME]"])]),
    broken(
        "a cluster without backends",
        "[cluster.web]\ninsecure = true",
        &[(1, 10, &["cluster 'web' has no backend", "[[cluster.web.backend]]"])],
    ),
    broken(
        "backends as a list, a cluster as a number",
        "[cluster.web]\nbackends = [\"https://a\"]\n[cluster]\napi = 3",
        &[
            (1, 10, &["cluster 'web' has no backend", "[[cluster.web.backend]]"]),
            (2, 1, &["unknown key 'backends' in [cluster.web]", "'backend'"]),
            (4, 1, &["'cluster.api' is 3", "a table [cluster.api]"]),
        ],
    ),
    broken(
        "an invalid name",
        "[cluster.\"a b\"]\n[[cluster.a.backend]]\nurl = \"http://a\"",
        &[(1, 10, &["'a b' cannot be a name in [cluster]", "a-z, A-Z, 0-9"])],
    ),
    broken(
        "invalid backends",
        "[[cluster.a.backend]]\nurl = \"ftp://a\"\nwieght = 2\n[[cluster.a.backend]]\nweight = 0",
        &[
            (2, 7, &["'cluster.a.backend[0].url' is the string \"ftp://a\"", "https://HOST:PORT"]),
            (3, 1, &["unknown key 'wieght' in [[cluster.a.backend]]", "'weight'"]),
            (4, 1, &["'url' is missing in [[cluster.a.backend]]", "https://HOST:PORT"]),
            (5, 10, &["is 0", "an integer from 1 to 1000"]),
        ],
    ),
    broken(
        "a duplicate backend",
        "[[cluster.a.backend]]\nurl = \"https://a\"\n[[cluster.a.backend]]\nurl = \"https://a:443/\"",
        &[(4, 1, &["https://a:443 occurs twice in cluster 'a'", "each backend once"])],
    ),
    broken(
        "a TLS setting for a backend without TLS",
        "[[cluster.a.backend]]\nurl = \"http://a\"\ntls_name = \"b\"",
        &[(3, 1, &["'tls_name' has no effect for http://a:80", "an https:// backend"])],
    ),
    broken(
        "limits and times",
        "[cluster.a.limits]\nstreams_per_connection = 257\nwaiting = 20000\n\
         [cluster.a.timeouts]\nqueue = 3\nidle = \"0s\"\nmax_age = \"1 hour\"\n\
         backoff_min = \"1m\"\nejection_max = \"1s\"\n[cluster.a.retry]\nreplay_buffer = \"64KB\"\n\
         [[cluster.a.backend]]\nurl = \"https://a\"",
        &[
            (2, 26, &["is 257", "an integer from 1 to 256"]),
            (3, 1, &["waiting' is 20000", "at most limits.requests, which is 16384"]),
            (4, 12, &["backoff_max' is \"10s\"", "at least timeouts.backoff_min, which is \"1m\""]),
            (5, 9, &["'cluster.a.timeouts.queue' is 3", "a time above zero such as \"500ms\""]),
            (6, 8, &["\"0s\"", "a time above zero"]),
            (7, 11, &["\"1 hour\"", "a time above zero"]),
            (9, 1, &["ejection_max' is \"1s\"", "at least timeouts.ejection_min"]),
            (11, 17, &["\"64KB\"", "bytes from 0 to 1GiB", "\"64KiB\""]),
        ],
    ),
    broken(
        "more connections than all backends may have",
        "[cluster.a.limits]\nbackends = 4096\nconnections_per_backend = 4096\n\
         [[cluster.a.backend]]\nurl = \"https://a\"",
        &[(3, 1, &["connections_per_backend' is 4096", "at most 1024, which is 4194304 divided"])],
    ),
    broken(
        "health checks",
        "[cluster.a.health_check]\nkind = \"grpc\"\npath = \"healthz\"\nstatuses = \"2xx\"\nfall = 0\n\
         [[cluster.a.backend]]\nurl = \"http://a\"",
        &[
            (3, 8, &["\"healthz\"", "a path that starts with \"/\""]),
            (4, 12, &["\"2xx\"", "statuses from 100 to 599"]),
            (5, 8, &["is 0", "an integer from 1"]),
            (7, 1, &["http://a:80 cannot have a gRPC health check", "h2c://"]),
        ],
    ),
];

const ROUTES: &[Broken] = &[
    broken(
        "a route to an unknown cluster",
        "[[route]]\ncluster = \"wbe\"\n[[cluster.web.backend]]\nurl = \"http://a\"",
        &[(2, 1, &["there is no cluster 'wbe'", "expected 'web'"])],
    ),
    broken(
        "a duplicate route",
        "[[route]]\nhost = \"A.test\"\ncluster = \"a\"\n[[route]]\nhost = \"a.test.\"\ncluster = \"a\"",
        &[(4, 1, &["a second route for a.test and '/'", "another host or path_prefix"])],
    ),
    broken(
        "invalid routes",
        "[[route]]\nhost = \"a.test:80\"\npath_prefix = \"api\"\ncluster = 7\n[[route]]\npath = \"/\"",
        &[
            (2, 8, &["\"a.test:80\"", "a host such as", "without a port"]),
            (3, 15, &["\"api\"", "a path that starts with \"/\""]),
            (4, 11, &["is 7", "the name of a cluster"]),
            (5, 1, &["'cluster' is missing in [[route]]"]),
            (6, 1, &["unknown key 'path' in [[route]]", "'path_prefix'"]),
        ],
    ),
    broken(
        "two clusters and no route",
        "[[cluster.a.backend]]\nurl = \"http://a\"\n[[cluster.b.backend]]\nurl = \"http://b\"",
        &[(1, 1, &["there are 2 clusters and no route", "[[route]]"])],
    ),
];

const SYNTAX: &[Broken] = &[
    broken(
        "a line without a value",
        "[process]\nworkers\nseed = 1",
        &[(2, 8, &["not TOML", "`=`"])],
    ),
    broken(
        "a string without an end",
        "[process]\nlog_level = \"info\nwrokers = 1",
        &[(2, 18, &["not TOML", "\""]), (3, 1, &["unknown key 'wrokers'", "'workers'"])],
    ),
    broken(
        "a header without an end",
        "[process\nworkers = 1",
        &[(1, 9, &["not TOML", "]"]), (2, 1, &["unknown key 'workers'", "it in [process]"])],
    ),
    broken(
        "a duplicate key",
        "[process]\nworkers = 1\nworkers = 2",
        &[(3, 1, &["'workers' occurs twice", "each key and table once"])],
    ),
    broken(
        "a duplicate table",
        "[process]\nworkers = 1\n[admin]\n[process]\nseed = 1",
        &[(4, 2, &["'process' occurs twice", "each key and table once"])],
    ),
];

#[test]
fn each_broken_file_has_all_its_errors_at_their_positions() {
    let files: Vec<_> = [VALUES, CLUSTERS, ROUTES, SYNTAX].into_iter().flatten().collect();
    assert!(files.len() >= 20);
    for Broken { what, text, errors } in files {
        let whole = if text.contains("cluster.") || text.is_empty() {
            (*text).to_owned()
        } else {
            format!("{text}{CLUSTER}")
        };
        let found = read_text(&whole).expect_err(what);
        let list: Vec<_> = found.iter().map(ToString::to_string).collect();
        let list = list.join("\n");
        assert_eq!(found.len(), errors.len(), "{what}:\n{list}");
        for (found, (line, column, words)) in found.iter().zip(*errors) {
            let text = found.to_string();
            let place = format!("baton.toml:{line}:{column}: ");
            assert!(text.starts_with(&place), "{what}: expected at {line}:{column}:\n{list}");
            for word in *words {
                assert!(text.contains(word), "{what}: expected {word:?}:\n{list}");
            }
            assert!(text.contains("; expected "), "{what}:\n{list}");
        }
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_an_error_at_the_first_such_byte() {
    let bytes = b"[process]\n# caf\xe9\n";
    let errors = crate::config::read("baton.toml", bytes, std::path::Path::new("/"));
    let errors = errors.expect_err("Latin-1");
    let text = "baton.toml:2:6: the byte 0xe9 is not UTF-8; expected text in UTF-8";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
}
