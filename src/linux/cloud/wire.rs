//! What the cloud is sent, and what it answers, in JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::json::object::{object, texts};
use crate::linux::escaped;
use crate::sorted::SortedMap;
use crate::state::Secret;
use crate::state::cloud::{
    AppReport, CloudLogLine, DeviceReport, DeviceTag, LogSource, RegistrationForm, ReleasePin, ReleaseReport, ReportValue,
    VpnProfile,
};

#[derive(Deserialize)]
struct Tags {
    d: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    id: u64,
    #[serde(rename = "tag_key")]
    name: String,
    value: String,
}

#[derive(Serialize)]
struct Registration<'a> {
    application: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u32>,
    uuid: &'a str,
    device_type: &'a str,
    api_key: &'a str,
    supervisor_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_variant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_address: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogLine<'a> {
    message: &'a str,
    timestamp: i64,
    is_system: bool,
    is_std_err: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_id: Option<u32>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Ids {
    d: Vec<Id>,
}

#[derive(Deserialize)]
struct OsConfig {
    services: OsServices,
}

#[derive(Deserialize)]
struct OsServices {
    openvpn: Option<OpenVpn>,
}

#[derive(Deserialize)]
struct OpenVpn {
    config: String,
    ca: String,
}

/// A registration.
pub(super) fn registration(form: &RegistrationForm) -> Vec<u8> {
    let body = Registration {
        application: form.fleet,
        user: form.user,
        uuid: &form.uuid,
        device_type: &form.device_type,
        api_key: form.key.reveal(),
        supervisor_version: &form.supervisor_version,
        os_version: form.os_version.as_deref(),
        os_variant: form.os_variant.as_deref(),
        mac_address: form.mac_address.as_deref(),
    };
    serde_json::to_vec(&body).expect("texts and numbers are JSON")
}

/// A new key.
pub(super) fn new_key(key: &Secret) -> Vec<u8> {
    json!({ "apiKey": key.reveal() }).to_string().into_bytes()
}

/// A report of the device of this uuid.
pub(super) fn report(uuid: &str, report: &DeviceReport) -> Vec<u8> {
    let mut fields = object(report.fields.iter().map(|(name, it)| ((*name).to_owned(), value(it))));
    if !report.apps.is_empty() {
        fields["apps"] = object(report.apps.iter().map(|(uuid, it)| (uuid.clone(), app(it))));
    }
    json!({ uuid: fields }).to_string().into_bytes()
}

fn value(value: &ReportValue) -> Value {
    match value {
        ReportValue::Text(text) => json!(text),
        ReportValue::Secret(secret) => json!(secret.reveal()),
        ReportValue::Number(number) => json!(number),
        ReportValue::Flag(flag) => json!(flag),
        ReportValue::Null => Value::Null,
    }
}

fn app(report: &AppReport) -> Value {
    let mut fields = Map::new();
    if let Some(uuid) = &report.release_uuid {
        fields.insert("release_uuid".to_owned(), json!(uuid));
    }
    let releases = report.releases.iter().map(|(commit, it)| (commit.clone(), release(it)));
    fields.insert("releases".to_owned(), object(releases));
    Value::Object(fields)
}

fn release(report: &ReleaseReport) -> Value {
    let mut fields = Map::new();
    if let Some(status) = report.update_status {
        fields.insert("update_status".to_owned(), json!(status));
    }
    let services = report.services.iter().map(|(name, it)| {
        // Null is sent too: it clears the progress of a download that has ended.
        (name.clone(), json!({ "image": it.image, "status": it.status, "download_progress": it.download_progress }))
    });
    fields.insert("services".to_owned(), object(services));
    Value::Object(fields)
}

