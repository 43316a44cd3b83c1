//! The agent on whole machines: those that systemd-nspawn boots have a real systemd, those that QEMU emulates have a real
//! kernel too.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

#[path = "../lab/budget.rs"]
mod budget;
mod emulated;
mod emulator;
mod machine;
mod nspawn;
mod package;
mod rollback;
mod upgrade;
