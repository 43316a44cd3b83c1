//! Labels that supervisors set.

/// How labels of this agent begin.
pub const OUR_PREFIX: &str = "io.boardkeeper.";

/// The label with a service's hook: a command that is run before an update replaces the container.
pub const BEFORE_UPDATE_LABEL: &str = "io.boardkeeper.before-update";
/// The label that says how long the hook may take.
pub const BEFORE_UPDATE_TIMEOUT_LABEL: &str = "io.boardkeeper.before-update-timeout";

/// Labels that only a supervisor sets on containers, networks and volumes, without the prefix `io.balena.` or `io.resin.`.
/// The agent adds those of `io.boardkeeper.`.
const SUPERVISOR_LABELS: [&str; 6] = ["private.ipam.config", "supervised", "app-id", "app-uuid", "service-id", "service-name"];

/// Whether only a supervisor sets a label, in the spelling of either generation. An owner's value for it does not count.
#[must_use]
pub fn is_supervisor_label(name: &str) -> bool {
    let rest = name.strip_prefix("io.balena.").or_else(|| name.strip_prefix("io.resin."));
    // An owner's, which the container has, so that those of the release that runs count.
    let is_hook = matches!(name, BEFORE_UPDATE_LABEL | BEFORE_UPDATE_TIMEOUT_LABEL);
    name.starts_with(OUR_PREFIX) && !is_hook || rest.is_some_and(|it| SUPERVISOR_LABELS.contains(&it))
}
