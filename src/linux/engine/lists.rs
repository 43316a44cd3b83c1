//! The engine's lists, read element by element.
//!
//! An engine lists everything it has, most of which is foreign. One element that cannot be read, such as a container in a state
//! that a newer engine added, must not hide the others. So each element is read by itself, and only the fields that are used here.

use bollard::errors::Error;
use bollard::models::{Network, Volume};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::{debug, warn};

use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::link::Link;
use crate::linux::engine::wire;

/// A container, as `GET /containers/json` lists it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ListedContainer {
    /// The engine's id. An element without one is not a container.
    pub id: Option<String>,
    /// Each with a slash before it.
    pub names: Option<Vec<String>>,
    /// The reference it was made from.
    pub image: Option<String>,
    /// The image's id.
    #[serde(rename = "ImageID")]
    pub image_id: Option<String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// Its labels.
    pub labels: Option<Labels>,
    /// A word such as `running`. Engines add words: podman lists `initialized`.
    pub state: Option<String>,
    /// The same for people, with the exit code: `Exited (1) 5 minutes ago`.
    pub status: Option<String>,
    /// The only part of the host's configuration that a list has.
    pub host_config: Option<ListedHostConfig>,
}

/// What a list says of a container's host configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ListedHostConfig {
    /// `default`, `host`, `container:<id>` or a network's name.
    pub network_mode: Option<String>,
}

/// An image, as `GET /images/json` lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedImage {
    /// The engine's id.
    pub id: String,
    /// `<repository>:<tag>`.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// `<repository>@<digest>`.
    #[serde(default)]
    pub repo_digests: Option<Vec<String>>,
    /// Bytes of its layers.
    #[serde(default)]
    pub size: i64,
}

/// An element of a list: as expected, or anything else.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Element<T> {
    /// It has the fields that are used here.
    Known(Box<T>),
    /// It does not.
    Unknown(Value),
}

/// `GET /volumes`.
#[derive(Debug, Deserialize)]
struct ListedVolumes {
    #[serde(rename = "Volumes", default = "Option::default")]
    volumes: Option<Vec<Element<Volume>>>,
}

/// Every container, also those that do not run.
pub(super) async fn containers(link: &Link) -> Result<Vec<ListedContainer>, Error> {
    Ok(known("container", get(link, "/containers/json?all=true").await?))
}

/// Every image that has a name, and with `Intermediate::Listed` those that images are built on.
pub(super) async fn images(link: &Link, intermediate: Intermediate) -> Result<Vec<ListedImage>, Error> {
    let path = match intermediate {
        Intermediate::Listed => "/images/json?all=true",
        Intermediate::LeftOut => "/images/json?digests=true",
    };
    Ok(known("image", get(link, path).await?))
}

/// Images that others are built on and that have no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intermediate {
    /// They are in the list.
    Listed,
    /// They are not.
    LeftOut,
}

/// Every network.
pub(super) async fn networks(link: &Link) -> Result<Vec<Network>, Error> {
    Ok(known("network", get(link, "/networks").await?))
}

/// Every volume.
pub(super) async fn volumes(link: &Link) -> Result<Vec<Volume>, Error> {
    let all: ListedVolumes = get(link, "/volumes").await?;
    Ok(known("volume", all.volumes.unwrap_or_default()))
}

/// The elements that could be read. The others are logged: with a warning where they carry a supervisor's label.
pub(super) fn known<T>(what: &str, elements: Vec<Element<T>>) -> Vec<T> {
    let known = |element| match element {
        Element::Known(it) => Some(*it),
        Element::Unknown(value) => {
            log_unknown(what, &value);
            None
        }
    };
    elements.into_iter().filter_map(known).collect()
}

fn log_unknown(what: &str, value: &Value) {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}{}", text("Name"), text("Id"));
    let given: Option<Labels> = value.get("Labels").and_then(|it| Labels::deserialize(it).ok());
    if given.is_some_and(|it| labels::supervised(&it)) {
        warn!(what, name = ?name, "the engine lists it in a form that is not understood; it is left alone");
    } else {
        debug!(what, name = ?name, "the engine lists it in a form that is not understood; it is foreign");
    }
}

async fn get<T: DeserializeOwned>(link: &Link, path: &str) -> Result<T, Error> {
    let body = wire::get(&link.version().host, path).await?;
    serde_json::from_slice(&body).map_err(|error| Error::JsonDataError { message: error.to_string(), column: error.column() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(list: &str) -> Vec<T> {
        known("thing", serde_json::from_str(list).unwrap())
    }

    #[test]
    fn an_element_that_is_not_understood_hides_no_other() {
        for strange in [r#"{"Id":7}"#, r#"{"Labels":{"a":1}}"#, r#"{"Created":"now"}"#, "7", "null", "[]", r#"{"State":{}}"#] {
            let list = format!(r#"[{strange},{{"Id":"b","State":"running","Labels":null}}]"#);
            let seen: Vec<ListedContainer> = read(&list);
            assert_eq!(seen.last().and_then(|it| it.id.as_deref()), Some("b"), "{strange}");
            assert!(seen.iter().filter(|it| it.id.is_some()).count() == 1, "{strange}: {seen:?}");
        }
        let images: Vec<ListedImage> = read(r#"[{"RepoTags":null},{"Id":"i","RepoTags":null,"RepoDigests":["a@b"]}]"#);
        assert_eq!(images.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["i"]);
        let volumes = r#"[{"Name":"odd","Driver":"x","Mountpoint":"/","Labels":null,"Scope":"galaxy","Options":null},
            {"Name":"1_data","Driver":"local","Mountpoint":"/","Labels":null,"Scope":"local","Options":null}]"#;
        let volumes: Vec<Volume> = read(volumes);
        assert_eq!(volumes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["1_data"]);
        let networks: Vec<Network> = read(r#"[{"Name":"odd","IPAM":7},{"Name":"u_default","Labels":{}}]"#);
        assert_eq!(networks.iter().filter_map(|it| it.name.as_deref()).collect::<Vec<_>>(), ["u_default"]);
    }
}
