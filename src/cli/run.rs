//! The flags of `baton run`, generated from the tables of settings.
//!
//! A file and flags describe the same configuration. Flags alone describe one cluster,
//! [`DEFAULT_CLUSTER`], that gets every request, and listeners with equal settings. With
//! `--config`, only flags about the process are allowed; they override the file. A flag about
//! listeners, clusters or backends is an error then, because it does not say which one it is about.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::rules::{self, Problem};
use crate::config::setting::Setting;
use crate::config::settings::{CLIENTS, CLUSTER, LISTENER, PROCESS, UPSTREAM_TLS, of_process};
use crate::config::value::{Kind, Value};
use crate::config::{self, ConfigError, DEFAULT_CLUSTER};
use crate::pool::limits::WEIGHT_MAX;
use crate::proxy::backend_url::BackendUrl;
use crate::proxy::config::{
    BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig, UpstreamTlsSettings,
};
use crate::proxy::reload::source::Source;
use crate::proxy::route::Route;

/// Help headings of sections of settings.
const HEADINGS: [(&str, &str); 7] = [
    ("clients", "Client limits"),
    ("client_frames", "Frames on a client's HTTP/2 connection per window"),
    ("limits", "Limits"),
    ("timeouts", "Times (such as 500ms, 5s, 1m, 1h)"),
    ("retry", "Retries"),
    ("health", "Passive health"),
    ("health_check", "Active health checks"),
];

/// The parsed flags of `baton run`.
#[derive(Clone, Debug)]
pub enum RunArguments {
    /// A file, and values of the process that override it.
    File {
        /// The file.
        path: PathBuf,
        /// Applied after the file was read.
        overrides: Overrides,
    },
    /// Flags alone.
    Flags(Box<ProxyConfig>),
}

/// Values of the process that were given as flags, with their paths.
pub type Overrides = Vec<(String, Value)>;

/// Why `baton run` has no configuration to run with.
#[derive(Debug)]
pub enum RunError {
    /// The file has errors.
    File(Vec<ConfigError>),
    /// The flags, or the file together with the flags, break a rule; one line each.
    Flags(Vec<String>),
}

impl RunArguments {
    /// Returns the configuration that the flags describe. Reads the file, if there is one.
    ///
    /// # Errors
    /// All errors in the configuration.
    pub fn load(&self) -> Result<ProxyConfig, RunError> {
        match self {
            Self::File { path, overrides } => from_file(path, overrides, config::load),
            Self::Flags(config) => refuse_problems((**config).clone()),
        }
    }

    /// Returns the source that a reload reads its configuration from.
    #[must_use]
    pub fn source(&self) -> Source {
        match self {
            Self::File { path, overrides } => {
                let read = |load: fn(&Path) -> Result<ProxyConfig, Vec<ConfigError>>| {
                    let (path, overrides) = (path.clone(), overrides.clone());
                    Box::new(move || from_file(&path, &overrides, load).map_err(RunError::lines))
                };
                Source::file(path.clone(), read(config::load), read(config::check))
            }
            Self::Flags(config) => Source::fixed(config),
        }
    }
}

impl RunError {
    /// All errors, one line each.
    fn lines(self) -> Vec<String> {
        match self {
            Self::File(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Flags(errors) => errors,
        }
    }
}

/// Reads a file and applies the overrides.
fn from_file(
    path: &Path,
    overrides: &Overrides,
    load: fn(&Path) -> Result<ProxyConfig, Vec<ConfigError>>,
) -> Result<ProxyConfig, RunError> {
    let mut config = load(path).map_err(RunError::File)?;
    apply_overrides(&mut config, overrides);
    refuse_problems(config)
}

fn apply_overrides(config: &mut ProxyConfig, overrides: &Overrides) {
    for (path, value) in overrides {
        let setting = of_process().find(|setting| setting.path() == *path);
        let setting = setting.expect("overrides come from the tables");
        setting.access.set(config, value.clone());
    }
}

fn refuse_problems(config: ProxyConfig) -> Result<ProxyConfig, RunError> {
    let problems = rules::problems(&config);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(RunError::Flags(problems.iter().map(in_flags).collect()))
    }
}

/// Describes a problem in terms of the command line.
fn in_flags(problem: &Problem) -> String {
    let prefix = format!("cluster.{DEFAULT_CLUSTER}.");
    let path = problem.path.strip_prefix(&prefix).unwrap_or(&problem.path);
    let flag = CLUSTER.iter().find(|setting| setting.path() == path).and_then(|it| it.flag);
    let flag = flag.map_or_else(String::new, |flag| format!("--{flag}: "));
    format!("{flag}{}; expected {}", problem.what.replace(&prefix, ""), problem.expected)
}

