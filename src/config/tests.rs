use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

/// These flags, and a root without a provisioning file, whatever machine the test runs on.
fn given<const N: usize>(flags: [(&'static str, &str); N]) -> RawSettings {
    let root = ("--root", std::env::temp_dir().into());
    RawSettings {
        given: flags.map(|(flag, text)| (flag, text.into())).into_iter().chain([root]).collect(),
        ..RawSettings::default()
    }
}

#[test]
fn a_device_nobody_said_anything_about() {
    let config = Config::read(&given([]), &nothing).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/boardkeeper"));
    assert_eq!(config.listen, ["127.0.0.1:48484".parse().unwrap()]);
    assert_eq!((config.bridges, config.api_port()), (Some(48484), 48484));
    assert_eq!(config.registry_auth, Path::new("/var/lib/boardkeeper/registry-auth.json"));
    assert_eq!((config.disk_floor_bytes, config.asks_registries, config.force), (64 << 20, true, Force::No));
    assert_eq!(
        (config.board, config.log, config.provisioning),
        (BoardChoice::Auto, LogFilter::default(), Provisioning::default())
    );
    assert!(config.device_key.is_none() && config.docker_host.is_none() && config.target.is_none());
}

#[test]
fn every_mistake_is_told_at_once_and_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let boot = dir.path().join("config.json");
    std::fs::write(&boot, r#"{"uuid":"x","listenPort":"99999","deviceType":3,"apiKey":{}}"#).unwrap();
    let wrong = given([
        ("--root", "/nowhere"),
        ("--listen", "localhost:1,127.0.0.1:70000"),
        ("--boot-config", boot.to_str().unwrap()),
        ("--board", "My Board"),
        ("--log", "loud"),
        ("--registry-auth", "/nowhere"),
        ("--disk-floor", "much"),
        ("--ask-registries", "perhaps"),
        ("--local-engine", "192.168.1.0/24,0.0.0.0/0,10.0.0.7/8"),
    ]);
    let env = |name: &str| match name {
        "BOARDKEEPER_API_KEY" => Some("se!cret".into()),
        "DOCKER_HOST" => Some("docker".into()),
        _ => None,
    };
    let Mistakes(mistakes) = Config::read(&wrong, &env).unwrap_err();
    let about = [
        "--root",
        "uuid",
        "deviceType",
        "apiKey",
        "listenPort",
        "localhost",
        "70000",
        "--board",
        "--log",
        "--registry-auth",
        "--disk-floor",
        "--ask-registries",
        "--local-engine",
        "DOCKER_HOST",
        "BOARDKEEPER_API_KEY",
    ];
    for word in about {
        assert_eq!(mistakes.iter().filter(|it| it.contains(word)).count(), 1, "{word}: {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), about.len(), "{mistakes:#?}");
    assert!(!mistakes.concat().contains("se!cret"));
}

#[test]
fn addresses_given_are_all_there_are() {
    let listen = "0.0.0.0,[::1]:80, ::1,[::],127.0.0.1:48484,127.0.0.1";
    let config = Config::read(&given([("--listen", listen)]), &nothing).unwrap();
    let expected = ["0.0.0.0:48484", "[::1]:80", "[::1]:48484", "[::]:48484", "127.0.0.1:48484"].map(|it| it.parse().unwrap());
    assert_eq!((config.listen, config.bridges), (expected.to_vec(), None));
    // An empty environment variable counts as unset.
    let config = Config::read(&given([("--listen", "")]), &nothing).unwrap();
    assert_eq!(config.bridges, Some(PORT));
}

#[test]
fn the_engine_is_forwarded_to_the_private_networks_that_are_named() {
    let networks = |text: &str| Config::read(&given([("--local-engine", text)]), &nothing).map(|it| it.local_engine);
    let read = networks("192.168.1.0/24, fd00::/64,192.168.1.0/24").unwrap();
    assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.168.1.0/24", "fd00::/64"]);
    assert_eq!(networks("").unwrap(), []);
    assert_eq!(Config::read(&given([]), &nothing).unwrap().local_engine, []);
    let Mistakes(mistakes) = networks("192.168.1.0/24,0.0.0.0/0,10.0.0.7/8").unwrap_err();
    assert!(mistakes[0].contains("`0.0.0.0/0` is not a private") && mistakes[0].contains("`10.0.0.0/8`"), "{mistakes:?}");
}

#[test]
fn the_provisioning_file_is_read_where_it_belongs() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("mnt/boot")).unwrap();
    let path = root.path().join("mnt/boot/config.json");
    let uuid = "a".repeat(62);
    let text = format!(
        r#"{{"uuid":"{uuid}","deviceType":"raspberrypi3","listenPort":1234,"apiEndpoint":"https://api.example.com","hostname":"",
        "initialDeviceName":"kitchen","deviceApiKey":"k","appUpdatePollInterval":60000}}"#
    );
    std::fs::write(&path, text).unwrap();
    let given = given([("--root", root.path().to_str().unwrap())]);
    let config = Config::read(&given, &nothing).unwrap();
    assert_eq!(config.provisioning.uuid, Some(uuid));
    assert_eq!((config.api_port(), config.bridges), (1234, Some(1234)));
    assert_eq!(config.provisioning.name(), Some("kitchen"));
    assert_eq!(config.provisioning.path, Some(path.clone()));
    std::fs::write(&path, "{").unwrap();
    let mistakes = Config::read(&given, &nothing).unwrap_err().to_string();
    assert!(mistakes.contains("is not JSON") && mistakes.contains("line 1"), "{mistakes}");
}

#[test]
fn values_mean_what_they_say() {
    for (text, bytes) in [("0", 0), ("1024", 1024), ("2k", 2048), ("1GiB", 1 << 30), ("6G", 6 << 30), (" 5 MB", 0)] {
        let expected = if text == " 5 MB" { Err(()) } else { Ok(bytes) };
        assert_eq!(values::size(text).map_err(|_| ()), expected, "{text}");
    }
    assert!(values::size("99999999999G").is_err());
    let log = values::log("warn, boardkeeper::linux=debug").unwrap();
    assert_eq!((log.all, log.modules), (LevelFilter::WARN, vec![("boardkeeper::linux".to_owned(), LevelFilter::DEBUG)]));
    assert_eq!(values::board("simulated"), Ok(BoardChoice::Simulated));
    assert!(values::device_key(Some("k".repeat(15))).is_err());
    assert!(values::device_key(Some("key_".repeat(32))).unwrap().is_some());
    assert!(values::device_key(Some("0".repeat(64))).is_err(), "it is guessed");
    assert!(values::device_key(Some("k".repeat(129))).is_err());
}

#[test]
fn the_environment_has_its_say() {
    let dir = tempfile::tempdir().unwrap();
    let docker = dir.path().to_str().unwrap().to_owned();
    let env = |name: &str| match name {
        "LED_FILE" => Some("/sys/class/leds/ACT".into()),
        "DOCKER_CONFIG" => Some(docker.clone()),
        "RESIN_DEVICE_TYPE" => Some("raspberrypi3".into()),
        "DOCKER_HOST" => Some(String::new()),
        _ => None,
    };
    let config = Config::read(&given([("--state-dir", &docker)]), &env).unwrap();
    assert_eq!(config.led_file.as_deref(), Some(Path::new("/sys/class/leds/ACT")));
    assert_eq!(config.registry_auth, dir.path().join("config.json"));
    assert_eq!((config.device_type.as_deref(), config.docker_host), (Some("raspberrypi3"), None));
    std::fs::write(dir.path().join("registry-auth.json"), "{}").unwrap();
    let config = Config::read(&given([("--state-dir", &docker)]), &env).unwrap();
    assert_eq!(config.registry_auth, dir.path().join("registry-auth.json"));
}

#[test]
fn a_file_fills_in_and_flags_win() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("boardkeeper");
    let text = "BOARDKEEPER_LOG=debug\nBOARDKEEPER_TARGET=/a\nBOARDKEEPER_LISTEN=127.0.0.1:1,[::1]:2\nBOARDKEEPER_OVERRIDE_LOCKS=1\nBOARDKEEPER_ASK_REGISTRIES=no\n";
    std::fs::write(&path, text).unwrap();
    let filled = RawSettings { file: SettingsFile::read(&path).unwrap(), ..given([("--target", "/b")]) };
    let config = Config::read(&filled, &nothing).unwrap();
    assert_eq!((config.target.as_deref(), config.log.all), (Some(Path::new("/b")), LevelFilter::DEBUG));
    assert_eq!((config.listen.len(), config.force), (2, Force::Yes));
    let before = Config::read(&given([]), &nothing).unwrap();
    assert_eq!(before.wants_a_restart(&config), ["--listen", "--ask-registries", "--override-locks"]);
    assert!(config.wants_a_restart(&config).is_empty());
}

