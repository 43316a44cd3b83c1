//! A driver that restores its LEDs also when the program panics.

use std::sync::{Arc, Mutex, PoisonError};

use crate::linux::leds::LedError;
use crate::linux::leds::driver::LedDriver;

/// A driver that restores its LEDs on a panic, also where a panic ends the process at once. The panic hook needs it at any
/// moment and on any thread, so it is shared and locked.
pub struct GuardedDriver(Arc<Mutex<LedDriver>>);

impl GuardedDriver {
    /// Guards a driver until it is dropped. `report` gets the error when LEDs cannot be restored on a panic.
    pub fn new(driver: LedDriver, report: fn(&LedError)) -> Self {
        let driver = Arc::new(Mutex::new(driver));
        let guarded = Arc::downgrade(&driver);
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            if let Some(driver) = guarded.upgrade()
                && let Ok(mut driver) = driver.try_lock()
                && let Err(error) = driver.release_all()
            {
                report(&error);
            }
        }));
        Self(driver)
    }

    /// Does something with the driver.
    pub fn with<T>(&self, action: impl FnOnce(&mut LedDriver) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
