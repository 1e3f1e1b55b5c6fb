//! Certificates, keys and authorities that a file names: whether they can be used.

use std::ops::Range;
use std::path::PathBuf;

use super::error::Finding;
use crate::proxy::config::CertificateFiles;
use crate::proxy::tls;

/// What a file that is named is for.
#[derive(Clone, Debug)]
pub(super) enum FileUse {
    /// To be shown to clients.
    ListenerCertificate(CertificateFiles),
    /// To be shown to backends.
    ClientCertificate(CertificateFiles),
    /// Authorities for backends.
    Authorities(PathBuf),
}

/// Opens every file that is named, and says which of them cannot be used.
pub(super) fn check(files: &[(FileUse, Range<usize>)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, span) in files {
        let checked = match file {
            FileUse::ListenerCertificate(files) => tls::server_config(files, true).map(drop),
            FileUse::ClientCertificate(files) => tls::check_client_certificate(files),
            FileUse::Authorities(path) => tls::roots_from_file(path).map(drop),
        };
        if let Err(what) = checked {
            // It says itself what was expected.
            let (span, expected) = (span.clone(), String::new());
            findings.push(Finding { span, absence: false, what, expected });
        }
    }
    findings
}
