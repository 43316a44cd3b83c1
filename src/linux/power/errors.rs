//! Error messages for what logind and the bus report, with advice.

use zbus::Error;

use crate::port::PowerError;
use crate::state::PowerAction;

/// The meaning of a response of `CanReboot` or `CanPowerOff` other than `yes`.
///
/// `challenge` means that logind would ask a user for a password; there is no user, so it is a refusal.
pub(super) fn refused(ending: PowerAction, can: &str) -> PowerError {
    let action = match ending {
        PowerAction::Reboot => "reboot",
        PowerAction::PowerOff => "power-off",
    };
    PowerError(match can {
        "na" => format!("no {ending}: logind says that this machine cannot"),
        "inhibited" | "inhibitor-blocked" | "challenge-inhibitor-blocked" => {
            format!("no {ending}: logind says that an inhibitor blocks it; see who with `systemd-inhibit --list`")
        }
        _ => format!(
            "no {ending}: logind refuses it (`{can}`); run the agent as root, or allow org.freedesktop.login1.{action} in polkit"
        ),
    })
}

/// The meaning of a bus error, when `what` was being done.
pub(super) fn failed(what: &str, error: &Error) -> PowerError {
    let text = error.to_string();
    let has = |name: &str| text.contains(name);
    let why = if has("ServiceUnknown") || has("NameHasNoOwner") {
        "there is no logind on the system bus; this agent reboots and shuts down through systemd-logind only".to_owned()
    } else if has("BlockedByInhibitorLock") {
        "logind refuses it because an inhibitor blocks it; see who with `systemd-inhibit --list`".to_owned()
    } else if has("OperationInProgress") {
        "logind is already shutting the machine down".to_owned()
    } else if has("InteractiveAuthorizationRequired") || has("AccessDenied") {
        format!(
            "logind refuses it ({text}); run the agent as root, or allow org.freedesktop.login1.reboot and .power-off in polkit"
        )
    } else if has("NoReply") || matches!(error, Error::InputOutput(_)) {
        format!("logind or the system bus went away before it answered ({text}); see `systemctl status systemd-logind dbus`")
    } else {
        format!("logind failed: {text}; see `journalctl -u systemd-logind`")
    };
    PowerError(format!("{what}: {why}"))
}
