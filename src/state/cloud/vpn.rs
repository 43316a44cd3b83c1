//! The VPN by which the cloud reaches the device.

/// What the cloud says of its VPN (`GET /os/v1/config`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpnProfile {
    /// A configuration for `OpenVPN`, with the paths of balenaOS in it.
    pub config: String,
    /// The certificates by which the VPN's server is recognised, PEM.
    pub ca: String,
}
