//! Generated inputs: documents that are nearly valid, trees with meaningful names, requests that almost end.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::harness;

fn kept(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What no parser expects in its place.
fn hostile() -> impl Strategy<Value = Value> {
    let numbers = select(vec![json!(-1), json!(0), json!(u64::MAX), json!(i64::MIN), json!(1e308), json!(4_294_967_296_u64)]);
    let texts = select(vec![
        "",
        "../..",
        "/",
        "a=b=c",
        "\0",
        "\u{feff}",
        "-",
        "%s",
        "1:2:3:4",
        "host",
        "99999999999999999999s",
        "0x10",
    ]);
    let deep = (1..60_usize).prop_map(|depth| (0..depth).fold(json!(1), |inner, _| json!([inner])));
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        numbers,
        texts.prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        (0..4000_usize).prop_map(|length| Value::from("x".repeat(length))),
        deep,
        (0..400_usize).prop_map(|many| (0..many).map(|it| (format!("k{it}"), json!(it))).collect()),
    ]
}

/// Puts something in the place of a value, somewhere in a document.
fn replace(document: &mut Value, place: Index, with: &Value) {
    let count = size(document);
    let mut at = place.index(count);
    put(document, &mut at, with);
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0_usize,
    }
}

fn put(value: &mut Value, at: &mut usize, with: &Value) -> bool {
    if *at == 0 {
        *value = with.clone();
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|it| put(it, at, with)),
        Value::Object(map) => map.values_mut().any(|it| put(it, at, with)),
        _ => false,
    }
}

fn changes() -> impl Strategy<Value = Vec<(Index, Value)>> {
    prop::collection::vec((any::<Index>(), hostile()), 1..5)
}

/// A tree as the harness spells it, of names that mean something there.
fn tree(
    kinds: &'static [&'static str],
    names: &'static [&'static str],
    texts: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let path = prop::collection::vec(select(names), 1..5).prop_map(|it| it.join("/"));
    let text = prop_oneof![select(texts).prop_map(str::to_owned), "\\PC{0,30}", "[0-9]{0,30}"];
    let line = (select(kinds), path, text).prop_map(|(kind, path, text)| format!("{kind} {path} {text}"));
    prop::collection::vec(line, 0..24).prop_map(|it| it.join("\n").into_bytes())
}

/// A state directory: records under their own names, at the top or a level too deep.
fn records() -> impl Strategy<Value = Vec<u8>> {
    tree(
        &["f", "f", "p", "d", "l", "i", "s"],
        &[
            "identity.json",
            "identity.backup.json",
            "keys.json",
            "targets.json",
            "stopped.json",
            "awaiting-boot.json",
            "trial.json",
            "boot-config.json",
            "boot-file.json",
            ".keys.json.new",
            ".identity.json.new",
            "keys.json.unreadable-1",
            "proved-0",
        ],
        &[
            "",
            "{}",
            "[]",
            "{\"uuid\": \"c0ffee00c0ffee00c0ffee00c0ffee00\"}",
            "{\"uuid\": \"\"}",
            "{\"device\": \"\", \"root\": \"\", \"generations\": []}",
            "{\"device\": \"d1d1d1d1d1d1d1d1\", \"root\": \"e2\", \"generations\": []}",
            "{\"wanted\": null, \"good\": \"{}\", \"pulled\": [\"a\"]}",
            "{\"services\": [{\"app\": 1, \"service\": \"main\"}]}",
            "{\"containers\": {\"a\": \"b\"}}",
            "{\"document\": \"a\", \"starts\": 4294967296}",
            "keys.json",
            "/dev/zero",
            "nowhere",
        ],
    )
}

fn locks() -> impl Strategy<Value = Vec<u8>> {
    tree(
        &["f", "o", "d", "l", "p"],
        &[
            "main",
            "side",
            "other",
            "updates.lock",
            "resin-updates.lock",
            "handover-complete",
            "resin-kill-me",
            ".draft.lock",
            "7",
        ],
        &["boardkeeper", "../../../../../../outside/updates.lock", "/", "../../../../../outside", ".", "/dev/zero", ""],
    )
}

