//! Why a TLS connection was not made, in words.

use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{CertificateError, Error};

use crate::linux::trust::UntrustedIssuer;
use crate::state::utc::utc;

/// What is wrong with the TLS connection to a host, and what to do.
pub(super) fn in_words(host: &str, error: &io::Error) -> String {
    match error.get_ref().and_then(|it| it.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(certificate)) => of_certificate(host, certificate),
        Some(Error::InvalidMessage(_)) => format!(
            "{host} answers, and not in TLS: another program listens there, or a proxy or a captive portal is in between; check \
             apiEndpoint in config.json, and sign in to the network"
        ),
        Some(Error::AlertReceived(alert)) => {
            format!("{host} refuses TLS ({alert:?}); check apiEndpoint in config.json, and the cloud's TLS settings")
        }
        Some(other) => {
            format!("TLS with {host} fails: {other}; check apiEndpoint in config.json, and the cloud's TLS settings")
        }
        None => {
            format!("TLS with {host} fails: {error}; a firewall or a proxy may be in between: see HTTPS_PROXY, and the network")
        }
    }
}

/// Whether the certificate was refused, rather than the connection lost.
pub(super) fn is_of_certificate(error: &io::Error) -> bool {
    error.get_ref().and_then(|it| it.downcast_ref::<Error>()).is_some_and(|it| matches!(it, Error::InvalidCertificate(_)))
}

fn of_certificate(host: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {host} is not yet valid: it is from {} on, and this device's clock says {}; set the clock, or \
             start a time service (see `timedatectl`)",
            shown(*not_before),
            shown(*time)
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {host} has expired: it was valid until {}, and this device's clock says {}; if the clock is \
             wrong, set it (see `timedatectl`), else have the cloud's certificate renewed",
            shown(*not_after),
            shown(*time)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate of {host} is for {}; check apiEndpoint in config.json, or sign in to the network",
            if presented.is_empty() { "no name".to_owned() } else { presented.join(", ").chars().take(200).collect() }
        ),
        CertificateError::Other(other) => match other.0.downcast_ref::<UntrustedIssuer>() {
            Some(issuer) => format!("{host} is not trusted: {issuer}"),
            None => refused(host, error),
        },
        _ => refused(host, error),
    }
}

fn refused(host: &str, error: &CertificateError) -> String {
    format!("the certificate of {host} cannot be accepted: {error}; have the cloud's certificate renewed")
}

fn shown(time: UnixTime) -> String {
    utc(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
