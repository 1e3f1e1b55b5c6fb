//! Checks of the certificates, keys and authorities that a configuration file names.

use std::ops::Range;
use std::path::PathBuf;

use super::error::Finding;
use crate::proxy::config::CertificateFiles;
use crate::proxy::tls;

/// The purpose of a named file.
#[derive(Clone, Debug)]
pub(super) enum FileUse {
    /// A certificate of a listener.
    ListenerCertificate(CertificateFiles),
    /// A client certificate for backends.
    ClientCertificate(CertificateFiles),
    /// Certificate authorities for backends.
    Authorities(PathBuf),
}

/// Opens every named file. Returns a finding for each that cannot be used.
pub(super) fn check(files: &[(FileUse, Range<usize>)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, span) in files {
        let checked = match file {
            FileUse::ListenerCertificate(files) => tls::server_config(files, true).map(drop),
            FileUse::ClientCertificate(files) => tls::check_client_certificate(files),
            FileUse::Authorities(path) => tls::roots_from_file(path).map(drop),
        };
        if let Err(what) = checked {
            // The message includes what was expected.
            let (span, expected) = (span.clone(), String::new());
            findings.push(Finding { span, absence: false, what, expected });
        }
    }
    findings
}
