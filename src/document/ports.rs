//! Ports, as compose files spell them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::sorted::SortedSet;
use crate::state::config::Port;

use super::at::Cursor;
use super::fields::ObjectFields;

/// What a port may look like, for error messages.
const PORT_SYNTAX: &str = "a port such as 80, 8080:80, 127.0.0.1:8080:80/udp, 3000-3005:3000-3005 or 3000-3005:80";

/// Limit of ports of one service: more are a mistake, and would only fill the memory.
const MAX_PORTS: usize = 10_000;

/// Which port of the host a short form without one stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostPort {
    /// The container's.
    Same,
    /// One that the engine chooses, as in compose files.
    Chosen,
}

/// Reads published ports.
pub(super) fn published(at: &Cursor<'_>, without: HostPort) -> SortedSet<Port> {
    let mut ports = SortedSet::new();
    for item in at.one_or_more() {
        let found = if item.is_object() { long(&item) } else { short(&item, without) };
        let found = found.unwrap_or_default();
        if ports.len() + found.len() > MAX_PORTS {
            at.wrong(&format!("has more than {MAX_PORTS} ports"));
            break;
        }
        ports.extend(found);
    }
    ports
}

/// Reads exposed ports: `80/tcp`.
pub(super) fn exposed(at: &Cursor<'_>) -> SortedSet<String> {
    let mut ports = SortedSet::new();
    for item in at.one_or_more() {
        let Some(text) = item.scalar() else { continue };
        let parsed = split_protocol(&text).and_then(|(text, protocol)| Some((range(text)?, protocol)));
        match parsed {
            Some((range, _)) if ports.len() + range.len() > MAX_PORTS => at.wrong(&format!("has more than {MAX_PORTS} ports")),
            Some((range, protocol)) => ports.extend(range.map(|port| format!("{port}/{protocol}"))),
            None => item.expected("a port such as 80, 80/udp or 3000-3005"),
        }
    }
    ports
}

/// The container's side of a published port: `80/tcp`.
pub(super) fn exposure(port: &Port) -> String {
    format!("{}/{}", port.container, port.protocol)
}

fn short(item: &Cursor<'_>, without: HostPort) -> Option<Vec<Port>> {
    let text = item.scalar()?;
    let ports = parse_short(text.trim(), without);
    if ports.is_none() {
        item.expected(PORT_SYNTAX);
    }
    ports
}

/// `[[address:]host:]container[/protocol]`.
fn parse_short(text: &str, without: HostPort) -> Option<Vec<Port>> {
    let (text, protocol) = split_protocol(text)?;
    let (rest, container) = match text.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, text),
    };
    let (host_ip, host) = match rest {
        None => ("", if without == HostPort::Same { container } else { "" }),
        // An address may contain colons, so the last colon separates it from the port.
        Some(rest) => rest.rsplit_once(':').unwrap_or(("", rest)),
    };
    pair_up(range(container)?, host_range(host)?, &address(host_ip)?, protocol)
}

fn long(item: &Cursor<'_>) -> Option<Vec<Port>> {
    let mut fields = ObjectFields::of(item);
    fields.skip(&["mode", "name", "app_protocol"]);
    let target = fields.take("target");
    let published = fields.text("published").unwrap_or_default();
    let protocol = fields.text("protocol").unwrap_or_else(|| "tcp".to_owned());
    let host_ip = fields.text("host_ip").unwrap_or_default();
    fields.rest();
    let Some(target) = target else {
        item.missing("target", "a port of the container");
        return None;
    };
    let ports = || {
        let target = range(&target.scalar()?)?;
        pair_up(target, host_range(&published)?, &address(&host_ip)?, protocol_name(&protocol)?)
    };
    let ports = ports();
    if ports.is_none() {
        item.wrong("expected `target` (1-65535), and good `published`, `protocol` (tcp, udp, sctp) and `host_ip` if any");
    }
    ports
}

fn pair_up(
    container: RangeInclusive<u16>,
    host: Option<RangeInclusive<u16>>,
    host_ip: &str,
    protocol: &str,
) -> Option<Vec<Port>> {
    let port =
        |container, host| Port { container, protocol: protocol.to_owned(), host_ip: host_ip.to_owned(), host, host_last: None };
    match host {
        None => Some(container.map(|it| port(it, None)).collect()),
        Some(host) if host.len() == container.len() => {
            Some(container.zip(host).map(|(container, host)| port(container, Some(host))).collect())
        }
        // One host port of the range is chosen when the container is created.
        Some(host) if container.len() == 1 => {
            let one = port(*container.start(), Some(*host.start()));
            Some(vec![Port { host_last: Some(*host.end()), ..one }])
        }
        Some(_) => None,
    }
}

fn split_protocol(text: &str) -> Option<(&str, &'static str)> {
    match text.split_once('/') {
        None => Some((text, "tcp")),
        Some((text, protocol)) => Some((text, protocol_name(protocol)?)),
    }
}

fn protocol_name(text: &str) -> Option<&'static str> {
    ["tcp", "udp", "sctp"].into_iter().find(|it| it.eq_ignore_ascii_case(text))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// `Some(None)`: the engine chooses the port.
