//! The file in which the board's firmware is configured. The machine boots with it as it was when it booted.

use boardkeeper::boot_config::{variables, with_variables};
use boardkeeper::port::HostError;
use boardkeeper::state::boot_config::{BootFile, BootFormat, BootVariables};

use super::marks::Mark;
use super::{Model, Sim};

/// As the board's image has it.
const ORIGINAL: &[u8] = b"# from the image\ndtparam=audio=on\ngpu_mem=76\n[pi4]\narm_boost=1";

/// The file.
#[derive(Debug)]
pub(crate) struct BootDisk {
    bytes: Vec<u8>,
    /// As it was at the last boot.
    booted: Vec<u8>,
}

impl Default for BootDisk {
    fn default() -> Self {
        Self { bytes: ORIGINAL.to_vec(), booted: ORIGINAL.to_vec() }
    }
}

impl Model {
    /// The machine boots.
    pub(crate) fn boot_with_file(&mut self) {
        if self.boot.booted != self.boot.bytes {
            self.hit(Mark::BootedAnew);
        }
        self.boot.booted.clone_from(&self.boot.bytes);
    }

    /// Why the machine does not run with what the target wants of the file, or with what was good before it.
    pub(crate) fn wrongly_booted(&self) -> Option<String> {
        let of = |variables: &BootVariables| with_variables(BootFormat::ConfigTxt, ORIGINAL, variables).unwrap();
        let asked = variables(&self.targets.wanted.config);
        let record = &self.disk.kept.boot_config;
        let right = if record.rejected.as_ref() == Some(&asked) { of(&record.good) } else { of(&asked) };
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if self.boot.bytes != right {
            return Some(format!("the boot configuration is {:?}, not {:?}", shown(&self.boot.bytes), shown(&right)));
        }
        // An agent that lost its record cannot know that the boot is left to do.
        let needs_boot = self.boot.booted != right && !self.boot_record_was_lost;
        needs_boot.then(|| "the machine did not boot with its boot configuration".to_owned())
    }

    fn replace_boot_file(&mut self, bytes: &[u8]) {
        self.boot.bytes = bytes.to_vec();
        self.checker.reboot_reasons += 1;
        if with_variables(BootFormat::ConfigTxt, bytes, &BootVariables::new()).as_deref() != Ok(ORIGINAL) {
            self.violation("the boot configuration lost what is not the agent's");
        }
    }
}

/// A write under way. If it is dropped, the file is the old one or the new one.
struct BeingWritten<'a>(&'a Sim, Option<Vec<u8>>);

impl Drop for BeingWritten<'_> {
    fn drop(&mut self) {
        let (Some(bytes), Ok(mut model)) = (self.1.take(), self.0.0.try_borrow_mut()) else { return };
        if model.rngs.partial.happens(500) {
            model.replace_boot_file(&bytes);
        }
        model.hit(Mark::CutInBootFile);
    }
}

impl Sim {
    pub(super) async fn read_boot_file(&self) -> Result<Option<BootFile>, HostError> {
        // Only in some lives: the others are as they were before there was such a file.
        if !self.with(|model| model.targets.reboots) {
            return Ok(None);
        }
        self.pass(1, 20).await;
        self.with(|model| {
            if model.roll(model.rates.faults, Mark::BootFileFails) {
                return Err(HostError("cannot read `/boot/config.txt`: input/output error".to_owned()));
            }
            let bytes = model.boot.bytes.clone();
            Ok(Some(BootFile { format: BootFormat::ConfigTxt, path: "/boot/config.txt".to_owned(), bytes }))
        })
    }

    pub(super) async fn replace_boot_file(&self, file: &BootFile) -> Result<(), HostError> {
        let mut writing = BeingWritten(self, Some(file.bytes.clone()));
        self.pass(1, 300).await;
        writing.1 = None;
        self.with(|model| {
            let fails = model.roll(model.rates.faults, Mark::BootFileFails);
            if fails && model.rngs.calls.happens(500) {
                return Err(HostError("cannot write `/boot/config.txt`: input/output error".to_owned()));
            }
            model.replace_boot_file(&file.bytes);
            model.note("the boot configuration is written");
            if fails { Err(HostError("cannot write `/boot/config.txt`: it was written".to_owned())) } else { Ok(()) }
        })
    }
}