impl Args for RunArguments {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .short('c')
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file; with it, only flags about the process are allowed");
        let listen = Arg::new("listen")
            .long("listen")
            .value_name("ADDR")
            .action(ArgAction::Append)
            .value_parser(clap::value_parser!(std::net::SocketAddr))
            .conflicts_with("config")
            .help(format!(
                "Address to listen on; may be repeated [default: {}]",
                ListenerConfig::default().address
            ));
        let backend = Arg::new("backend")
            .long("backend")
            .short('b')
            .value_name("URL")
            .action(ArgAction::Append)
            .value_parser(BackendUrl::with_weight)
            .required_unless_present("config")
            .conflicts_with("config")
            .help(format!(
                "Backend: https://HOST:PORT, h2c:// or http://, optionally with ;weight=N (1 to \
                 {WEIGHT_MAX}); may be repeated",
            ));
        let command = command.args([config, listen, backend]);
        let command = add(command, PROCESS, &ProxyConfig::default(), false);
        let command = add(command, &CLIENTS, &ProxyConfig::default(), false);
        let command = add(command, LISTENER, &ListenerConfig::default(), true);
        let command = add(command, UPSTREAM_TLS, &UpstreamTlsSettings::default(), true);
        let command = add(command, &CLUSTER, &ClusterConfig::new(DEFAULT_CLUSTER), true);
        [("tls-cert", "tls-key"), ("client-cert", "client-key")].into_iter().fold(
            command,
            |command, (certificate, key)| {
                command
                    .mut_arg(certificate, |arg| arg.requires(key))
                    .mut_arg(key, |arg| arg.requires(certificate))
            },
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Adds the flags of a table of settings.
fn add<T: 'static>(
    command: Command,
    settings: &'static [Setting<T>],
    defaults: &T,
    conflicts_with_file: bool,
) -> Command {
    settings.iter().fold(command, |command, setting| {
        let Some(flag) = setting.flag else { return command };
        let mut arg = Arg::new(flag)
            .long(flag)
            .value_name(setting.kind.placeholder())
            .help(help(setting, defaults));
        arg = match setting.kind {
            Kind::Choice(words) => {
                arg.value_parser(PossibleValuesParser::new(words).map(Value::Text))
            }
            Kind::Boolean => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(|text: &str| Kind::Boolean.read_text(text)),
            kind => arg.value_parser(move |text: &str| kind.read_text(text)),
        };
        if let Some(short) = setting.short {
            arg = arg.short(short);
        }
        if conflicts_with_file {
            arg = arg.conflicts_with("config");
        }
        let heading = HEADINGS.iter().find(|(section, _)| *section == setting.section);
        if let Some((_, heading)) = heading {
            arg = arg.help_heading(*heading);
        }
        command.arg(arg)
    })
}

fn help<T>(setting: &Setting<T>, defaults: &T) -> String {
    let bounds = match setting.kind {
        Kind::Integer { min, max } => format!(", {min} to {max}"),
        Kind::Bytes { .. }
        | Kind::Duration { .. }
        | Kind::Boolean
        | Kind::Choice(_)
        | Kind::Path
        | Kind::Text { .. } => String::new(),
    };
    let default = setting.default_text(defaults);
    let default = default.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(&default);
    let default = if default.is_empty() { "none" } else { default };
    format!("{}{bounds} [default: {default}]", setting.description)
}

impl FromArgMatches for RunArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            let given = |setting: &Setting<ProxyConfig>| {
                Some((setting.path(), matches.get_one::<Value>(setting.flag?)?.clone()))
            };
            let overrides = of_process().filter_map(given).collect();
            return Ok(Self::File { path: path.clone(), overrides });
        }
        let mut config = ProxyConfig::default();
        apply(matches, PROCESS, &mut config);
        apply(matches, &CLIENTS, &mut config);
        let mut listener = ListenerConfig::default();
        apply(matches, LISTENER, &mut listener);
        config.listeners = match matches.get_many("listen") {
            None => vec![listener],
            Some(addresses) => addresses
                .map(|address| ListenerConfig { address: *address, ..listener.clone() })
                .collect(),
        };
        let mut cluster = ClusterConfig::new(DEFAULT_CLUSTER);
        apply(matches, &CLUSTER, &mut cluster);
        apply(matches, UPSTREAM_TLS, &mut cluster.tls);
        let backends = matches.get_many::<(BackendUrl, u16)>("backend").into_iter().flatten();
        let tls = cluster.tls.clone();
        cluster.backends = backends
            .map(|(url, weight)| BackendSettings {
                url: url.clone(),
                weight: *weight,
                tls: tls.clone(),
            })
            .collect();
        config.routes = vec![Route::everything(DEFAULT_CLUSTER)];
        config.clusters = vec![cluster];
        Ok(Self::Flags(Box::new(config)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Sets the values of a table that were given as flags.
fn apply<T: 'static>(matches: &ArgMatches, settings: &'static [Setting<T>], target: &mut T) {
    for setting in settings {
        let given = setting.flag.and_then(|flag| matches.get_one::<Value>(flag));
        if let Some(value) = given {
            setting.access.set(target, value.clone());
        }
    }
}

#[cfg(test)]
mod tests;