#[test]
fn rollbacks_are_switched_on_and_off_in_words() {
    let read = |text: &str| Config::read(&given([("--rollback", text)]), &nothing);
    assert_eq!(["on", "off", ""].map(|it| read(it).unwrap().rollback), [true, false, false]);
    let wrong = read("perhaps").unwrap_err().to_string();
    assert!(wrong.contains("`perhaps` is neither `on` nor `off`"), "{wrong}");
    assert_eq!(read("off").unwrap().wants_a_restart(&read("on").unwrap()), ["--rollback"]);
}

#[test]
fn what_services_may_do_with_the_device_is_told_by_name() {
    use crate::state::keys::DeviceAction::{Blink, TcpPing};
    let read = |text: &str| Config::read(&given([("--service-verbs", text)]), &nothing);
    assert_eq!(read("").unwrap().service_verbs, DeviceAction::ALL.into());
    assert_eq!(read("none").unwrap().service_verbs, SortedSet::new());
    assert_eq!(read("blink, tcp-ping,").unwrap().service_verbs, [Blink, TcpPing].into());
    for (wrong, named) in [("reboot,sing", "sing"), ("none,blink", "none"), ("Reboot", "Reboot")] {
        let Mistakes(mistakes) = read(wrong).unwrap_err();
        assert!(mistakes[0].contains(&format!("--service-verbs: `{named}`")), "{mistakes:?}");
    }
    let changed = read("none").unwrap();
    assert_eq!(read("").unwrap().wants_a_restart(&changed), ["--service-verbs"]);
}

