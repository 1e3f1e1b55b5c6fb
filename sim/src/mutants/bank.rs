//! The banks of patches.

/// A bank of patches, and the world that must find the bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bank {
    /// `src/pool`, in the world of the pool.
    Pool,
    /// `src/proxy`, in the world of the proxy.
    Proxy,
}

/// The runs that a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Those of the canary: they take less time than to optimise anything.
    Short,
    /// Thousands of seeds of each bug.
    Long,
}

impl Bank {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Proxy => "proxy",
        }
    }

    /// The directory of its patches, from the root.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Pool => "sim/mutants",
            Self::Proxy => "sim/mutants/proxy",
        }
    }

    /// The patch that CI plants to check that the simulator finds bugs.
    #[must_use]
    pub fn canary(self) -> &'static str {
        match self {
            Self::Pool => "reuse-after-goaway",
            Self::Proxy => "response-trailers-lost",
        }
    }

    /// The pool is built without the shell around it. Libraries take most of the time of a run in
    /// the world of the proxy, and of a first build in the world of the pool.
    pub(super) fn build_arguments(self, effort: Effort) -> &'static [&'static str] {
        match (self, effort) {
            (Self::Pool, Effort::Short) => {
                &["--no-default-features", "--config", "profile.release.opt-level=0"]
            }
            (Self::Proxy, Effort::Short) => &["--config", "profile.release.opt-level=0"],
            (Self::Pool, Effort::Long) => {
                &["--no-default-features", "--config", r#"profile.release.package."*".opt-level=0"#]
            }
            // Most of a build is the code of the package that the patch changes.
            (Self::Proxy, Effort::Long) => &[
                "--config",
                "profile.release.package.baton-simulated.opt-level=1",
                "--config",
                "profile.release.package.sim.opt-level=1",
            ],
        }
    }

    /// Seeds that must pass without a patch.
    pub(super) fn green_seeds(self) -> u64 {
        match self {
            Self::Pool => 1_000,
            Self::Proxy => 100,
        }
    }

    /// Arguments of `run` and `replay`.
    pub(super) fn run_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Pool => &[],
            Self::Proxy => &["--world", "proxy"],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Bank;

    #[test]
    fn each_bank_has_its_canary() {
        for bank in [Bank::Pool, Bank::Proxy] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let path = root.join(bank.directory()).join(format!("{}.patch", bank.canary()));
            assert!(path.is_file(), "{}", path.display());
        }
    }
}
