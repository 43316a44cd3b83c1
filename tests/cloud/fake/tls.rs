//! Certificates like those of a public authority: a root, an intermediate, and a leaf for 127.0.0.1 and localhost, on P-256.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::{Ticketer, default_provider};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A chain that no other cloud has.
pub(super) struct Chain {
    /// The root's certificate, in PEM.
    pub(super) root: String,
    sent: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Chain {
    /// Makes keys and certificates.
    pub(super) fn new() -> Self {
        let (root_key, middle_key, leaf_key) = (key(), key(), key());
        let root = authority("Fake cloud root");
        let root_cert = root.self_signed(&root_key).unwrap();
        let root = Issuer::new(root, root_key);
        let middle = authority("Fake cloud R1");
        let middle_cert = middle.signed_by(&middle_key, &root).unwrap();
        let middle = Issuer::new(middle, middle_key);
        let mut leaf = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_cert = leaf.signed_by(&leaf_key, &middle).unwrap();
        let sent = vec![leaf_cert.der().clone(), middle_cert.der().clone()];
        Self { root: root_cert.pem(), sent, key: leaf_key.serialize_der() }
    }

    /// What accepts connections: TLS 1.2 and 1.3, with tickets that resume sessions.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(self.sent.clone(), key).unwrap();
        config.ticketer = Ticketer::new().unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
