//! Changes to the device's provisioning file, `config.json`, which is the host's too: other programs read it, such as its VPN.
//!
//! Fields that are not changed keep their bytes and their order. The new file goes to a draft beside it, which is synced and
//! renamed over the old one; that needs no owner and no mode, so FAT will do.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::configured::{Writer, replace};
use crate::linux::{read_small, without_mark};
use crate::state::FlashPurpose;
use crate::state::cloud::ProvisionedFields;
use crate::state::switch::parse_switch;

/// The fields that make a device one of a cloud, and are removed when it leaves.
pub const CLOUD_FIELDS: [&str; 20] = [
    "apiEndpoint",
    "apiEndpointOverride",
    "apiKey",
    "apiTimeout",
    "applicationId",
    "applicationName",
    "balenaRootCA",
    "deltaEndpoint",
    "deviceApiKey",
    "deviceApiKeys",
    "deviceId",
    "logsEndpoint",
    "mixpanelToken",
    "registered_at",
    "registryEndpoint",
    "userId",
    "username",
    "uuid",
    "vpnEndpoint",
    "vpnPort",
];

/// Writes into a file that the device is registered, and deletes the provisioning key there. A file that has it all is left
/// alone.
pub fn write(path: &Path, fields: &ProvisionedFields) -> Result<(), String> {
    change(path, Writer::Agent, |file| {
        file.set("uuid", &fields.uuid);
        file.set("deviceApiKey", fields.key.reveal());
        if let Some(id) = fields.device_id {
            file.set("deviceId", &id);
        }
        // The cloud's tools write seconds, and may have.
        if !file.has("registered_at") {
            file.set("registered_at", &fields.registered_at_ms);
        }
        file.remove("apiKey");
    })
}

/// Removes the fields of the cloud from a file.
pub fn leave(path: &Path) -> Result<(), String> {
    change(path, Writer::Command, |file| CLOUD_FIELDS.iter().for_each(|it| file.remove(it)))
}

/// Replaces the fields of a cloud in a file by those of another one, and sets whatever else that one has. A file that is
/// missing or broken is replaced whole. Only its owner can read it afterwards.
pub fn join(path: &Path, text: &[u8]) -> Result<(), String> {
    let shown = path.display();
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let new: JsonFields = serde_json::from_slice(without_mark(text))
        .map_err(|why| format!("the new `{shown}` is not a JSON object (line {})", why.line()))?;
    let old = read_small(&path).ok().and_then(|it| serde_json::from_slice::<JsonFields>(without_mark(&it)).ok());
    let mut fields = old.unwrap_or(JsonFields(Vec::new()));
    for name in CLOUD_FIELDS {
        fields.remove(name);
    }
    for (name, value) in &new.0 {
        fields.set(name, value);
    }
    let text = serde_json::to_string(&fields).map_err(|why| format!("cannot write `{shown}`: {why}"))?;
    if path.exists() {
        // FAT has no modes.
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
    }
    replace(&path, &format!("{text}\n"), 0o600, Writer::Command, FlashPurpose::Provisioning)
        .map_err(|why| format!("cannot write `{shown}`: {why}; run it as root or as the agent's user"))
}

/// Whether a switch of a file is on. One that is not there is off.
pub(super) fn switch(path: &Path, name: &str) -> Result<bool, String> {
    let file = read(path)?;
    Ok(file.0.iter().any(|(it, value)| it == name && parse_switch(value.get().trim_matches('"')) == Some(true)))
}

/// Writes a switch into a file.
pub(super) fn set_switch(path: &Path, name: &str, on: bool) -> Result<(), String> {
    change(path, Writer::Agent, |file| file.set(name, &on))
}

fn read(path: &Path) -> Result<JsonFields, String> {
    let shown = path.display();
    let bytes = read_small(path).map_err(|why| format!("cannot read `{shown}`: {why}"))?;
    // The parser's error could quote a key.
    serde_json::from_slice(without_mark(&bytes)).map_err(|why| {
        format!("`{shown}` is not a JSON object (line {}); write the device's config.json there again", why.line())
    })
}

