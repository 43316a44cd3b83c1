//! The file in which the board's firmware or boot loader is configured, and what the target wants in it.

use crate::sorted::SortedMap;

/// The settings of a target that concern that file, by name without the `RESIN_` or `BALENA_` prefix.
pub type BootVariables = SortedMap<String, String>;

/// The format of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFormat {
    /// `config.txt` of Raspberry Pi's firmware.
    ConfigTxt,
    /// `uEnv.txt` of `BeagleBoard`'s images.
    UEnv,
    /// `extra_uEnv.txt` of balenaOS.
    ExtraUEnv,
    /// `extlinux.conf`.
    Extlinux,
}

/// The file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// Its format.
    pub format: BootFormat,
    /// Its path on the host.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What has to be remembered of the file over restarts and boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootConfigRecord {
    /// The variables written last, or about to be.
    pub written: BootVariables,
    /// Those with which the machine booted, as far as known.
    pub booted: BootVariables,
    /// Those with which the agent last came to a settled state.
    pub good: BootVariables,
    /// The boot in which `booted` was determined. Empty: none yet.
    pub boot_id: String,
    /// Boots since `written` was first written after which the file was not as written.
    pub undone: u32,
    /// Starts of the agent with `booted` in which it did not settle.
    pub starts: u32,
    /// Variables with which the agent started too often without settling. They are not written again.
    pub rejected: Option<BootVariables>,
}

impl BootConfigRecord {
    /// After so many starts without settling, the variables are rejected at the next.
    pub const MAX_STARTS: u32 = 3;

    /// Whether nothing needs to be remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { written, booted, good, boot_id: _, undone: _, starts: _, rejected } = self;
        [written, booted, good].iter().all(|it| it.is_empty()) && rejected.is_none()
    }

    /// Whether the agent has yet to settle with what the machine booted with.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.booted != self.good
    }
}

/// What became of the target's variables for the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootConfigStatus {
    /// The file's path. `None`: no file was needed, or there is none.
    pub path: Option<String>,
    /// How far the file is as the target wants it.
    pub progress: BootConfigProgress,
    /// Why variables of the target are not in force, in human-readable text, each with what to do.
    pub problems: Vec<String>,
    /// What is remembered, while the agent has yet to settle with it.
    pub on_trial: Option<BootConfigRecord>,
}

/// How far the file is as the target wants it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BootConfigProgress {
    /// The target wants nothing in it, and nothing of the agent's is in it.
    #[default]
    Unmanaged,
    /// It is as the target wants it, and the machine booted with it.
    Applied,
    /// It is as the target wants it, which takes effect at the next boot.
    AwaitsBoot,
    /// It is not as the target wants it; the problems tell why.
    Failed,
}
