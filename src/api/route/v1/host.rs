//! The host's name and proxy.
//!
//! Loosely typed values that other supervisors accept are accepted here too, with a warning, as long as they stay one value in
//! the file: a value with a line break in it would be configuration of its own.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::warn;

use crate::api::response::{ApiResponse, failed, json, leased};
use crate::api::route::v1::OK;
use crate::api::{ApiRequest, body};
use crate::request::{Refusal, Request};
use crate::state::host::{HostConfig, HostPatch, Proxy, ProxyField, ProxyPatch};
use crate::state::keys::DeviceAction;

/// The DNS server that the proxy uses if the request names none.
const DNS: &str = "8.8.8.8:53";
/// The kernel's limit of a hostname, in bytes.
const HOSTNAME_BYTES: usize = 64;

/// `GET /v1/device/host-config`.
#[derive(Serialize)]
struct Answer {
    network: Network,
}

#[derive(Serialize)]
struct Network {
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Map<String, Value>>,
}

/// `GET /v1/device/host-config`. Callers that may not change it do not see the proxy's credentials.
pub(in crate::api) async fn host_config(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let with_credentials = call.callers.may_use(DeviceAction::HostConfig, &call.api.status.borrow().access);
    match call.api.send(Request::ReadHost).await? {
        Ok(HostConfig { hostname, proxy }) => {
            let proxy = proxy.map(|it| shown(&it, with_credentials));
            Ok(json(StatusCode::OK, &Answer { network: Network { hostname, proxy } }))
        }
        Err(why) => Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
    }
}

/// `PATCH /v1/device/host-config`.
pub(in crate::api) async fn configure_host(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read(call.request).await?;
    let bad =
        |why: &str| failed(StatusCode::BAD_REQUEST, &format!("Could not parse host config input to a valid format: {why}"));
    let network = fields.network().ok_or_else(|| {
        warn!("Key 'network' must exist in PATCH body");
        bad("network must be an object")
    })?;
    let patch = Box::new(patch(network).map_err(|why| bad(&why))?);
    match call.api.send(|reply| Request::ConfigureHost { patch, force: fields.force(), reply }).await? {
        Ok(()) => Ok(ApiResponse::Text(StatusCode::OK, OK)),
        Err(why @ Refusal::Locked(_)) => Err(failed(StatusCode::LOCKED, &why.to_string())),
        Err(ref why @ Refusal::Leased(_, ref lease)) => Err(leased(lease, &why.to_string())),
        Err(why) => Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
    }
}

fn shown(proxy: &Proxy, with_credentials: bool) -> Map<String, Value> {
    let mut shown = Map::new();
    for (field, value) in proxy.fields.iter().filter(|(field, _)| with_credentials || !field.is_quoted()) {
        let number = (*field == ProxyField::Port).then(|| value.parse::<u16>().ok()).flatten();
        shown.insert(field.name().to_owned(), number.map_or_else(|| value.as_str().into(), Value::from));
    }
    shown.extend(proxy.dns.clone().map(|it| ("dns".to_owned(), it.into())));
    if !proxy.no_proxy.is_empty() {
        shown.insert("noProxy".to_owned(), proxy.no_proxy.clone().into());
    }
    shown
}

fn patch(network: &Map<String, Value>) -> Result<HostPatch, String> {
    let hostname = match network.get("hostname") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(hostname(name)?),
        Some(_) => return Err("hostname must be text".to_owned()),
    };
    let proxy = match network.get("proxy") {
        None | Some(Value::Null) => None,
        Some(Value::Object(fields)) if fields.is_empty() => Some(ProxyPatch::Remove),
        Some(Value::Object(fields)) => Some(proxy(fields)?),
        Some(_) => return Err("proxy must be an object".to_owned()),
    };
    Ok(HostPatch { hostname, proxy })
}

fn hostname(name: &str) -> Result<String, String> {
    let plain = name.len() <= HOSTNAME_BYTES && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it));
    if plain {
        Ok(name.to_owned())
    } else {
        Err(format!("hostname must be at most {HOSTNAME_BYTES} letters, digits, hyphens and dots"))
    }
}

