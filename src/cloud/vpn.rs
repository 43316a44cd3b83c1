//! The VPN by which the cloud reaches the device, on hosts whose system does not bring its own.
//!
//! The cloud says how its VPN is reached; the host's service manager runs it. The agent only hands the one to the other, and
//! looks once a day whether the cloud says something new.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::cloud::pace::Pace;
use crate::port::{Cloud, Net, UnitChange, World};
use crate::state::cloud::CloudAccount;

/// How often the cloud is asked. Its answer changes when its owner moves the VPN, or gives it another certificate.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long to wait after an answer that is of no use.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Keeps the VPN's configuration as the cloud says, for as long as it is polled.
pub(super) async fn run<W: World>(world: &W, account: &CloudAccount, pace: &Pace) -> Infallible {
    let mut last_why = None;
    loop {
        let why = match world.net().takes_vpn_profile().await {
            Ok(true) => ask(world, account, pace).await.err(),
            // The host brings its own VPN, or none.
            Ok(false) => None,
            Err(error) => Some(error.to_string()),
        };
        let wait = if why.is_some() { AGAIN } else { EVERY };
        if let Some(why) = why.as_ref().filter(|it| Some(*it) != last_why.as_ref()) {
            warn!(why, "the VPN is not set up, so the cloud cannot reach this device; the agent tries again in an hour");
        }
        last_why = why;
        sleep(wait).await;
    }
}

async fn ask<W: World>(world: &W, account: &CloudAccount, pace: &Pace) -> Result<(), String> {
    let profile = loop {
        pace.ready().await;
        let answer = world.cloud().vpn_profile(account).await;
        pace.on_answer(&answer);
        match answer {
            Ok(Some(profile)) => break profile,
            Ok(None) => return Err("the cloud has no VPN".to_owned()),
            // The back-off of all requests holds up the next attempt.
            Err(_) if pace.next().is_some() => (),
            Err(error) => return Err(error.to_string()),
        }
    };
    if world.net().install_vpn(&profile, account).await.map_err(|error| error.to_string())? == UnitChange::Now {
        info!("the VPN's service was started with the cloud's configuration");
    }
    Ok(())
}
