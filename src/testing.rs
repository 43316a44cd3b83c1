//! Worlds for the tests of single loops: what a test is not about is never called.

mod boot;
mod cloud;
mod log_engine;
mod world;

pub(crate) use cloud::{CloudCall, ScriptedCloud, refused, unreachable_cloud};
pub(crate) use log_engine::{BEGIN, ContainerLog, ScriptedEngine, WallClock, container, id, status};
pub(crate) use world::TestWorld;
