//! Tests of the reports.

mod contents;
mod model;
mod pacing;
mod refused_parts;
