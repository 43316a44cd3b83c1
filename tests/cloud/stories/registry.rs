//! A registry that asks the cloud who may pull.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::board::{Board, PATIENCE};
use crate::client::Client;
use crate::fake::{Call, Exchange, FakeCloud, Fault, Service};
use crate::images::service;
use crate::lab::{Lab, until};

/// Where the registry with tokens answers.
const PORT: u16 = 5002;

/// A registry that takes the cloud's tokens, and gives the images of the open one.
struct TokenRegistry<'a> {
    lab: &'a Lab,
    dir: String,
}

impl<'a> TokenRegistry<'a> {
    fn new(lab: &'a Lab, cloud: &FakeCloud) -> Self {
        let (dir, certificate) = (lab.dir().join("tokens"), lab.dir().join("tokens.pem"));
        fs::create_dir_all(&dir).unwrap();
        // It is there after the first test.
        let _ = symlink(lab.dir().join("registry/data"), dir.join("data"));
        fs::write(&certificate, cloud.token_certificate()).unwrap();
        let (realm, issuer) = (format!("{}/auth/v1/token", cloud.endpoint()), format!("127.0.0.1:{}", cloud.port()));
        let (dir, certificate) = (dir.display().to_string(), certificate.display().to_string());
        lab.script("registry.sh", &["up", &dir, &PORT.to_string(), "token", &realm, &issuer, &certificate]);
        Self { lab, dir }
    }

    /// A service whose image is to be pulled from it.
    fn service(&self) -> Service {
        let main = service(self.lab, "main", "");
        Service { image: main.image.replace(":5000/", &format!(":{PORT}/")), ..main }
    }
}

impl Drop for TokenRegistry<'_> {
    fn drop(&mut self) {
        self.lab.script("registry.sh", &["down", &self.dir]);
    }
}

/// The fake's token is one: a real engine and a real registry take it, and want it.
#[test]
#[ignore = "needs `make cloud`"]
fn a_registry_takes_the_token_of_the_fleets_own_device_only() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let registry = TokenRegistry::new(&lab, &cloud);
    let (fleet, other) = (cloud.fleet("mine"), cloud.fleet("other"));
    let main = registry.service();
    cloud.release(fleet, std::slice::from_ref(&main), &[]);
    let pull = |uuid: &str, key: &str| {
        let auth = json!({"auths": {format!("127.0.0.1:{PORT}"): {"auth": STANDARD.encode(format!("d_{uuid}:{key}"))}}});
        fs::write(lab.dir().join("config.json"), auth.to_string()).unwrap();
        let mut docker = Command::new("docker");
        docker.arg("--config").arg(lab.dir()).args(["-H", &lab.docker_host(), "pull", &main.image]);
        lab.forget(&main.image);
        docker.output().unwrap().status.success()
    };
    for (fleet, uuid, may) in [(fleet, "1".repeat(32), true), (other, "2".repeat(32), false)] {
        let form = json!({"application": fleet, "uuid": uuid, "device_type": "raspberrypi3"});
        let reply = Client::new(&cloud).ask("POST", "/device/register", &cloud.user_token(), &form);
        assert_eq!(reply.status, 201);
        assert_eq!(pull(&uuid, &cloud.device_key(&uuid)), may);
        assert!(!pull(&uuid, "nope"));
    }
}

/// The agent gives the engine its own name and key.
#[test]
#[ignore = "needs `make cloud`"]
fn images_are_pulled_with_the_devices_own_key() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let registry = TokenRegistry::new(&lab, &cloud);
    let mut board = Board::new(&lab, &cloud);
    // The key is given to this registry, and to no other.
    let mut config = board.config();
    config["registryEndpoint"] = json!(format!("127.0.0.1:{PORT}"));
    board.write_config(&config);
    let main = registry.service();
    cloud.release(board.fleet, std::slice::from_ref(&main), &[]);
    cloud.fails(Call::RegistryToken, Fault::RefusesKeys);
    board.start();
    let uuid = board.registers();
    until(PATIENCE, "the agent says why it cannot pull", || board.state().to_string().contains("unauthorized"));
    cloud.is_well();
    board.runs(&["main"]);
    let named = |it: &Exchange| it.request.query("account") == Some(format!("d_{uuid}")) && it.status == 200;
    assert!(cloud.calls(Call::RegistryToken).iter().any(named));
}
