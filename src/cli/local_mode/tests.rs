use super::*;

#[test]
fn a_time_has_a_unit_and_a_limit() {
    for (written, expected) in [("45s", 45), ("45", 45), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("30d", 2_592_000)] {
        assert_eq!(seconds(written), Ok(expected), "{written}");
    }
    for written in ["", "h", "0s", "-1s", "1.5h", "2w", "31d", "99999999999h", "4294967295d"] {
        assert!(seconds(written).unwrap_err().contains("30m"), "{written}");
    }
}

#[test]
fn what_it_opens_is_said() {
    let switched = |until: Option<&str>| Switched {
        on: true,
        until: until.map(str::to_owned),
        addresses: vec!["fe80::1".to_owned(), "192.168.1.7".to_owned()],
        engine_networks: Vec::new(),
    };
    let mut config = StateDirArgs::default().config().unwrap();
    config.listen.clear();
    let text = opened(&config, &switched(Some("2026-11-28T12:00:00Z")));
    assert!(text.starts_with("Local mode is on until 2026-11-28T12:00:00Z, or until"), "{text}");
    assert!(text.contains("The engine is not forwarded.") && text.contains("--local-engine"), "{text}");
    assert!(text.contains("no other computer: start the agent with --listen 192.168.1.7:48484"), "{text}");
    config.listen = vec!["127.0.0.1:48484".parse().unwrap(), "192.168.1.7:48484".parse().unwrap()];
    let text = opened(&config, &Switched { engine_networks: vec!["192.168.1.0/24".to_owned()], ..switched(None) });
    assert!(text.contains("port 2375 to 192.168.1.0/24: every computer there can become root"), "{text}");
    assert!(text.contains("- computers in the private networks of 192.168.1.7:48484\n"), "{text}");
}