/// Lines of logs, a JSON object in each.
pub(super) fn log_lines(lines: &[CloudLogLine]) -> Vec<u8> {
    let mut body = Vec::new();
    for line in lines {
        let (is_system, is_std_err, service_id) = match line.source {
            LogSource::System => (true, false, None),
            LogSource::Stdout(service) => (false, false, Some(service)),
            LogSource::Stderr(service) => (false, true, Some(service)),
        };
        let line = LogLine { message: &line.text, timestamp: line.at_ms, is_system, is_std_err, service_id };
        serde_json::to_writer(&mut body, &line).expect("texts and numbers are JSON");
        body.push(b'\n');
    }
    body
}

/// The number of the device that was registered.
pub(super) fn registered(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Id>(body).ok().map(|it| it.id)
}

/// The number of the device or release that was asked for. `None`: there is none, or the key may not see it.
pub(super) fn found(body: &[u8]) -> serde_json::Result<Option<u64>> {
    serde_json::from_slice::<Ids>(body).map(|it| it.d.first().map(|it| it.id))
}

/// The VPN in the configuration of the host's services. `None`: the cloud has none.
pub(super) fn vpn_profile(body: &[u8]) -> serde_json::Result<Option<VpnProfile>> {
    let found = serde_json::from_slice::<OsConfig>(body)?.services.openvpn;
    Ok(found.filter(|it| !it.config.trim().is_empty()).map(|it| VpnProfile { config: it.config, ca: it.ca }))
}

/// The path of the question for a device's tags.
pub(super) fn tags_query(uuid: &str) -> String {
    format!("/v7/device_tag?$filter=device/uuid%20eq%20%27{}%27&$select=id,tag_key,value", escaped(uuid))
}

/// The tags that were asked for.
pub(super) fn tags(body: &[u8]) -> serde_json::Result<Vec<DeviceTag>> {
    let found = serde_json::from_slice::<Tags>(body)?.d.into_iter();
    Ok(found.map(|it| DeviceTag { id: it.id, name: it.name, value: it.value }).collect())
}

/// New values of tags.
pub(super) fn new_tags(uuid: &str, tags: &SortedMap<String, String>) -> Vec<u8> {
    json!({ uuid: texts(tags) }).to_string().into_bytes()
}

/// The path of the question for a device's number.
pub(super) fn device_query(uuid: &str) -> String {
    format!("/v7/device?$select=id&$filter=uuid%20eq%20%27{}%27", escaped(uuid))
}

/// The path of the question for a release's number.
pub(super) fn release_query(release: &ReleasePin) -> String {
    format!(
        "/v7/release?$select=id&$filter=commit%20eq%20%27{}%27%20and%20belongs_to__application%20eq%20{}\
         %20and%20status%20eq%20%27success%27",
        escaped(&release.commit),
        release.fleet
    )
}

/// The pin of a device.
pub(super) fn pin(release_id: u64) -> Vec<u8> {
    json!({ "is_pinned_on__release": release_id }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cloud_answers_is_read_and_nothing_else() {
        assert_eq!(registered(br#"{"id": 5, "uuid": "u", "api_key": "k"}"#), Some(5));
        assert_eq!(found(br#"{"d": [{"id": 5}]}"#).unwrap(), Some(5));
        assert_eq!(found(br#"{"d": []}"#).unwrap(), None);
        for wrong in ["", "{}", "[]", "\"OK\"", r#"{"id": "5"}"#, r#"{"d": [{}]}"#, r#"{"d": 1}"#] {
            assert_eq!(registered(wrong.as_bytes()), None, "{wrong}");
            assert!(found(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_commit_cannot_leave_its_place_in_a_path() {
        let query = release_query(&ReleasePin { fleet: 7, commit: "0a'&".to_owned() });
        assert!(query.contains("commit%20eq%20%270a%27%26%27%20and%20belongs_to__application%20eq%207"), "{query}");
    }

    #[test]
    fn a_uuid_cannot_leave_its_place_in_a_path() {
        assert_eq!(device_query("0a'/?"), "/v7/device?$select=id&$filter=uuid%20eq%20%270a%27%2F%3F%27");
    }
}
