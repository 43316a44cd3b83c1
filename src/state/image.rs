//! Images: how a target names them, and what the engine has.

use std::fmt;

use crate::sorted::SortedSet;

/// A reference as engines print it: no `docker.io/library/`, and `:latest` where it has neither tag nor digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRef(String);

/// The engine's id of an image: `sha256:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageId(pub String);

/// An image on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Tags and digests that refer to it.
    pub names: SortedSet<ImageRef>,
    /// Disk space it takes, layers shared with other images included.
    pub size_bytes: u64,
}

impl ImageRef {
    /// The reference in the form engines print.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.strip_prefix("docker.io/").unwrap_or(text);
        let text = text.strip_prefix("library/").unwrap_or(text);
        // podman's prefix for images that came from no registry.
        let text = text.strip_prefix("localhost/").unwrap_or(text);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a registry's port.
        let tagged = name.rfind(':') > name.rfind('/');
        Self(match digest {
            // Engines drop the tag of a reference that has a digest, and so does the agent.
            Some(digest) if tagged => {
                let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
                format!("{bare}@{digest}")
            }
            Some(_) => text.to_owned(),
            None if tagged || text.starts_with("sha256:") => text.to_owned(),
            None => format!("{text}:latest"),
        })
    }

    /// The reference as engines print it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Image {
    /// Whether the reference refers to this image.
    #[must_use]
    pub fn answers_to(&self, reference: &ImageRef) -> bool {
        self.names.contains(reference) || self.id.0 == reference.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_compared_as_engines_print_them() {
        for (written, printed) in [
            ("busybox", "busybox:latest"),
            ("docker.io/library/busybox", "busybox:latest"),
            ("docker.io/me/app:2", "me/app:2"),
            ("localhost/me/app:2", "me/app:2"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"),
            ("r/app:1@sha256:ab", "r/app@sha256:ab"),
            ("r/app@sha256:ab", "r/app@sha256:ab"),
        ] {
            assert_eq!(ImageRef::new(written).as_str(), printed);
        }
    }
}