#[test]
fn configurations_without_end_are_not_read_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let given = given([("--boot-config", path.to_str().unwrap())]);
    std::fs::write(&path, format!("{{}}{}", " ".repeat((1 << 20) - 2))).unwrap();
    assert!(Config::read(&given, &nothing).is_ok() && !SettingsFile::read(&path).unwrap_err()[0].contains("longer"));
    std::fs::write(&path, format!("{{}}{}", " ".repeat((1 << 20) - 1))).unwrap();
    let Mistakes(mistakes) = Config::read(&given, &nothing).unwrap_err();
    assert!(mistakes[0].contains("--boot-config") && mistakes[0].contains("longer than 1024 kB"), "{mistakes:?}");
    assert!(SettingsFile::read(&path).unwrap_err()[0].contains("longer than 1024 kB"));
}

#[test]
fn a_setting_has_one_name_and_a_default_that_is_no_mistake() {
    for setting in settings::all() {
        let variable = setting.flag.replacen("--", "BOARDKEEPER_", 1).replace('-', "_").to_uppercase();
        assert_eq!(setting.variable, variable);
        assert_eq!(settings::all().filter(|it| it.flag == setting.flag).count(), 1, "{}", setting.flag);
        assert_eq!(Config::default().set_one(setting, None), Ok(()), "{}", setting.flag);
    }
}

#[test]
fn targets_come_from_the_file_that_is_given_unless_the_cloud_is_named() {
    let read = |target: &str, from: &str| Config::read(&given([("--target", target), ("--target-from", from)]), &nothing);
    let of = |target, from| {
        let config = read(target, from).unwrap();
        (config.targets_from, config.applied_file().is_some())
    };
    assert_eq!(of("", ""), (TargetOrigin::Cloud, false));
    assert_eq!(of("/t.json", ""), (TargetOrigin::File, true));
    assert_eq!(of("/t.json", "cloud"), (TargetOrigin::Cloud, false));
    assert_eq!(of("", "file"), (TargetOrigin::File, false));
    let Mistakes(mistakes) = read("", "usb").unwrap_err();
    assert_eq!(mistakes, ["--target-from: `usb` is neither `cloud` nor `file`"]);
}

