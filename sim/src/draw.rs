//! Keyed random draws: each is keyed by (seed, domain, entity, ordinal).
//!
//! There is no shared stream: removing one request does not change the draws of the others, and a
//! new domain does not change old seeds. Integers only, from PCG, whose output is part of its
//! definition; nothing depends on a library's distributions, which change between releases.

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// The subject of a draw. The numbers are part of a seed's meaning: never renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Domain {
    /// Enabled families, and their intensity.
    Swarm = 1,
    /// The pool's configuration.
    Pool = 2,
    /// Backends and network.
    Backends = 3,
    /// Requests.
    Requests = 4,
    /// Directives of one fault family.
    Faults = 5,
    /// Schedule deviations.
    Deviations = 6,
    /// The state of the backends once faults stop.
    Heal = 7,
    /// Poisoned requests.
    Poison = 8,
    /// Delays of frames on the wire.
    Wire = 20,
    /// Delays between an event and the fact given to the pool.
    Shell = 21,
    /// A backend's working time on a response.
    Work = 22,
    /// Order of events at the same instant.
    Ties = 23,
    /// Delays of timers.
    Timers = 24,
    /// Old facts to repeat.
    Replay = 25,
    /// Dials.
    Dials = 26,
    /// Unpredictable numbers that the proxy draws.
    Entropy = 27,
    /// Delays of polls of the proxy's tasks.
    Polls = 28,
    /// The parts of a plan about the wire.
    WirePlan = 29,
    /// The methods of requests that clients send over HTTP/1.1.
    Http1Method = 35,
    /// The choice of an HTTP/1.1 client about the rest of a request that is answered already.
    Http1Upload = 36,
    /// The times that an HTTP/1.1 backend takes for its answers.
    Http1Work = 37,
    /// The choice of an HTTP/1.1 backend about the rest of a request that it has answered.
    Http1Unread = 38,
    /// Times and forms of the answers of an HTTP/2 backend.
    Http2Answers = 40,
    /// Frames that an HTTP/2 backend writes at once.
    Http2Writes = 41,
    /// Choices of an HTTP/2 backend for a connection.
    Http2Connections = 42,
    /// The room of backends that stop reading.
    NarrowReceivers = 43,
    /// All randomness of TLS.
    Tls = 45,
    /// Settings and habits of an HTTP/2 client's connection.
    ClientConnections = 46,
    /// How an HTTP/2 client writes a request.
    ClientRequests = 47,
    /// Delays of segments, of the proxy's network.
    Segments = 30,
    /// Delays of the messages of a TCP handshake, and of name resolution.
    Handshakes = 31,
    /// Delays of acknowledgements.
    Acknowledgements = 32,
    /// Places within frame headers where the bytes of a connection are cut.
    Cuts = 33,
    /// Order of events of the proxy's network at the same instant.
    Simultaneous = 34,
    /// Rare things inside the proxy; see `seams::buggify`.
    Rare = 60,
    /// Short reads and writes of the proxy's sockets.
    Short = 61,
    /// When the metrics of the proxy are read.
    Scrapes = 62,
    /// The client that connects when the proxy is about to be ordered to stop.
    LateClient = 63,
    /// Faults aimed at phases of requests.
    Aimed = 50,
    /// Faults that make a situation together.
    Situations = 51,
    /// Faults of which the pool must tell who is to blame.
    Doubts = 52,
    /// Large tables, and health that is reported.
    Sizes = 53,
    /// Changes of any setting.
    Changes = 54,
    /// Pairs of faults and orders of the operator.
    Combined = 55,
    /// Branches of plans that met something rare.
    Branches = 56,
    /// Pools of several workers, and the time until one learns what another has found.
    Workers = 57,
    /// Plans for both worlds.
    Common = 70,
    /// Entropy of the simulated system; see `outside`.
    Outside = 90,
}

/// All draws of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Draws(u64);

impl Draws {
    /// The draws of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The draws of one entity.
    #[must_use]
    pub fn stream(self, domain: Domain, entity: u64) -> RandomStream {
        let high = mix(self.0 ^ mix(domain as u64));
        let low = mix(high ^ mix(entity));
        RandomStream(Pcg64Mcg::new(u128::from(high) << 64 | u128::from(low)))
    }

    /// One number between `least` and `most`, both included, of one entity.
    #[must_use]
    pub fn between(self, domain: Domain, entity: u64, ordinal: u64, least: u64, most: u64) -> u64 {
        if least >= most {
            return least;
        }
        let drawn = mix(mix(mix(self.0 ^ mix(domain as u64)) ^ mix(entity)) ^ ordinal);
        least + scale(drawn, most - least + 1)
    }
}

/// The draws of one entity, in order.
#[derive(Clone, Debug)]
pub struct RandomStream(Pcg64Mcg);

impl RandomStream {
    /// A number below `bound`, which is above zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "the bound is above zero");
        scale(self.0.next_u64(), bound)
    }

    /// A number between `least` and `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        assert!(least <= most, "{least} to {most} is an empty range");
        match (most - least).checked_add(1) {
            Some(width) => least + self.below(width),
            None => self.0.next_u64(),
        }
    }

    /// A number between `least` and `most`, each order of magnitude with the same chance.
    pub fn wide(&mut self, least: u64, most: u64) -> u64 {
        assert!(least <= most, "{least} to {most} is an empty range");
        let magnitudes = u64::from(u64::BITS - (most - least).leading_zeros());
        let magnitude = self.below(magnitudes + 1);
        let top = if magnitude >= 64 { u64::MAX } else { (1 << magnitude) - 1 };
        self.between(least, least + top.min(most - least))
    }

    /// True with a chance of `percent` in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One element of a non-empty list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Scales a drawn number to below `bound`; the bias is below 2^-32 for any bound in use.
fn scale(drawn: u64, bound: u64) -> u64 {
    ((u128::from(drawn) * u128::from(bound)) >> 64) as u64
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every input bit changes half of the
/// output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_hold() {
        let mut stream = Draws::new(7).stream(Domain::Requests, 3);
        let drawn: Vec<u64> = (0..4).map(|_| stream.below(1_000_000)).collect();
        assert_eq!(drawn, GOLDEN_STREAM);
        let keyed: Vec<u64> =
            (0..4).map(|n| Draws::new(7).between(Domain::Wire, 3, n, 10, 1_000_009)).collect();
        assert_eq!(keyed, GOLDEN_KEYED);
        // SplitMix64's published first outputs for seed 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    const GOLDEN_STREAM: [u64; 4] = [768_010, 413_490, 232_868, 680_071];
    const GOLDEN_KEYED: [u64; 4] = [927_037, 31_784, 399_627, 979_878];

    #[test]
    fn ranges_are_closed_and_reached_at_both_ends() {
        let mut stream = Draws::new(1).stream(Domain::Swarm, 0);
        let mut seen = [0; 4];
        for _ in 0..1_000 {
            seen[(stream.between(5, 8) - 5) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 150), "{seen:?}");
        assert_eq!(stream.between(9, 9), 9);
        let _ = stream.between(0, u64::MAX);
        for _ in 0..1_000 {
            assert!((3..=1_000).contains(&stream.wide(3, 1_000)));
        }
    }
}
