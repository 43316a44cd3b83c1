//! `boardkeeper page`: prints a link that opens the page without typing the key, and on a terminal its QR code.

use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::run::StateDirArgs;
use crate::cli::{CommandError, client, key, print};
use crate::config::Config;

/// Connect timeout of an address of this device, which answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The light border that a scanner needs, in modules.
const BORDER: i32 = 4;

/// Where the agent is.
#[derive(Debug, Clone, Args)]
pub struct PageArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// Print the link only
    #[arg(long)]
    no_qr: bool,
}

#[derive(Deserialize)]
struct PageLink {
    path: String,
    seconds: u64,
}

#[derive(Deserialize)]
struct State {
    device: Device,
}

#[derive(Deserialize)]
struct Device {
    ip_addresses: Vec<IpAddr>,
}

impl PageArgs {
    /// Asks the running agent for a link, and prints it.
    pub fn show(self) -> Result<(), CommandError> {
        let config = self.place.config()?;
        let key = key::read(&config)?;
        let state: State = read(&client::get(&config, &key, "/agent/v1/state").map_err(CommandError::Failed)?)?;
        let link: PageLink =
            read(&client::ask(&config, &key, "POST", "/agent/v1/page-links", "{}").map_err(CommandError::Failed)?)?;
        let at = address(&config, &state.device.ip_addresses, |at| TcpStream::connect_timeout(&at, CONNECT_TIMEOUT).is_ok());
        let url = format!("http://{at}{}", link.path);
        let mut text = String::new();
        if stdout().is_terminal() && !self.no_qr {
            text.push_str(&qr_code(&url));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{url}\nIt opens the page once, within {} minutes. It is as good as the device's key.",
            link.seconds / 60
        );
        if at.ip().is_loopback() {
            let port = at.port();
            let _ = writeln!(
                text,
                "Only this device reaches that address. From another computer: `ssh -L {port}:localhost:{port} DEVICE`, or start the \
                 agent with --listen and an address of the device."
            );
        }
        print(&text)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, CommandError> {
    client::read(text)
        .map_err(|why| CommandError::Failed(format!("the agent's answer cannot be read ({why}); is it of the same version?")))
}

/// The address of the device for the link: the first that other computers may reach and at which the agent answers, else one
/// that only the device reaches.
fn address(config: &Config, device: &[IpAddr], answers: impl Fn(SocketAddr) -> bool) -> SocketAddr {
    let port = config.api_port();
    let of_device = device.iter().map(|ip| SocketAddr::new(*ip, port));
    let all: Vec<_> = config.listen.iter().copied().chain(of_device).filter(|it| !it.ip().is_unspecified()).collect();
    let outer = all.iter().find(|it| !it.ip().is_loopback() && answers(**it));
    let inner = all.iter().find(|it| it.ip().is_loopback());
    outer.or(inner).copied().unwrap_or_else(|| SocketAddr::new([127, 0, 0, 1].into(), port))
}

/// The QR code of a text, in black on white whatever the terminal's colours are. A character is two modules, one above the
/// other.
fn qr_code(text: &str) -> String {
    // A link is short, so that there is a code for it; without one the link itself is enough.
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Low) else { return String::new() };
    let edges = -BORDER..code.size() + BORDER;
    let mut drawn = String::new();
    for y in edges.clone().step_by(2) {
        drawn.push_str("\x1b[30;107m");
        drawn.extend(edges.clone().map(|x| match (code.get_module(x, y), code.get_module(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
        drawn.push_str("\x1b[0m\n");
    }
    drawn
}

#[cfg(test)]
mod tests;