fn change(path: &Path, writer: Writer, edit: impl FnOnce(&mut JsonFields)) -> Result<(), String> {
    let shown = path.display();
    // A link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = read(&path)?;
    let mut new = old.clone();
    edit(&mut new);
    if new == old {
        return Ok(());
    }
    let text = serde_json::to_string(&new).map_err(|why| format!("cannot write `{shown}`: {why}"))?;
    replace(&path, &format!("{text}\n"), 0o600, writer, FlashPurpose::Provisioning)
        .map_err(|why| format!("cannot write `{shown}`: {why}"))
}

/// The fields of a JSON object, in their order, each with the bytes of its value.
#[derive(Debug, Clone)]
struct JsonFields(Vec<(String, Box<RawValue>)>);

impl JsonFields {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(it, value)| it == name && value.get() != "null")
    }

    fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        let value = to_raw_value(value).expect("texts and numbers can be written as JSON");
        match self.0.iter_mut().find(|(it, _)| it == name) {
            Some((_, old)) if same(old, &value) => (),
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(it, _)| it != name);
    }
}

/// Whether two values are the same, or will be read as the same: numbers may be written as texts.
fn same(left: &RawValue, right: &RawValue) -> bool {
    left.get().trim_matches('"') == right.get().trim_matches('"')
}

impl PartialEq for JsonFields {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |it: &Self| it.0.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect::<Vec<_>>();
        bytes(self) == bytes(other)
    }
}

impl<'de> Deserialize<'de> for JsonFields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = JsonFields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonFields, A::Error> {
                let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    // Of two fields of one name the last one counts, for every reader.
                    fields.retain(|(it, _)| *it != name);
                    fields.push((name, value));
                }
                Ok(JsonFields(fields))
            }
        }
        from.deserialize_map(Fields)
    }
}

impl Serialize for JsonFields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::flash::assert_written;
    use crate::state::Secret;

    fn fields() -> ProvisionedFields {
        ProvisionedFields {
            uuid: "c0ffee00c0ffee00c0ffee00c0ffee00".to_owned(),
            key: Secret::new("device".to_owned()),
            device_id: Some(57),
            registered_at_ms: 1_795_834_102_000,
        }
    }

    #[test]
    fn every_field_that_is_not_ours_keeps_its_place_and_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text = "{\"wifi\": {\"b\":1.0, \"a\":[ ]},\n \"apiKey\":\"fleet\",\"deviceApiKey\":\"old\", \"big\":12345678901234567890123}";
        fs::write(&path, text).unwrap();
        assert_written(FlashPurpose::Provisioning, text.len(), 2, || write(&path, &fields()).unwrap());
        let expected = concat!(
            r#"{"wifi":{"b":1.0, "a":[ ]},"deviceApiKey":"device","big":12345678901234567890123,"#,
            r#""uuid":"c0ffee00c0ffee00c0ffee00c0ffee00","deviceId":57,"registered_at":1795834102000}"#,
            "\n",
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        write(&path, &fields()).unwrap();
        assert_eq!(inode(&path), before, "it had it all, and was written again");
        leave(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"wifi\":{\"b\":1.0, \"a\":[ ]},\"big\":12345678901234567890123}\n");
    }

    #[test]
    fn a_command_and_the_agent_that_write_at_once_leave_a_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let padding = "x".repeat(100_000);
        let joined = format!(r#"{{"uuid":"another","padding":"{padding}"}}"#);
        join(&path, joined.as_bytes()).unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for id in 0..100 {
                    write(&path, &ProvisionedFields { device_id: Some(id), ..fields() }).unwrap();
                }
            });
            for _ in 0..100 {
                join(&path, joined.as_bytes()).unwrap();
            }
        });
        write(&path, &fields()).unwrap();
    }

    #[test]
    fn what_the_clouds_tools_wrote_of_the_same_device_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text =
            r#"{"deviceId":"57","registered_at":1795834102,"uuid":"c0ffee00c0ffee00c0ffee00c0ffee00","deviceApiKey":"device"}"#;
        fs::write(&path, text).unwrap();
        write(&path, &fields()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_file_that_is_gone_is_not_made_and_a_broken_one_tells_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert!(write(&path, &fields()).unwrap_err().contains("cannot read"));
        assert!(!path.exists());
        fs::write(&path, "{\"apiKey\": sesame}").unwrap();
        let why = write(&path, &fields()).unwrap_err();
        assert!(why.contains("not a JSON object") && !why.contains("sesame"), "{why}");
    }
}
