//! The text format of a plan, and its errors.

use super::{Act, Address, Change, FORMAT, Plan, WorldName};

/// Reads a plan.
///
/// # Errors
/// An error with line, column and the expected value, or with the name of a value out of bounds.
pub fn read(text: &str) -> Result<Plan, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    if let Ok(head) = ron::from_str::<Head>(text)
        && head.format != FORMAT
    {
        let found = head.format;
        return Err(format!("format: expected {FORMAT}, found {found}"));
    }
    let plan: Plan = ron::from_str(text).map_err(|error| {
        let at = error.span.start;
        format!("line {}, column {}: {}", at.line, at.col, error.code)
    })?;
    plan.check()?;
    Ok(plan)
}

/// Writes a plan, one element per line.
#[must_use]
pub fn write(plan: &Plan) -> String {
    let pretty = ron::ser::PrettyConfig::new().depth_limit(2).new_line("\n");
    let mut text = ron::ser::to_string_pretty(plan, pretty).expect("a plan is plain data");
    text.push('\n');
    text
}

impl Plan {
    /// Checks that the plan can be run.
    ///
    /// # Errors
    /// The first value out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let expect = |holds: bool, text: &str| {
            if holds { Ok(()) } else { Err(text.to_owned()) }
        };
        let config = self.config();
        config.check().map_err(|error| format!("pool: {error}"))?;
        expect(self.pool.generations != Some(0), "pool.generations: expected at least 1")?;
        let count = self.backends.len();
        expect(self.heal.backends.len() == count, "heal.backends: expected one per backend")?;
        expect(count <= 64, "backends: expected at most 64")?;
        expect((1..=4).contains(&self.pool.workers), "pool.workers: expected 1 to 4")?;
        expect(self.pool.spare_places <= 64, "pool.spare_places: expected at most 64")?;
        let spare_last = self.backends.is_sorted_by_key(|backend| backend.spare);
        expect(spare_last, "backends: expected spare ones last")?;
        expect(self.requests.len() <= 100_000, "requests: expected at most 100000")?;
        expect(self.directives.len() <= 10_000, "directives: expected at most 10000")?;
        let ids = self.requests.windows(2).all(|pair| pair[0].id < pair[1].id);
        expect(ids, "requests: expected ids that grow along the list")?;
        let network = &self.network;
        for (span, name) in [
            (network.wire, "network.wire"),
            (network.shell, "network.shell"),
            (network.timer, "network.timer"),
            (network.dial, "network.dial"),
        ] {
            let text = format!("{name}: expected least_us <= most_us <= {MOST_US}");
            expect(span.least_us <= span.most_us && span.most_us <= MOST_US, &text)?;
        }
        for backend in &self.backends {
            let wire = backend.wire;
            let reachable = !wire.has_name() || wire.name.contains(&Address::Lives);
            expect(reachable, "backends: expected names with an address that lives")?;
            for span in [backend.work, backend.body] {
                let holds = span.least_us <= span.most_us && span.most_us <= MOST_US;
                expect(holds, "backends: expected spans with least_us <= most_us <= an hour")?;
            }
        }
        let times = self.requests.iter().map(|request| request.at_us);
        let bodies = self.requests.iter().filter_map(|request| request.body_us);
        let all = times.chain(bodies).chain([self.heal.at_us, network.dead_path_us]);
        let all = all.chain(self.pool.replaced_at_us);
        let text = format!("times: expected at most {MOST_US}");
        expect(all.max().is_none_or(|most| most <= MOST_US), &text)?;
        let deviations = self.deviations.iter().map(|deviation| deviation.by_us);
        expect(deviations.max().is_none_or(|most| most <= MOST_US), &text)?;
        let waits = self.directives.iter().map(|directive| directive.after_us);
        expect(waits.max().is_none_or(|most| most <= MOST_US), &text)?;
        expect(
            self.directives.iter().all(|directive| directive.is_within_bounds(count)),
            "directives: expected backends that exist and times of at most an hour",
        )?;
        expect(
            self.pool.is_alone() || self.world == WorldName::Pool,
            "pool.workers, pool.replaced_at_us: expected one pool unless in the world of the pool",
        )?;
        let replaced = self.pool.replaced_at_us.is_none_or(|at| at < self.heal.at_us && at > 0);
        expect(replaced, "pool.replaced_at_us: expected more than 0 and less than heal.at_us")?;
        let of_pool = self.directives.iter().any(|directive| directive.changes_any_setting());
        expect(
            !of_pool || self.world == WorldName::Pool,
            "directives: expected Setting(name, value) only in the world of the pool",
        )
    }
}

/// An hour.
const MOST_US: u64 = 3_600_000_000;

impl super::Directive {
    fn changes_any_setting(&self) -> bool {
        let any = |change: &Change| matches!(change, Change::Setting { .. });
        match &self.act {
            Act::Change { change } => any(change),
            Act::ChangeAll { changes } => changes.iter().any(any),
            _ => false,
        }
    }

    fn is_within_bounds(&self, backends: usize) -> bool {
        let (mut known, mut short) = (true, true);
        let mut act = self.act;
        act.visit(
            |backend| known &= usize::from(*backend) < backends,
            |time| short &= *time <= MOST_US,
        );
        let few = !matches!(act, Act::Replay { count, .. } if count > 1_000);
        known && short && few
    }
}
