//! The real adapter, and a server for it.

use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use boardkeeper::linux::cloud::{CloudClient, CloudClientSettings};
use boardkeeper::linux::traffic::TrafficCounter;
use boardkeeper::linux::trust::TrustStore;
use boardkeeper::state::Secret;
use boardkeeper::state::cloud::CloudAccount;
use boardkeeper::state::proxy_variables::ProxyVariables;
use serde_json::{Value, json};

use super::server::{AUTHORITY, CloudServer, Heard, Reply, VALID};

pub(crate) const UUID: &str = "335a908fe6803c7dda6f13eadcd1f7e0";
pub(crate) const KEY: &str = "eb8df4452e5e635bc26bbea6c6135c40";

pub(crate) fn key() -> Secret {
    Secret::new(KEY.to_owned())
}

pub(crate) fn account(endpoint: &str) -> CloudAccount {
    CloudAccount { endpoint: endpoint.to_owned(), logs_endpoint: None, uuid: UUID.to_owned(), key: key() }
}

pub(crate) fn base64(pem: &str) -> String {
    BASE64_STANDARD.encode(pem)
}

/// A client of a host without certificates, that trusts the tests' authority.
pub(crate) fn client() -> CloudClient {
    client_with(Some(base64(AUTHORITY)), ProxyVariables::default())
}

pub(crate) fn client_with(root_ca: Option<String>, proxies: ProxyVariables) -> CloudClient {
    CloudClient::new(CloudClientSettings {
        root: "/nowhere".into(),
        trust: Rc::new(TrustStore::new("/nowhere".as_ref(), root_ca)),
        traffic: TrafficCounter::default(),
        user_agent: "Supervisor/19.0.5".to_owned(),
        proxies,
    })
}

/// A host's root whose distribution trusts this authority.
pub(crate) fn host_root(pem: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/ssl/certs")).unwrap();
    fs::write(root.path().join("etc/ssl/certs/ca-certificates.crt"), pem).unwrap();
    root
}

/// The world of the port's suite: the adapter, over TLS, and a cloud that keeps a target.
pub(crate) struct OverTls {
    client: CloudClient,
    server: CloudServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    target: Option<(String, String)>,
    refusal: Option<(u16, &'static str, u64)>,
    is_gone: bool,
    uploaded: usize,
    /// The commit of the only release, whose number is 3.
    release: Option<&'static str>,
    pinned: Option<u64>,
    tags: BTreeMap<String, String>,
}

impl OverTls {
    pub(crate) fn new() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let inner = state.clone();
        let server = CloudServer::tls(VALID, move |heard, _| says(&mut inner.lock().unwrap(), heard));
        Self { client: client(), server, state }
    }
}

fn says(state: &mut State, heard: &Heard) -> Reply {
    if state.is_gone {
        return Reply::raw("");
    }
    if let Some((status, why, wait)) = state.refusal {
        return Reply::new(&format!("{status} No"), &format!("Retry-After: {wait}\r\n"), why);
    }
    match heard.line.split(['?', '/']).next_back() {
        _ if heard.line.starts_with("GET /v7/device_tag?$filter=device/uuid%20eq%20%27") => {
            let all = state.tags.iter().enumerate();
            let all: Vec<_> = all.map(|(id, (name, value))| json!({"id": id, "tag_key": name, "value": value})).collect();
            Reply::new("200 OK", "Content-Type: application/json\r\n", json!({"d": all}).to_string())
        }
        Some("tags") if heard.line.starts_with("PATCH") => {
            let body: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&heard.text).unwrap();
            state.tags.extend(body.into_values().flatten());
            Reply::new("200 OK", "", "")
        }
        _ if heard.line.starts_with("GET /v7/device") => {
            Reply::new("200 OK", "Content-Type: application/json\r\n", "{\"d\":[{\"id\":5}]}")
        }
        _ if heard.line.starts_with("GET /v7/release") => {
            let is_it = |commit| heard.line.contains(&format!("%27{commit}%27%20and%20belongs_to__application%20eq%207%20"));
            let found = if state.release.is_some_and(is_it) { "{\"d\":[{\"id\":3}]}" } else { "{\"d\":[]}" };
            Reply::new("200 OK", "Content-Type: application/json\r\n", found)
        }
        _ if heard.line == "PATCH /v7/device(5)" => {
            state.pinned = serde_json::from_str::<Value>(&heard.text).unwrap()["is_pinned_on__release"].as_u64();
            Reply::new("200 OK", "", "")
        }
        Some("register") => Reply::new("201 Created", "Content-Type: application/json\r\n", "{\"id\": 5}"),
        Some("log-stream") => {
            state.uploaded += heard.text.lines().count();
            Reply::new("201 Created", "", "")
        }
        Some("state") if heard.line.starts_with("GET") => match &state.target {
            Some((etag, _)) if heard.headers.get("if-none-match") == Some(etag) => Reply::new("304 Not Modified", "", ""),
            Some((etag, text)) => Reply::new("200 OK", &format!("Content-Type: application/json\r\nETag: {etag}\r\n"), text),
            None => Reply::new("304 Not Modified", "", ""),
        },
        _ => Reply::new("200 OK", "", ""),
    }
}

impl super::Fixture for OverTls {
    fn cloud(&self) -> &impl boardkeeper::port::Cloud {
        &self.client
    }

    fn account(&self) -> CloudAccount {
        account(&self.server.endpoint())
    }

    fn wants(&self, document: &str) {
        let mut state = self.state.lock().unwrap();
        let number = state.target.as_ref().map_or(0, |it| it.0.len());
        state.target = Some((format!("W/\"{}\"", "e".repeat(number + 1)), document.to_owned()));
    }

    fn refuses(&self, status: u16, why: &'static str, wait_secs: u64) {
        self.state.lock().unwrap().refusal = Some((status, why, wait_secs));
    }

    fn goes_away(&self) {
        self.state.lock().unwrap().is_gone = true;
    }

    fn releases(&self, commit: &'static str) -> u64 {
        self.state.lock().unwrap().release = Some(commit);
        3
    }

    fn pinned(&self) -> Option<u64> {
        self.state.lock().unwrap().pinned
    }

    fn uploaded(&self) -> usize {
        self.state.lock().unwrap().uploaded
    }
}
