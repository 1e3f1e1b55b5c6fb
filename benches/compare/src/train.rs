//! The load under which a profile is recorded for a profile-guided build: every pairing of
//! protocols with small and large responses and uploads, for a second each, and the access log on
//! half of the time. `benches/profile-guided` gives it an instrumented Baton.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::children;
use crate::options::TrainOptions;
use crate::pairing::{self, Amount, Surroundings};
use crate::scenario::Transfer;

/// Time to end, in which an instrumented build writes its profile.
const END: Duration = Duration::from_secs(20);

pub(crate) fn run(options: &TrainOptions, directory: &Path) -> Outcome<()> {
    let h2load = children::find("h2load").ok_or("h2load is not installed")?;
    let surroundings = Surroundings::prepare(directory, h2load)?;
    for pairing in pairing::ALL {
        for access_log in ["off", "json"] {
            let program = Command::new(&options.baton);
            let (running, address) = surroundings.start(program, pairing, access_log)?;
            for transfer in [Transfer::Small, Transfer::Large, Transfer::Upload] {
                let amount = Amount::Seconds(options.seconds);
                let sent = surroundings.send(pairing, transfer, address, amount)?;
                eprintln!("{}, {}: {sent} requests", pairing.name, transfer.path());
            }
            running.end_within(END)?;
        }
    }
    Ok(())
}
