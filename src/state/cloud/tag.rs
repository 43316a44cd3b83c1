//! The device's tags in its cloud.

/// A tag: a name and a value that the device's owner, or a program on the device, gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceTag {
    /// The cloud's number of it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}
