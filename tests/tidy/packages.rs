//! Every build of the package `baton` has sockets: the simulated system is in a package of its own,
//! which only the simulator and the fuzz targets depend on.

use toml::{Table, Value};

use crate::expect_none;
use crate::tree::{files, read};

/// The feature that puts the simulated system in the place of sockets.
const FEATURE: &str = "simulation";
/// The package that has it: the same sources, built for the simulator.
const PACKAGE: &str = "baton-simulated";
const PACKAGE_FILE: &str = "sim/baton/Cargo.toml";
/// The files of the packages that may depend on it.
const DEPENDENTS: [&str; 2] = ["sim/Cargo.toml", "fuzz/Cargo.toml"];

fn manifests() -> Vec<(String, Table)> {
    let files = files("", &["Cargo.toml"]).into_iter();
    let parsed = files.map(|file| {
        let table = file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
        (file.path, table)
    });
    parsed.collect()
}

/// The tables of dependencies of a package, those for some targets included.
fn dependency_tables(manifest: &Table) -> impl Iterator<Item = &Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    let owners = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    owners
        .flat_map(move |owner| kinds.map(|kind| owner.get(kind)))
        .flatten()
        .filter_map(Value::as_table)
}

/// The package that a dependency names: by `package`, or else by its key.
fn package<'a>(key: &'a str, dependency: &'a Value) -> &'a str {
    dependency.get("package").and_then(Value::as_str).unwrap_or(key)
}

fn dependencies<'a>(manifest: &'a Table, wanted: &str) -> Vec<&'a Value> {
    let all = dependency_tables(manifest).flatten();
    all.filter(|(key, dependency)| package(key, dependency) == wanted)
        .map(|(_, found)| found)
        .collect()
}

#[test]
fn only_the_simulated_package_has_the_feature() {
    let mut findings = Vec::new();
    for (path, manifest) in manifests() {
        let features = manifest.get("features").and_then(Value::as_table);
        let has_it = features.is_some_and(|features| features.contains_key(FEATURE));
        let expected = path == PACKAGE_FILE;
        if has_it != expected {
            findings.push(format!("{path}: has the feature {FEATURE}: {has_it}, not {expected}"));
        }
        // A feature of another name could turn it on by `baton/simulation`.
        for (name, list) in features.into_iter().flatten() {
            if list.to_string().contains(&format!("/{FEATURE}")) {
                findings.push(format!("{path}: the feature {name} turns on {FEATURE}"));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn the_simulator_depends_on_the_simulated_package_only() {
    let mut findings = Vec::new();
    for (path, manifest) in manifests() {
        let is_dependent = DEPENDENTS.contains(&path.as_str());
        if dependencies(&manifest, PACKAGE).is_empty() == is_dependent {
            findings.push(format!(
                "{path}: depends on {PACKAGE}: {}, not {is_dependent}",
                !is_dependent
            ));
        }
        let real = dependencies(&manifest, "baton");
        if is_dependent && !real.is_empty() {
            findings.push(format!("{path}: depends on baton, expected only {PACKAGE}"));
        }
        if real.iter().any(|dependency| dependency.to_string().contains(FEATURE)) {
            findings.push(format!("{path}: asks for the feature {FEATURE} of baton"));
        }
    }
    expect_none(&findings);
}

#[test]
fn the_simulated_package_is_no_default_and_no_name_is_shared() {
    let root: Table = read("Cargo.toml").parse().expect("a manifest");
    let defaults = root["workspace"]["default-members"].as_array().expect("a list");
    assert!(!defaults.iter().any(|member| member.as_str() == Some("sim/baton")), "{defaults:?}");
    let name = |path: &str, manifest: &Table| {
        let name = manifest["package"]["name"].as_str().expect("a package has a name");
        (name.to_owned(), path.to_owned())
    };
    let names: Vec<_> = manifests().iter().map(|(path, manifest)| name(path, manifest)).collect();
    let of = |wanted: &str| names.iter().filter(|(name, _)| name == wanted).collect::<Vec<_>>();
    assert_eq!(of("baton"), [&("baton".to_owned(), "Cargo.toml".to_owned())]);
    assert_eq!(of(PACKAGE), [&(PACKAGE.to_owned(), PACKAGE_FILE.to_owned())]);
}

#[test]
fn both_packages_have_the_same_proxy_and_the_same_dependencies() {
    let [real, simulated] =
        ["Cargo.toml", PACKAGE_FILE].map(|path| read(path).parse::<Table>().expect("a manifest"));
    assert_eq!(simulated["features"]["proxy"], real["features"]["proxy"]);
    for table in ["dependencies", "target", "rust-version", "edition"] {
        let of = |manifest: &Table| {
            let package = manifest.get("package").and_then(|package| package.get(table));
            manifest.get(table).or(package).cloned()
        };
        assert_eq!(of(&simulated), of(&real), "{table}");
    }
}

#[test]
fn commands_for_people_and_ci_name_no_such_feature() {
    let mut findings = Vec::new();
    for file in files("", &[".md", ".yml", ".ci/run"]) {
        for (number, line) in file.lines() {
            let turns_on = line.contains("--all-features")
                || (line.contains("--features") && line.contains(FEATURE));
            if line.contains("cargo") && turns_on {
                findings.push(format!("{}:{number}: a build without sockets: {line}", file.path));
            }
        }
    }
    expect_none(&findings);
}
