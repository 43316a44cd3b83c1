//! A board's boot configuration file, without a board.

use std::cell::{Cell, RefCell};

use crate::port::HostError;
use crate::state::boot_config::{BootFile, BootFormat};

/// The file, the copy beside it, and the boot that the machine is in.
#[derive(Default)]
pub(crate) struct TestBoot {
    /// Its content. `None`: there is no file.
    pub(crate) bytes: RefCell<Option<Vec<u8>>>,
    /// The copy of what was good.
    pub(crate) good: RefCell<Option<Vec<u8>>>,
    pub(crate) boot_id: RefCell<String>,
    pub(crate) is_read_only: Cell<bool>,
    pub(crate) is_unreadable: Cell<bool>,
    pub(crate) writes: Cell<u32>,
}

impl TestBoot {
    pub(crate) fn file(&self) -> Result<Option<BootFile>, HostError> {
        if self.is_unreadable.get() {
            return Err(HostError("cannot read `/boot/config.txt`: input/output error".to_owned()));
        }
        let file = |bytes| BootFile { format: BootFormat::ConfigTxt, path: "/boot/config.txt".to_owned(), bytes };
        Ok(self.bytes.borrow().clone().map(file))
    }

    pub(crate) fn write(&self, file: &BootFile, good: Option<&Vec<u8>>) -> Result<(), HostError> {
        if self.is_read_only.get() {
            return Err(HostError("cannot write `/boot/config.txt`: read-only".to_owned()));
        }
        if let Some(good) = good {
            *self.good.borrow_mut() = Some(good.clone());
        }
        *self.bytes.borrow_mut() = Some(file.bytes.clone());
        self.writes.set(self.writes.get() + 1);
        Ok(())
    }
}