fn sysfs() -> impl Strategy<Value = Vec<u8>> {
    let line = (
        select(vec!["ACT", "PWR", "led0", "mmc0::", "beaglebone:green:usr0", "rgb:status", "input1::capslock", "-", "é"]),
        select(vec![
            "brightness",
            "max_brightness",
            "trigger",
            "delay_on",
            "pattern",
            "repeat",
            "multi_intensity",
            "multi_max_intensity",
            "device/uevent",
        ]),
        prop_oneof![
            select(vec![
                "0",
                "255",
                "-1",
                "99999999999",
                "none [timer] pattern",
                "[pattern] timer",
                "[",
                "]",
                "[]",
                "DRIVER=leds-gpio",
                "0 0 0"
            ])
            .prop_map(str::to_owned),
            "\\PC{0,30}",
        ],
    );
    let line = line.prop_map(|(led, attribute, text)| format!("f sys/class/leds/{led}/{attribute} {text}"));
    let board = (
        select(vec![
            "sys/firmware/devicetree/base/model",
            "sys/firmware/devicetree/base/compatible",
            "proc/cpuinfo",
            "mnt/boot/device-type.json",
        ]),
        "\\PC{0,40}",
    )
        .prop_map(|(path, text)| format!("p {path} {text}"));
    prop::collection::vec(prop_oneof![4 => line, 1 => board], 0..24).prop_map(|it| it.join("\n").into_bytes())
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let key = "d".repeat(64);
    let method = select(vec!["GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS", "CONNECT", "PRI", "get"]);
    let path = select(vec![
        "/ping",
        "/v1/restart",
        "/v1/apps/1/stop",
        "/v1/update",
        "/v1/device/host-config",
        "/agent/v1/state",
        "*",
        "//",
        "/%2e%2e/ping",
        "http://x/ping",
    ]);
    let version = select(vec!["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", ""]);
    let header = prop_oneof![
        select(vec![
            "Host: x",
            "Host: [::1",
            "Origin: http://evil.example",
            "Referer: ://",
            "Sec-Fetch-Site: cross-site",
            "Authorization: ApiKey \t",
            "Connection: close",
            "Expect: 100-continue",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip",
            "Content-Length: 5",
            "Content-Length: 99999999999999999999",
            "Content-Length: -1",
            "Content-Type: application/json",
            "Upgrade: h2c",
            " folded",
            ": x",
            "X"
        ])
        .prop_map(str::to_owned),
        (0..9000_usize).prop_map(|length| format!("X-Long: {}", "x".repeat(length))),
        (0..80_usize).prop_map(|many| vec!["A: b"; many].join("\r\n")),
        Just(format!("Authorization: Bearer {key}")),
    ];
    let body = prop_oneof![
        Just(b"5\r\n{\"a\":\r\n1\r\n1}\r\n0\r\n\r\n".to_vec()),
        Just(b"{\"appId\":1}".to_vec()),
        Just(b"fffffffffffffffff\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    // Without a host a request does not get far.
    let host = select(vec!["Host: x\r\n", "Host: [::ffff:127.0.0.1%25eth0]:1\r\n", ""]);
    let request = (method, path, version, host, prop::collection::vec(header, 0..6), body).prop_map(
        |(method, path, version, host, headers, body)| {
            let head: String = headers.iter().flat_map(|it| [it.as_str(), "\r\n"]).collect();
            [format!("{method} {path} {version}\r\n{host}{head}\r\n").into_bytes(), body].concat()
        },
    );
    prop::collection::vec(request, 1..4).prop_map(|it| it.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_that_are_nearly_right_are_read_or_refused(which in 0..5_usize, changes in changes()) {
        let mut document = kept(["data/target-2017.json", "data/target-compose.json", "data/target-preloaded.json", "data/target-v2.json", "data/target-v3.json"][which]);
        for &(place, ref with) in &changes {
            replace(&mut document, place, with);
        }
        harness::target(document.to_string().as_bytes());
    }

    #[test]
    fn words_of_an_engine_that_are_nearly_right_are_understood_or_not(changes in changes()) {
        let mut words = kept("data/engine-words.json");
        for &(place, ref with) in &changes {
            replace(&mut words, place, with);
        }
        harness::replies(words.to_string().as_bytes());
    }

    #[test]
    fn provisioning_that_is_nearly_right_is_read_or_refused(changes in changes()) {
        let mut document = json!({"uuid": "0".repeat(32), "deviceType": "x", "listenPort": 1, "hostname": "h", "apiEndpoint": "a"});
        for &(place, ref with) in &changes {
            replace(&mut document, place, with);
        }
        harness::config(document.to_string().as_bytes());
    }

    #[test]
    fn any_tree_of_locks_stays_where_it_is(tree in locks()) {
        harness::locks(&tree);
    }

    #[test]
    fn any_state_directory_is_lived_with(tree in records()) {
        harness::records(&tree);
    }

    #[test]
    fn any_tree_of_leds_is_lived_with(tree in sysfs()) {
        harness::sysfs(&tree);
    }

    #[test]
    fn any_requests_one_after_the_other_are_answered(bytes in requests()) {
        harness::router(&bytes);
    }
}
