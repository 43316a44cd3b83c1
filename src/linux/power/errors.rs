//! Errors for what logind and the bus report, with advice.

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
    let why = match can {
        "na" => "logind says that this machine cannot".to_owned(),
        "inhibited" | "inhibitor-blocked" | "challenge-inhibitor-blocked" => {
            "logind says that an inhibitor blocks it; see who with `systemd-inhibit --list`".to_owned()
        }
        _ => format!("logind refuses it (`{can}`); run the agent as root, or allow org.freedesktop.login1.{action} in polkit"),
    };
    PowerError::Refused { request: format!("no {ending}"), why }
}

/// The meaning of a bus error in response to a request.
pub(super) fn failed(request: &str, error: &Error) -> PowerError {
    let text = error.to_string();
    let has = |name: &str| text.contains(name);
    let request = request.to_owned();
    if has("ServiceUnknown") || has("NameHasNoOwner") {
        let why =
            "there is no logind on the system bus; this agent reboots and shuts down through systemd-logind only".to_owned();
        PowerError::Unreachable { request, why }
    } else if has("BlockedByInhibitorLock") {
        let why = "logind refuses it because an inhibitor blocks it; see who with `systemd-inhibit --list`".to_owned();
        PowerError::Refused { request, why }
    } else if has("OperationInProgress") {
        PowerError::Refused { request, why: "logind is already shutting the machine down".to_owned() }
    } else if has("InteractiveAuthorizationRequired") || has("AccessDenied") {
        let advice = "run the agent as root, or allow org.freedesktop.login1.reboot and .power-off in polkit";
        PowerError::Refused { request, why: format!("logind refuses it ({text}); {advice}") }
    } else if has("NoReply") || matches!(error, Error::InputOutput(_)) {
        let advice = "see `systemctl status systemd-logind dbus`";
        let why = format!("logind or the system bus went away before it answered ({text}); {advice}");
        PowerError::Unreachable { request, why }
    } else {
        PowerError::Refused { request, why: format!("logind failed: {text}; see `journalctl -u systemd-logind`") }
    }
}
