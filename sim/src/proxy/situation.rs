//! The state that the operator wants the process to have at a time: its listeners, its files, and
//! a mistake in the configuration.

use std::net::SocketAddr;

use super::peers::tls::{FRONT, FRONT_RENEWED, Front};
use super::settings::LISTENERS;
use crate::plan::{CertificateFiles, Wrong};

/// The files of the listeners' certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// The certificate; `None` if its file is cut short.
    pub(crate) certificate: Option<Front>,
    pub(crate) key: Front,
}

impl Files {
    /// The files of a certificate.
    pub(crate) const fn of(front: Front) -> Self {
        Self { certificate: Some(front), key: front }
    }

    /// The files that an act asks for.
    pub(crate) fn wanted(files: CertificateFiles) -> Self {
        match files {
            CertificateFiles::First => Self::of(Front::First),
            CertificateFiles::Renewed => Self::of(Front::Renewed),
            CertificateFiles::CutShort => Self { certificate: None, key: Front::First },
            CertificateFiles::OtherKey => {
                Self { certificate: Some(Front::First), key: Front::Renewed }
            }
        }
    }

    /// The certificate that clients are to see; `None` if the files do not belong together.
    pub(crate) fn front(self) -> Option<Front> {
        self.certificate.filter(|certificate| *certificate == self.key)
    }

    /// The text of the certificate's file.
    pub(crate) fn certificate_text(self) -> &'static str {
        match self.certificate {
            Some(Front::First) => FRONT.certificate,
            Some(Front::Renewed) => FRONT_RENEWED.certificate,
            None => &FRONT.certificate[..FRONT.certificate.len() / 2],
        }
    }

    /// The text of the key's file.
    pub(crate) fn key_text(self) -> &'static str {
        match self.key {
            Front::First => FRONT.key,
            Front::Renewed => FRONT_RENEWED.key,
        }
    }
}

/// The state that the operator wants from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The listeners in the configuration, by the indices of their addresses.
    pub(crate) listeners: Vec<u8>,
    pub(crate) files: Files,
    pub(crate) wrong: Option<Wrong>,
}

impl Situation {
    /// The situation at the start of a run.
    pub(crate) fn first() -> Self {
        Self { listeners: vec![0], files: Files::of(Front::First), wrong: None }
    }

    /// True if the configuration has a listener with this address.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let mut open = self.listeners.iter().map(|index| LISTENERS[usize::from(*index)]);
        open.any(|known| SocketAddr::from(known) == address)
    }

    /// True if the proxy can be configured like this. Without TLS it does not read the files.
    pub(crate) fn is_valid(&self, tls: bool) -> bool {
        self.wrong.is_none() && (!tls || self.files.front().is_some())
    }
}

/// All situations of a run, each with the time of its beginning, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Situations(Vec<(u64, Situation)>);

impl Default for Situations {
    fn default() -> Self {
        Self(vec![(0, Situation::first())])
    }
}

impl Situations {
    /// The situation changes now.
    pub(crate) fn change(&mut self, now: u64, change: impl FnOnce(&mut Situation)) {
        let mut next = self.last().clone();
        change(&mut next);
        if next != *self.last() {
            self.0.push((now, next));
        }
    }

    /// The present situation.
    pub(crate) fn last(&self) -> &Situation {
        &self.0.last().expect("there is one from the start on").1
    }

    /// When the present situation began.
    pub(crate) fn since(&self) -> u64 {
        self.0.last().map_or(0, |(since, _)| *since)
    }

    /// The situations at some moment between two times, both included.
    pub(crate) fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Situation> {
        let ends = self.0.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
        let all = self.0.iter().zip(ends);
        all.filter(move |((begins, _), ends)| *begins <= to && from <= *ends)
            .map(|((_, situation), _)| situation)
    }

    /// Each change of files, with its time, the files, and the time of the next change.
    pub(crate) fn files(&self) -> Vec<(u64, Files, u64)> {
        let mut changes: Vec<(u64, Files)> =
            self.0.iter().map(|(at, situation)| (*at, situation.files)).collect();
        changes.dedup_by_key(|(_, files)| *files);
        let ends: Vec<u64> = changes.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]).collect();
        changes.into_iter().zip(ends).map(|((at, files), end)| (at, files, end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn situations_of_a_time_include_those_that_begin_or_end_then() {
        let mut all = Situations::default();
        all.change(10, |situation| situation.listeners = vec![0, 1]);
        all.change(10, |situation| situation.listeners = vec![0, 1]);
        all.change(20, |situation| situation.wrong = Some(Wrong::Unreadable));
        let listeners = |from, to| -> Vec<usize> {
            all.between(from, to).map(|situation| situation.listeners.len()).collect()
        };
        assert_eq!(listeners(0, 9), [1]);
        assert_eq!(listeners(10, 10), [1, 2]);
        assert_eq!(listeners(11, 19), [2]);
        assert_eq!(listeners(15, 30), [2, 2]);
        assert_eq!(all.since(), 20);
        assert!(!all.last().is_valid(false));
    }

    #[test]
    fn files_are_valid_if_certificate_and_key_belong_together() {
        for (files, front) in [
            (CertificateFiles::First, Some(Front::First)),
            (CertificateFiles::Renewed, Some(Front::Renewed)),
            (CertificateFiles::CutShort, None),
            (CertificateFiles::OtherKey, None),
        ] {
            assert_eq!(Files::wanted(files).front(), front);
        }
        let mut all = Situations::default();
        all.change(5, |situation| situation.files = Files::of(Front::Renewed));
        all.change(6, |situation| situation.listeners = vec![1]);
        let first = (0, Files::of(Front::First), 5);
        assert_eq!(all.files(), [first, (5, Files::of(Front::Renewed), u64::MAX)]);
    }
}