fn proxy(given: &Map<String, Value>) -> Result<ProxyPatch, String> {
    let mut proxy = Proxy::default();
    let mut loose = Vec::new();
    for (name, value) in given {
        // Other fields are ignored: the agent itself sets `local_ip` and `local_port`.
        let Some(field) = ProxyField::ALL.into_iter().find(|it| it.name() == name) else { continue };
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => {
                if field != ProxyField::Port {
                    loose.push(format!("{name} must be text"));
                }
                value.to_string()
            }
            Value::Array(_) | Value::Object(_) => return Err(format!("{name} must be text or a number")),
        };
        proxy.set(field, writable(field, &text)?);
    }
    let problems = proxy.problems().into_iter().filter(|it| proxy.fields.iter().any(|(field, _)| it.starts_with(field.name())));
    loose.extend(problems.map(str::to_owned));
    let set_no_proxy = match given.get("noProxy").map(no_proxy) {
        Some(Ok(addresses)) => {
            proxy.no_proxy = addresses?;
            true
        }
        Some(Err(())) => {
            loose.push("noProxy must be a list of texts, and is passed over".to_owned());
            false
        }
        None => false,
    };
    if !loose.is_empty() {
        warn!("a loosely typed host config was accepted: {}", loose.join("; "));
    }
    let drop_dns = match given.get("dns") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(wanted)) => {
            proxy.dns = wanted.then(|| DNS.to_owned());
            !wanted
        }
        Some(Value::String(at)) if is_address(at) => {
            proxy.dns = Some(at.clone());
            false
        }
        Some(_) => return Err("dns must be true, false or ADDRESS:PORT".to_owned()),
    };
    Ok(ProxyPatch::Merge { proxy, drop_dns, set_no_proxy })
}

/// Checks that a value stays one value in the file.
fn writable(field: ProxyField, text: &str) -> Result<String, String> {
    let (bare, breaks): (&str, &[char]) = if field.is_quoted() {
        let bare = text.strip_prefix('"').unwrap_or(text);
        (bare.strip_suffix('"').unwrap_or(bare), &['"'])
    } else {
        (text, &['"', ';'])
    };
    if bare.chars().any(|it| it.is_control() || breaks.contains(&it)) {
        return Err(format!("{} has characters in it that cannot be written down", field.name()));
    }
    Ok(text.to_owned())
}

/// Addresses that are reached without the proxy. `Err`: it is not a list of strings.
fn no_proxy(given: &Value) -> Result<Result<Vec<String>, String>, ()> {
    let texts: Option<Vec<_>> = given.as_array().ok_or(())?.iter().map(|it| it.as_str().map(str::to_owned)).collect();
    let texts = texts.ok_or(())?;
    let plain = texts.iter().all(|it| !it.is_empty() && !it.contains(char::is_control));
    Ok(if plain { Ok(texts) } else { Err("noProxy has an entry that cannot be written down".to_owned()) })
}

