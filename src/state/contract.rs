//! Contracts: what a release or a service requires of the device.

use std::fmt;

/// A contract of a release, or of one of its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The service. `None`: the release.
    pub service: Option<String>,
    /// The service is left out where its contract is unmet. Otherwise the release is rejected.
    pub optional: bool,
    /// What it requires: all of these.
    pub requires: Vec<Requirement>,
}

/// What a contract requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Something of this kind.
    One {
        /// `sw.supervisor`, `sw.os`, `hw.device-type`, `arch.sw` and the like.
        kind: String,
        /// Which one: a device type, an architecture.
        slug: Option<String>,
        /// A range of versions, as npm writes them.
        version: Option<String>,
    },
    /// At least one of these.
    Any(Vec<Requirement>),
    /// None of these.
    Without(Vec<Requirement>),
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |all: &[Self]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        match self {
            Self::One { kind, slug, version } => {
                f.write_str(kind)?;
                slug.iter().chain(version).try_for_each(|it| write!(f, " {it}"))
            }
            Self::Any(all) => f.write_str(&joined(all)),
            Self::Without(all) => write!(f, "not {}", joined(all)),
        }
    }
}
