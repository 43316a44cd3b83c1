//! How far the download of an image is.

/// The progress of a pull. None of its numbers falls while the pull runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Per cent over all layers, of what is to be downloaded and unpacked.
    pub percent: u8,
    /// Downloaded bytes, compressed as the registry has them. `None`: the engine has reported none yet.
    pub bytes: Option<u64>,
    /// The bytes that have to be downloaded. `None` until the engine has reported the size of each layer that is not here.
    pub total_bytes: Option<u64>,
}

impl DownloadProgress {
    /// Per cent of which the bytes are not known.
    #[must_use]
    pub const fn of_percent(percent: u8) -> Self {
        Self { percent, bytes: None, total_bytes: None }
    }
}
