//! The device-wide settings of a target, and what becomes of each: one table.

use crate::state::switch::parse_switch;

/// A setting that the cloud or balena-supervisor 19 knows.
#[derive(Debug, Clone, Copy)]
pub struct ConfigVariable {
    /// Its name, without the `RESIN_` or `BALENA_` prefix. One that ends in `_` stands for every name that begins so.
    pub name: &'static str,
    /// The value that needs no action.
    pub default: &'static str,
    /// What becomes of it.
    pub effect: VariableEffect,
}

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableEffect {
    /// The agent obeys it.
    Obeyed,
    /// The agent ignores it, for this reason.
    Ignored(&'static str),
}

const WHOLE_IMAGES: VariableEffect = VariableEffect::Ignored("the agent pulls whole layers");
const OWN_TIMEOUTS: VariableEffect = VariableEffect::Ignored("the agent has timeouts of its own");
const FIREWALL: VariableEffect = VariableEffect::Ignored("the agent changes no firewall; use the host's");
const NO_MDNS: VariableEffect = VariableEffect::Ignored("what announces the device is a program of the host");
const OTHER_BOARDS: VariableEffect = VariableEffect::Ignored("it is for boards that the agent does not support");
const SPLASH: VariableEffect = VariableEffect::Ignored("the agent does not change what the screen shows at boot");

/// Every known setting, by name.
pub const CONFIG_VARIABLES: &[ConfigVariable] = &[
    row("APP_RESTART_POLICY", "", VariableEffect::Obeyed),
    row("APP_RESTART_RETRIES", "", VariableEffect::Obeyed),
    row("HOST_CONFIGFS_", "", OTHER_BOARDS),
    row("HOST_CONFIG_", "", VariableEffect::Obeyed),
    row("HOST_DISCOVERABILITY", "true", NO_MDNS),
    row("HOST_EXTLINUX_", "", VariableEffect::Obeyed),
    row("HOST_FIREWALL_MODE", "off", FIREWALL),
    row("HOST_LOG_TO_DISPLAY", "false", SPLASH),
    row("HOST_ODMDATA_", "", OTHER_BOARDS),
    row("HOST_SPLASH_IMAGE", "", SPLASH),
    row("OVERRIDE_LOCK", "false", VariableEffect::Obeyed),
    row("SUPERVISOR_API_REQUEST_TIMEOUT", "59000", OWN_TIMEOUTS),
    row("SUPERVISOR_CONNECTIVITY_CHECK", "true", VariableEffect::Obeyed),
    row("SUPERVISOR_DELTA", "false", WHOLE_IMAGES),
    row("SUPERVISOR_DELTA_APPLY_TIMEOUT", "0", WHOLE_IMAGES),
    row("SUPERVISOR_DELTA_REQUEST_TIMEOUT", "59000", WHOLE_IMAGES),
    row("SUPERVISOR_DELTA_RETRY_COUNT", "30", WHOLE_IMAGES),
    row("SUPERVISOR_DELTA_RETRY_INTERVAL", "10000", WHOLE_IMAGES),
    row("SUPERVISOR_DELTA_VERSION", "2", WHOLE_IMAGES),
    row("SUPERVISOR_HARDWARE_METRICS", "true", VariableEffect::Obeyed),
    row("SUPERVISOR_HANDOVER_TIMEOUT", "", VariableEffect::Obeyed),
    row("SUPERVISOR_INSTANT_UPDATE_TRIGGER", "true", VariableEffect::Obeyed),
    row("SUPERVISOR_LOCAL_MODE", "false", VariableEffect::Obeyed),
    row("SUPERVISOR_LOG_CONTROL", "true", VariableEffect::Obeyed),
    row("SUPERVISOR_OVERRIDE_LOCK", "false", VariableEffect::Obeyed),
    row("SUPERVISOR_PERSISTENT_LOGGING", "false", VariableEffect::Obeyed),
    row("SUPERVISOR_POLL_INTERVAL", "900000", VariableEffect::Obeyed),
    row("SUPERVISOR_ROLLBACK", "false", VariableEffect::Obeyed),
    row("SUPERVISOR_UPDATE_STRATEGY", "", VariableEffect::Obeyed),
    row("SUPERVISOR_UPDATE_WINDOW", "", VariableEffect::Obeyed),
    row("SUPERVISOR_VPN_CONTROL", "true", VariableEffect::Obeyed),
];

const fn row(name: &'static str, default: &'static str, effect: VariableEffect) -> ConfigVariable {
    ConfigVariable { name, default, effect }
}

impl ConfigVariable {
    /// The row of a setting.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        let is_it = |it: &&Self| if it.name.ends_with('_') { name.starts_with(it.name) } else { it.name == name };
        CONFIG_VARIABLES.iter().find(is_it)
    }

    /// Why a setting with this value is ignored. `None`: it is obeyed, or its value asks for nothing.
    #[must_use]
    pub fn ignored(name: &str, value: &str) -> Option<&'static str> {
        let Some(variable) = Self::of(name) else { return Some("the agent does not know it") };
        let same_switch = parse_switch(value).is_some() && parse_switch(value) == parse_switch(variable.default);
        match variable.effect {
            VariableEffect::Ignored(why) if value != variable.default && !same_switch => Some(why),
            VariableEffect::Ignored(_) | VariableEffect::Obeyed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_asks_for_nothing_is_not_worth_a_word() {
        for (name, value) in [
            ("SUPERVISOR_DELTA", "0"),
            ("SUPERVISOR_DELTA", "False"),
            ("HOST_FIREWALL_MODE", "off"),
            ("SUPERVISOR_POLL_INTERVAL", "5"),
            ("HOST_CONFIG_gpu_mem", "16"),
            ("SUPERVISOR_DELTA_VERSION", "2"),
        ] {
            assert_eq!(ConfigVariable::ignored(name, value), None, "{name}={value}");
        }
        for (name, value, word) in [
            ("SUPERVISOR_DELTA", "1", "whole layers"),
            ("HOST_FIREWALL_MODE", "on", "firewall"),
            ("HOST_DISCOVERABILITY", "false", "announce"),
            ("HOST_CONFIGFS_ssdt", "x", "does not support"),
            ("SUPERVISOR_NEW", "1", "does not know"),
        ] {
            assert!(ConfigVariable::ignored(name, value).unwrap().contains(word), "{name}={value}");
        }
    }
}
