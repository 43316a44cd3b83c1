//! `uEnv.txt` and `extra_uEnv.txt`: lines of `key=value`, which U-Boot reads into its environment. The last of a key counts.

use super::block;
use super::variables::{FDT, ISOLCPUS, Wanted};

/// The keys of such a file.
pub(super) struct UEnvKeys {
    /// The device tree.
    fdt: &'static str,
    /// Further parameters of the kernel.
    parameters: &'static str,
}

/// As the scripts of `BeagleBoard`'s U-Boot read it.
pub(super) const U_ENV: UEnvKeys = UEnvKeys { fdt: "dtb", parameters: "cmdline" };
/// As the scripts of balenaOS read it.
pub(super) const EXTRA_U_ENV: UEnvKeys = UEnvKeys { fdt: "custom_fdt_file", parameters: "extra_os_cmdline" };

/// The file with what is wanted at its end.
pub(super) fn edited(original: &[u8], wanted: &Wanted, keys: &UEnvKeys) -> Vec<u8> {
    let mut file = Vec::with_capacity(original.len() + 512);
    let mut parameters = Vec::new();
    for line in block::lines(original) {
        match block::pair(line) {
            Some((key, _)) if key == keys.fdt.as_bytes() && wanted.has(FDT) => block::disable(&mut file, line),
            Some((key, value)) if key == keys.parameters.as_bytes() && wanted.has(ISOLCPUS) => {
                parameters = value.to_vec();
                block::disable(&mut file, line);
            }
            Some(_) | None => file.extend_from_slice(line),
        }
    }
    let mut lines: Vec<String> = wanted.values(FDT).iter().map(|it| format!("{}={it}", keys.fdt)).collect();
    for value in wanted.values(ISOLCPUS) {
        lines.push(format!("{}={}", keys.parameters, with_isolcpus(&String::from_utf8_lossy(&parameters), value)));
    }
    block::add(&mut file, &lines);
    file
}

/// The kernel's parameters with this `isolcpus`.
pub(super) fn with_isolcpus(parameters: &str, value: &str) -> String {
    let others = parameters.split_ascii_whitespace().filter(|it| it.split('=').next() != Some(ISOLCPUS));
    let mut all: Vec<&str> = others.collect();
    let own = format!("{ISOLCPUS}={value}");
    all.push(&own);
    all.join(" ")
}
