//! Worlds for the tests of single loops: what a test is not about is never called.

mod boot;
mod cloud;
mod world;

#[expect(unused_imports, reason = "the loops of registered devices will use it")]
pub(crate) use cloud::cloud_account;
pub(crate) use cloud::{CloudCall, ScriptedCloud, refused, unreachable_cloud};
pub(crate) use world::TestWorld;