/// `ADDRESS:PORT`.
fn is_address(text: &str) -> bool {
    let right = |(address, port): (&str, &str)| {
        let plain = |it: char| it.is_ascii_alphanumeric() || "-._:[]".contains(it);
        !address.is_empty() && address.chars().all(plain) && port.parse::<u16>().is_ok()
    };
    text.rsplit_once(':').is_some_and(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(network: &Value) -> Result<HostPatch, String> {
        patch(network.as_object().unwrap())
    }

    fn merged(network: &Value) -> (Proxy, bool, bool) {
        match read(network).unwrap().proxy {
            Some(ProxyPatch::Merge { proxy, drop_dns, set_no_proxy }) => (proxy, drop_dns, set_no_proxy),
            other => unreachable!("{other:?}"),
        }
    }

    fn dns(value: Value) -> Result<(Option<String>, bool), String> {
        let network = Map::from_iter([("proxy".to_owned(), Value::Object(Map::from_iter([("dns".to_owned(), value)])))]);
        patch(&network).map(|it| match it.proxy {
            Some(ProxyPatch::Merge { proxy, drop_dns, .. }) => (proxy.dns, drop_dns),
            Some(ProxyPatch::Remove) | None => (None, false),
        })
    }

    #[test]
    fn each_part_may_come_alone() {
        assert_eq!(read(&serde_json::json!({})), Ok(HostPatch::default()));
        assert_eq!(read(&serde_json::json!({"hostname": "", "proxy": null})).unwrap().hostname.as_deref(), Some(""));
        assert_eq!(read(&serde_json::json!({"proxy": {}})).unwrap().proxy, Some(ProxyPatch::Remove));
        let (proxy, _, set_no_proxy) = merged(&serde_json::json!({"proxy": {"noProxy": []}}));
        assert!(set_no_proxy && proxy == Proxy::default());
        let (proxy, ..) =
            merged(&serde_json::json!({"proxy": {"port": 1080, "type": "socks5", "login": "a", "password": "b"}}));
        assert_eq!((proxy.field(ProxyField::Port), proxy.fields.len()), (Some("1080"), 4));
    }

    #[test]
    fn a_port_may_be_text() {
        assert_eq!(merged(&serde_json::json!({"proxy": {"port": "1081"}})).0.field(ProxyField::Port), Some("1081"));
    }

    #[test]
    fn loose_types_are_taken() {
        let loose = serde_json::json!({"proxy": {"type": "socks6", "ip": 123, "port": "abc", "noProxy": true}});
        let (proxy, _, set_no_proxy) = merged(&loose);
        assert_eq!(proxy.field(ProxyField::Ip), Some("123"));
        assert_eq!(proxy.field(ProxyField::Type), Some("socks6"));
        assert_eq!(proxy.field(ProxyField::Port), Some("abc"));
        assert!(!set_no_proxy);
    }

    #[test]
    fn other_keys_are_dropped() {
        let (proxy, drop_dns, set_no_proxy) =
            merged(&serde_json::json!({"proxy": {"local_ip": "1.1.1.1", "local_port": 2, "extra1": 1}, "extra2": 3}));
        assert!(proxy == Proxy::default() && !drop_dns && !set_no_proxy);
    }

    #[test]
    fn where_names_are_looked_up_is_an_address() {
        assert_eq!(dns(true.into()), Ok((Some(DNS.to_owned()), false)));
        assert_eq!(dns(false.into()), Ok((None, true)));
        for right in ["balena.io:53", "1.1.1.1:5", "balena.io:65535", "4.3.2.1:51"] {
            assert_eq!(dns(right.into()), Ok((Some(right.to_owned()), false)));
        }
        for wrong in ["", "invalid-because-no-colon", ":", ":53", "1.1.1.1", "example.com:not-a-port", "h;x:53", "a\nb:53"] {
            assert!(dns(wrong.into()).is_err(), "{wrong}");
        }
        assert!(dns(123.into()).is_err());
    }

    #[test]
    fn nothing_is_written_that_would_be_something_else() {
        for wrong in [
            serde_json::json!({"proxy": {"ip": "h;\n}\nx {"}}),
            serde_json::json!({"proxy": {"ip": "h; port = 1"}}),
            serde_json::json!({"proxy": {"password": "a\"; port = 1; \""}}),
            serde_json::json!({"proxy": {"login": "a\nb"}}),
            serde_json::json!({"proxy": {"type": ["socks5"]}}),
            serde_json::json!({"proxy": {"noProxy": ["a\nb"]}}),
            serde_json::json!({"proxy": {"noProxy": [""]}}),
            serde_json::json!({"proxy": 1}),
            serde_json::json!({"hostname": 1}),
            serde_json::json!({"hostname": "a b"}),
            serde_json::json!({"hostname": "a".repeat(65)}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        assert!(read(&serde_json::json!({"proxy": {"password": "\"p{}a}}s;{s\"", "ip": "{test2}.balenadev.io"}})).is_ok());
    }
}
