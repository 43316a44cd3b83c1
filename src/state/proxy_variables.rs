//! The proxies that the environment names.

use crate::state::Secret;

/// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `HTTPS_PROXY`: for https. May have a password in it.
    pub https: Option<Secret>,
    /// `ALL_PROXY`: for what no other variable is for.
    pub all: Option<Secret>,
    /// `NO_PROXY`: hosts that are reached without a proxy, separated by commas.
    pub exceptions: Option<String>,
}
