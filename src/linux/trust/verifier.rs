//! Verification of a server's certificate. An error names the CA that is not trusted.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

/// The OID of a common name, in DER.
const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];
/// The longest name that is shown, in bytes. What a server sends may be of any length.
const NAME_BYTES: usize = 100;

/// Verifies as rustls does by default, and names the CA that is not trusted.
#[derive(Debug)]
pub(super) struct IssuerNaming {
    inner: Arc<WebPkiServerVerifier>,
    complaint: Option<String>,
}

/// The CA of the server's certificate is not trusted.
#[derive(Debug)]
pub(in crate::linux) struct UntrustedIssuer {
    /// Its common name. `None`: it has none.
    pub issuer: Option<String>,
    /// What is wrong with `balenaRootCA`.
    pub complaint: Option<String>,
}

impl IssuerNaming {
    pub(super) fn new(
        trusted: RootCertStore,
        provider: &Arc<CryptoProvider>,
        complaint: Option<String>,
    ) -> Result<Self, String> {
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), provider.clone()).build();
        Ok(Self { inner: built.map_err(|error| error.to_string())?, complaint })
    }
}

impl ServerCertVerifier for IssuerNaming {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if !matches!(verified, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))) {
            return verified;
        }
        let issuer = issuer(intermediates.last().unwrap_or(end_entity));
        let untrusted = UntrustedIssuer { issuer, complaint: self.complaint.clone() };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The common name of a certificate's issuer.
fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let name = parsed.issuer();
    let at = name.windows(COMMON_NAME.len()).position(|it| it == COMMON_NAME)? + COMMON_NAME.len();
    // A string's type, its length in one byte, and its text.
    let &[_, length, ref text @ ..] = name.get(at..)? else { return None };
    let text = text.get(..usize::from(length).min(NAME_BYTES))?;
    let shown = String::from_utf8_lossy(text).chars().map(|it| if it.is_control() { ' ' } else { it }).collect::<String>();
    (!shown.trim().is_empty()).then(|| shown.trim().to_owned())
}

impl fmt::Display for UntrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.issuer.as_deref().unwrap_or("without a name");
        write!(f, "its certificate is of the CA `{shown}`, which this device does not trust")?;
        if let Some(complaint) = &self.complaint {
            write!(f, " ({complaint})")?;
        }
        f.write_str(
            "; if it is the cloud's, put the CA's certificate into balenaRootCA of config.json, or install ca-certificates",
        )
    }
}

impl std::error::Error for UntrustedIssuer {}