#[expect(clippy::option_option, reason = "no port and a bad port are two things")]
fn host_range(text: &str) -> Option<Option<RangeInclusive<u16>>> {
    if text.is_empty() || text == "0" { Some(None) } else { range(text).map(Some) }
}

/// Digits only: `+80` is no port.
fn number(text: &str) -> Option<u16> {
    if text.bytes().all(|it| it.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn address(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() { Some(String::new()) } else { Some(bare.parse::<IpAddr>().ok()?.to_string()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::at::Diagnostics;
    use super::*;

    fn read(value: &Value) -> Result<Vec<String>, String> {
        let notes = Diagnostics::default();
        let ports = published(&Cursor::root(value, &notes), HostPort::Same);
        notes.verdict().map(|_| ports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_spelling_of_a_port_is_understood() {
        for (written, ports) in [
            (json!(["80"]), vec![":80:80/tcp"]),
            (json!([80]), vec![":80:80/tcp"]),
            (json!(["8080:80"]), vec![":8080:80/tcp"]),
            (json!(["8080:80/udp"]), vec![":8080:80/udp"]),
            (json!(["8080:80/SCTP"]), vec![":8080:80/sctp"]),
            (json!(["127.0.0.1:8080:80"]), vec!["127.0.0.1:8080:80/tcp"]),
            (json!(["127.0.0.1::80"]), vec!["127.0.0.1::80/tcp"]),
            (json!(["::1:8080:80"]), vec!["::1:8080:80/tcp"]),
            (json!(["[::1]:8080:80"]), vec!["::1:8080:80/tcp"]),
            (json!(["3000-3001"]), vec![":3000:3000/tcp", ":3001:3001/tcp"]),
            (json!(["9000-9001:80-81"]), vec![":9000:80/tcp", ":9001:81/tcp"]),
            (json!(["18200-18205:80"]), vec![":18200-18205:80/tcp"]),
            (json!(["127.0.0.1:18200-18205:80/udp"]), vec!["127.0.0.1:18200-18205:80/udp"]),
            (json!(["[::1]:18200-18205:80"]), vec!["::1:18200-18205:80/tcp"]),
            (json!([{"target": 80, "published": "18200-18205"}]), vec![":18200-18205:80/tcp"]),
            (
                json!([{"target": 80, "published": "18200-18205", "protocol": "udp", "hostIp": "10.0.0.1"}]),
                vec!["10.0.0.1:18200-18205:80/udp"],
            ),
            (json!(["18200-18200:80"]), vec![":18200:80/tcp"]),
            (json!([{"target": 80}]), vec!["::80/tcp"]),
            (json!([{"target": 80, "published": "8080", "mode": "host"}]), vec![":8080:80/tcp"]),
            (
                json!([{"target": "80", "published": 8080, "protocol": "udp", "hostIp": "10.0.0.1"}]),
                vec!["10.0.0.1:8080:80/udp"],
            ),
        ] {
            assert_eq!(read(&written).unwrap(), ports, "{written}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            "x",
            "0",
            "65536",
            "80/icmp",
            "80:",
            "a:80",
            "1.2.3:80:80",
            "81-80",
            "80-81:80-82",
            "+80",
            "-80",
            "1-2-3",
            "80:80:80:80:80:x",
        ] {
            let said = read(&json!([text])).unwrap_err();
            assert!(said.starts_with("0: expected a port such as 80") && said.ends_with(&format!("found {text:?}")), "{said}");
        }
        assert!(read(&json!([{"published": 80}])).unwrap_err().contains("target: expected"));
        assert!(read(&json!([{"target": "80-82", "published": "80-81"}])).is_err());
        assert!(read(&json!(["1-65535"])).unwrap_err().contains("more than 10000 ports"));
        assert!(read(&json!(true)).unwrap_err().contains("expected a list"));
    }

    #[test]
    fn exposed_ports_have_one_form() {
        let notes = Diagnostics::default();
        let value = json!([80, "80/tcp", "90/udp", "7-8"]);
        let ports = exposed(&Cursor::root(&value, &notes));
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), ["7/tcp", "8/tcp", "80/tcp", "90/udp"]);
        let value = json!(["x", "1-60000"]);
        exposed(&Cursor::root(&value, &notes));
        assert!(notes.verdict().unwrap_err().starts_with("2 mistakes"));
    }

    proptest! {
        #[test]
        fn long_and_short_and_ranges_mean_the_same(container in 1_u16..60_000, host in 1_u16..60_000, count in 0_u16..20) {
            let (last, host_last) = (container + count, host + count);
            let range = json!([format!("{host}-{host_last}:{container}-{last}/udp")]);
            let mut short: Vec<_> = (0..=count).map(|it| json!(format!("{}:{}/udp", host + it, container + it))).collect();
            let long: Vec<_> = (0..=count)
                .map(|it| json!({"target": container + it, "published": host + it, "protocol": "udp"}))
                .collect();
            short.reverse();
            prop_assert_eq!(read(&range).unwrap(), read(&json!(short)).unwrap());
            prop_assert_eq!(read(&range).unwrap(), read(&json!(long)).unwrap());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9:./a-f\\[\\]-]{0,20}") {
            let _ = read(&json!([text]));
        }
    }
}