#[test]
fn the_poll_interval_is_milliseconds_and_survives_in_what_is_kept() {
    let of = |text: &str| {
        let (read, wrong) = Provisioning::parse(text.as_bytes(), "config.json");
        assert!(wrong.is_empty(), "{wrong:?}");
        let (kept, _) = Provisioning::parse(&read.to_keep(), "kept");
        assert_eq!(kept, read);
        read.poll_interval.map(|it| it.as_secs())
    };
    assert_eq!(of(r#"{"appUpdatePollInterval": 600000}"#), Some(600));
    assert_eq!(of(r#"{"appUpdatePollInterval": "900000"}"#), Some(900));
    for odd in
        ["{}", r#"{"appUpdatePollInterval": -1}"#, r#"{"appUpdatePollInterval": "soon"}"#, r#"{"appUpdatePollInterval": 0}"#]
    {
        assert_eq!(of(odd), None, "{odd}");
    }
}

#[test]
fn proxies_are_read_in_either_case_and_a_change_counts_from_the_next_start() {
    let read = |variables: &'static [(&str, &str)]| {
        let env = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        Config::read(&given([]), &env).unwrap()
    };
    let config = read(&[("HTTPS_PROXY", "http://me:sesame@p:1"), ("all_proxy", "q"), ("no_proxy", "a,b"), ("HTTP_PROXY", "r")]);
    let ProxyVariables { https, all, exceptions } = &config.proxies;
    let texts = [https, all].map(|it| it.as_ref().unwrap().reveal());
    assert_eq!((texts, exceptions.as_deref()), (["http://me:sesame@p:1", "q"], Some("a,b")));
    assert!(!format!("{config:?}").contains("sesame"));
    assert_eq!(read(&[]).wants_a_restart(&config), ["HTTPS_PROXY, ALL_PROXY or NO_PROXY"]);
}

fn read_flags(flags: &[(&'static str, &str)]) -> Result<Config, Mistakes> {
    let mut raw = given([]);
    raw.given.extend(flags.iter().map(|(flag, text)| (*flag, text.into())));
    Config::read(&raw, &nothing)
}

#[test]
fn a_target_may_be_at_a_url_that_is_https_or_signed() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let config = read_flags(&[("--target", "https://example.com/{uuid}.json")]).unwrap();
    assert_eq!((config.applied_url(), config.target.as_deref()), (Some("https://example.com/{uuid}.json"), None));
    assert_eq!((config.targets_from, config.target_interval.as_secs()), (TargetOrigin::File, 900));
    let http = ("--target", "http://192.168.1.2/t.json");
    let why = read_flags(&[http]).unwrap_err().to_string();
    assert!(why.contains("--target: a target over http must be signed") && why.contains("--target-key"), "{why}");
    assert_eq!(read_flags(&[http, ("--target-key", key)]).unwrap().target_key.as_deref(), Some(key));
    for (url, words) in
        [("ftp://h/t", "neither https nor http"), ("https://me:secret@h/t", "not sent"), ("https://", "no URL of a target")]
    {
        let why = read_flags(&[("--target", url)]).unwrap_err().to_string();
        assert!(why.contains("--target: ") && why.contains(words) && !why.contains("secret"), "{why}");
    }
}

#[test]
fn the_key_of_targets_is_a_line_or_a_file_and_anything_else_is_a_mistake() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("minisign.pub");
    std::fs::write(&path, format!("untrusted comment: minisign public key E7620F1842B4E81F\r\n{key}\r\n")).unwrap();
    let of = |text: &str| read_flags(&[("--target-key", text)]).map(|it| it.target_key);
    assert_eq!(of(path.to_str().unwrap()).unwrap().as_deref(), Some(key));
    assert_eq!(of("").unwrap(), None);
    std::fs::write(&path, "untrusted comment: minisign encrypted secret key\nRWRTY0Iy\n").unwrap();
    for (text, words) in
        [(path.to_str().unwrap(), "no public key"), ("/nowhere.pub", "neither a key nor a file"), (&key[1..], "minisign -G")]
    {
        let why = of(text).unwrap_err().to_string();
        assert!(why.contains("--target-key: ") && why.contains(words), "{why}");
    }
}

#[test]
fn the_interval_of_a_target_at_a_url_has_a_unit() {
    let secs = |text: &str| read_flags(&[("--target-interval", text)]).map(|it| it.target_interval.as_secs());
    for (text, expected) in [("10s", 10), ("90", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)] {
        assert_eq!(secs(text).unwrap(), expected);
    }
    for text in ["9s", "8d", "soon", "-1m", "1w", "99999999999999999999h"] {
        assert!(secs(text).unwrap_err().to_string().contains("write one like"), "{text}");
    }
}

#[test]
fn targets_on_media_need_a_key() {
    let why = read_flags(&[("--target-from-media", "1")]).unwrap_err().to_string();
    assert!(why.contains("--target-from-media: ") && why.contains("give --target-key"), "{why}");
    let key = ("--target-key", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3");
    let config = read_flags(&[("--target-from-media", "1"), key]).unwrap();
    assert!(config.applies_media() && config.targets_from == TargetOrigin::File);
    assert!(!read_flags(&[("--target-from-media", "1"), key, ("--target-from", "cloud")]).unwrap().applies_media());
}
