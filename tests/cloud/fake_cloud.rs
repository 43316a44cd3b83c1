//! The fake cloud by itself, for experiments by hand: `cargo run --example fake_cloud`. Its words are read from stdin.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a tool for developers")]

#[expect(dead_code, unused_imports, reason = "tests use more of it")]
mod fake;

use std::io::stdin;

use hyper::Method;
use serde_json::Value;

use fake::{FakeCloud, Service};

const HELP: &str = "\
  devices                         the devices, and what they reported
  logs                            the lines of the last device
  release NAME=IMAGE…             releases services
  variable NAME VALUE             of the last device's services
  config NAME VALUE               of the last device
  vpn ADDRESS:PORT                the last device is in the VPN, and its API is there
  send METHOD PATH [JSON]         what a user's verb becomes at the last device
  down, up                        refuses connections, accepts them again
  calls                           every request so far, and its status";

fn main() {
    let cloud = FakeCloud::start();
    let fleet = cloud.fleet("by-hand");
    let key = cloud.provisioning_key(fleet, None);
    println!("{}\n\n{HELP}", cloud.config_json(fleet, &key));
    for line in stdin().lines() {
        let line = line.unwrap();
        if follow(&cloud, fleet, &line.split_whitespace().collect::<Vec<_>>()).is_none() {
            println!("{HELP}");
        }
    }
}

/// Does what a line asks for, where that can be done.
fn follow(cloud: &FakeCloud, fleet: u64, words: &[&str]) -> Option<()> {
    let last = cloud.devices().pop();
    match words {
        ["devices"] => cloud.devices().iter().for_each(|it| println!("{it} {}", Value::Object(cloud.reported(it)))),
        ["logs"] => cloud.logs(&last?).iter().for_each(|it| println!("{it:?}")),
        ["calls"] => cloud.exchanges().iter().for_each(|it| println!("{} {}", it.status, it.request.path)),
        ["release", services @ ..] => {
            let service = |it: &&str| {
                let (name, image) = it.split_once('=')?;
                Some(Service { name: name.to_owned(), image: image.to_owned(), ..Service::default() })
            };
            println!("{}", cloud.release(fleet, &services.iter().map(service).collect::<Option<Vec<_>>>()?, &[]));
        }
        ["variable", name, value] => cloud.sets_variable(&last?, name, value),
        ["config", name, value] => cloud.configures(&last?, name, value),
        ["vpn", address] => cloud.connects(&last?, Some(address.parse().ok()?)),
        ["send", method, path, data @ ..] => {
            let data = serde_json::from_str(&data.join(" ")).ok();
            println!("{:?}", cloud.relay(&last?, &method.parse::<Method>().ok()?, path, data.as_ref()));
        }
        ["down"] => cloud.goes_down(),
        ["up"] => cloud.comes_up(),
        _ => return None,
    }
    Some(())
}
