//! Which certificates are trusted: the host's, and those that the device's provisioning adds (`balenaRootCA`).
//!
//! One store serves the cloud's API, its log upload and registries. The files are read, off the thread, when a connection
//! first needs them; a change of `balenaRootCA` counts from the next connection.

mod verifier;

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tracing::warn;

use crate::linux::{off_thread, read_small};

pub(in crate::linux) use verifier::UntrustedIssuer;

/// Where distributions keep their trusted certificates, below the host's root: Debian, and Red Hat and its kin.
const TRUSTED: [&str; 2] = ["etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt"];
/// Where an engine keeps the certificates trusted for one registry, in a directory of its name.
const TRUSTED_FOR_ONE: &str = "etc/docker/certs.d";

/// The certificates that are trusted.
#[derive(Debug)]
pub struct TrustStore {
    root: PathBuf,
    /// `balenaRootCA`: base64 of PEM.
    root_ca: RefCell<Option<String>>,
    /// The configuration that the cloud's connections share, so that they resume each other's TLS sessions. `None`: the files
    /// are to be read.
    config: RefCell<Option<Arc<ClientConfig>>>,
    /// Counts the changes: a connection made before the last one is not used any more.
    generation: Cell<u64>,
}

impl TrustStore {
    /// Trusts the certificates of the host whose root this is, and those of `root_ca`: base64 of PEM, of one certificate or
    /// several.
    #[must_use]
    pub fn new(root: &Path, root_ca: Option<String>) -> Self {
        Self { root: root.to_owned(), root_ca: RefCell::new(root_ca), config: RefCell::default(), generation: Cell::default() }
    }

    /// Replaces `root_ca`. Connections made from now on trust the new certificates only, beside the host's.
    pub fn set_root_ca(&self, root_ca: Option<String>) {
        if *self.root_ca.borrow() != root_ca {
            self.root_ca.replace(root_ca);
            self.generation.set(self.generation.get() + 1);
            self.read_again();
        }
    }

    /// Has the next connection read the files again: an update of the host may have brought the certificate that was missing.
    pub(in crate::linux) fn read_again(&self) {
        self.config.replace(None);
    }

    /// A number that is another one after each change of `root_ca`.
    pub(in crate::linux) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// The configuration of TLS connections to the cloud.
    pub(in crate::linux) async fn for_cloud(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = &*self.config.borrow() {
            return Ok(config.clone());
        }
        let generation = self.generation();
        let config = self.build(None).await?;
        if generation == self.generation() {
            // Of two connections that were begun at once, the second takes the first one's, and its sessions.
            return Ok(self.config.borrow_mut().get_or_insert(config).clone());
        }
        Ok(config)
    }

    /// The configuration of TLS connections to a registry. It trusts what the engine trusts for this registry too.
    pub(in crate::linux) async fn for_registry(&self, host: &str) -> Result<Arc<ClientConfig>, String> {
        self.build(Some(host)).await
    }

    async fn build(&self, registry: Option<&str>) -> Result<Arc<ClientConfig>, String> {
        let (root, root_ca) = (self.root.clone(), self.root_ca.borrow().clone());
        let registry = registry.map(|host| root.join(TRUSTED_FOR_ONE).join(host));
        off_thread(move || build(&root, root_ca.as_deref(), registry.as_deref())).await?
    }
}

fn build(root: &Path, root_ca: Option<&str>, registry: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut trusted = RootCertStore::empty();
    let entries = registry.and_then(|it| fs::read_dir(it).ok()).into_iter().flatten();
    let own = entries.filter_map(Result::ok).map(|it| it.path()).filter(|it| it.extension().is_some_and(|it| it == "crt"));
    let files: Vec<PathBuf> = TRUSTED.iter().map(|it| root.join(it)).chain(own).collect();
    for bytes in files.iter().filter_map(|it| read_small(it).ok()) {
        trusted.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok));
    }
    let complaint = root_ca.and_then(|it| add(&mut trusted, it).err());
    if let Some(complaint) = &complaint {
        warn!("{complaint}");
    }
    if trusted.is_empty() {
        let missing = format!("no CA certificates found: install ca-certificates, so that {} is there", files[0].display());
        return Err(complaint.map_or(missing.clone(), |it| format!("{it}; {missing}")));
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = verifier::IssuerNaming::new(trusted, &provider, complaint)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        // It verifies as rustls does by default, and says more about what it refuses.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Adds the certificates of `balenaRootCA`.
fn add(trusted: &mut RootCertStore, root_ca: &str) -> Result<(), String> {
    const WRONG: &str = "balenaRootCA in config.json";
    let packed: String = root_ca.split_whitespace().collect();
    let pem = BASE64_STANDARD.decode(packed).map_err(|_| format!("{WRONG} is not base64; write base64 of a PEM file there"))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect();
    let (added, _) = trusted.add_parsable_certificates(found.iter().flatten().cloned());
    match found.len() {
        0 => Err(format!("{WRONG} has no certificate in it; write base64 of a PEM file there")),
        all if added < all => Err(format!("{WRONG} has {all} certificates, and {added} can be read; write it again")),
        _ => Ok(()),
    }
}
