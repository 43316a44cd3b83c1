//! Random documents, and equal documents in several spellings.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{config, parse, v2};
use crate::state::config::Port;

/// Random JSON, with some keys and texts that have a meaning.
fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("host".to_owned()),
        Just("service:main".to_owned()),
        Just("data:/d:ro".to_owned()),
        Just("io.balena.features.gpu".to_owned()),
        "[a-z0-9:/.=-]{0,12}",
        "\\PC{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let key = prop_oneof![proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned), "[a-zA-Z0-9_]{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6).prop_map(|it| it.into_iter().collect()),
        ]
    })
}

const KEYS: &[&str] = &[
    "local",
    "apps",
    "1",
    "services",
    "releases",
    "id",
    "image",
    "config",
    "environment",
    "labels",
    "composition",
    "networks",
    "volumes",
    "ipam",
    "name",
    "commit",
    "serviceName",
    "command",
    "ports",
    "expose",
    "depends_on",
    "condition",
    "service_healthy",
    "service_completed_successfully",
    "required",
    "network_mode",
    "healthcheck",
    "test",
    "interval",
    "ulimits",
    "soft",
    "hard",
    "devices",
    "tmpfs",
    "target",
    "source",
    "type",
    "published",
    "restart",
    "cpus",
    "mem_limit",
    "extra_hosts",
    "security_opt",
    "aliases",
    "dependent",
    "PORT",
    "size",
    "mode",
    "user",
    "stop_grace_period",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_read_or_refused(value in anything(), uuid in prop::option::of("[a-f0-9]{2}")) {
        let text = value.to_string();
        match parse(&text, uuid.as_deref()) {
            Ok(target) => prop_assert_eq!(parse(&target.document, uuid.as_deref()).unwrap(), target),
            Err(error) => prop_assert!(!error.0.contains('\n'), "{}", error.0),
        }
    }

    #[test]
    fn any_service_is_read_or_refused(fields in prop::collection::btree_map(proptest::sample::select(KEYS.to_vec()), anything(), 0..8)) {
        let text = v2(&fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>());
        match parse(&text, None) {
            Ok(target) => prop_assert_eq!(parse(&target.document, None).unwrap(), target),
            Err(error) => prop_assert!(!error.0.contains('\n'), "{}", error.0),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,64}") {
        let _ = parse(&text, None);
    }

    #[test]
    fn the_order_of_an_environment_means_nothing(env in prop::collection::btree_map("[A-Z_]{1,6}", "[ -~]{0,6}", 0..8)) {
        let mut list: Vec<_> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        list.reverse();
        let listed = config(&json!({"environment": list}));
        prop_assert_eq!(&listed, &config(&json!({"environment": env})));
        prop_assert_eq!(listed.env, env.into_iter().collect());
    }

    #[test]
    fn the_order_of_ports_means_nothing(ports in prop::collection::btree_set((1..=u16::MAX, 1..=u16::MAX), 0..8)) {
        let spelled: Vec<_> = ports.iter().map(|(host, container)| format!("{host}:{container}")).collect();
        let turned: Vec<_> = ports.iter().rev().map(|(host, it)| json!({"published": host.to_string(), "target": it})).collect();
        let config_ = config(&json!({"ports": spelled}));
        prop_assert_eq!(&config_, &config(&json!({"ports": turned})));
        let expected = ports.into_iter().map(|(host, container)| Port {
            container, protocol: "tcp".into(), host_ip: String::new(), host: Some(host), host_last: None,
        });
        prop_assert_eq!(config_.ports, expected.collect());
    }
}
