//! The real binary from its first start on, with the fake cloud, a real engine and a real registry.

mod costs;
mod identity;
mod logs;
mod preload;
mod reboot;
mod registry;
mod reports;
mod targets;
mod troubles;
mod verbs;
