//! What a mistake in a document must not do: remove, open or change what its owner did not mean.

use serde_json::{Value, json};

use super::{app, config, mistake, parse};

#[test]
fn a_second_empty_apps_removes_nothing_but_is_refused() {
    for (twice, path) in [
        (r#"{"local": {"apps": {"1": {}}, "apps": {}}}"#, "local.apps: is there twice"),
        (r#"{"apps": {}, "apps": {}}"#, "apps: is there twice"),
        (r#"{"aa": {"apps": {"u": {"id": 1, "releases": {"c": {}, "c": {}}}}}}"#, "aa.apps.u.releases.c: is there twice"),
        (
            r#"{"apps": {"1": {"commit": "c", "services": {"2": {"image": "x", "image": "y"}}}}}"#,
            "apps.1.services.2.image: is there",
        ),
    ] {
        let why = parse(twice, None).unwrap_err().0;
        assert!(why.starts_with(path) && why.contains("line 1"), "{why}");
    }
}

#[test]
fn a_card_of_2016_brings_its_apps_as_a_list() {
    let image = "registry.resin.io/fleet/abc";
    let one = json!([{"appId": "1", "name": "fleet", "commit": "abc", "imageId": image, "env": {"A": "b"},
        "config": {"RESIN_SUPERVISOR_POLL_INTERVAL": "10"}}]);
    let of_2017 = json!({"local": {"apps": {"1": {"name": "fleet", "commit": "abc", "image": image, "environment": {"A": "b"},
        "config": {"RESIN_SUPERVISOR_POLL_INTERVAL": "10"}}}}});
    let [read, same] = [one, of_2017].map(|it| parse(&it.to_string(), None).unwrap());
    assert_eq!((&read.apps, &read.config, &read.warnings), (&same.apps, &same.config, &same.warnings));
    assert_eq!(app(&read, 1).services[&"main".to_owned()].image.as_str(), format!("{image}:latest"));
    for (list, why) in [
        (json!([]), "the document: expected an object, found a list"),
        (json!([{"commit": "c", "imageId": "x"}]), "0.appId: expected the app's number, found nothing"),
        (json!([{"appId": 1}]), "0.imageId: expected the name of an image, found nothing"),
        (json!([{"appId": "x", "imageId": "x"}]), "0: the app's key must be its number, 0 to 4294967295"),
        (json!([{"appId": 1, "imageId": "x"}, {"appId": "1", "imageId": "y"}]), "1: has the same number as the app \"1\""),
        (json!([1]), "2 mistakes: 0: expected an object, found 1; 0.appId: expected the app's number, found nothing"),
    ] {
        assert_eq!(parse(&list.to_string(), None).unwrap_err().0, why, "{list}");
    }
}

#[test]
fn logging_is_given_to_the_engine_and_compared() {
    let logging = |it: Value| config(&json!({"logging": it}));
    let plain = config(&json!({}));
    let short = logging(json!({"driver": "json-file", "options": {"max-size": "1m", "max-file": 3}}));
    assert_eq!(
        short.logging.as_ref().map(|it| (it.driver.as_str(), it.options[&"max-file".to_owned()].as_str())),
        Some(("json-file", "3"))
    );
    assert_ne!(short.hash("x"), plain.hash("x"));
    assert_ne!(short.hash("x"), logging(json!({"driver": "json-file"})).hash("x"));
    for nothing in [json!(null), json!({}), json!({"driver": ""}), json!({"options": {}})] {
        assert_eq!(logging(nothing), plain);
    }
    let why = mistake(&json!({"logging": {"driver": "gelf", "options": {"token": ["secret"]}}}));
    assert!(why.contains("logging.options.token: expected a string") && !why.contains("secret"), "{why}");
}

#[test]
fn a_volume_that_leads_to_the_host_is_as_a_bind_left_out_and_said() {
    let release = |options: &Value| {
        let volumes = json!({"data": {"driver_opts": options, "labels": {"a": "b"}}});
        let services = json!({"2": {"serviceName": "main", "image": "x", "volumes": ["data:/data"]}});
        json!({"apps": {"1": {"commit": "c", "services": services, "volumes": volumes}}}).to_string()
    };
    for options in [
        json!({"type": "none", "o": "bind", "device": "/"}),
        json!({"type": "none", "o": "rw,bind", "device": "/"}),
        json!({"o": "rbind", "device": "/"}),
        json!({"type": "ext4", "device": "/dev/sda1"}),
        json!({"type": "overlay", "device": "overlay", "o": "lowerdir=/,upperdir=/u,workdir=/w"}),
    ] {
        let target = parse(&release(&options), None).unwrap();
        let config = &app(&target, 1).volumes[&"data".to_owned()];
        assert!(config.driver_opts.is_empty() && config.labels.len() == 1, "{config:?}");
        let [warning] = &target.warnings[..] else { panic!("{options}: {:?}", target.warnings) };
        assert!(warning.starts_with("apps.1.volumes.data.driver_opts: a path or device of the host"), "{warning}");
        assert_eq!(app(&target, 1).services[&"main".to_owned()].config.mounts.len(), 1);
    }
    for options in [
        json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}),
        json!({"type": "nfs", "device": ":/data", "o": "addr=10.0.0.1"}),
        json!({"type": "cifs", "device": "//nas/data", "o": "username=a,password=b"}),
    ] {
        let target = parse(&release(&options), None).unwrap();
        assert_eq!(app(&target, 1).volumes[&"data".to_owned()].driver_opts.len(), options.as_object().unwrap().len());
        assert_eq!(target.warnings, [""; 0]);
    }
}

#[test]
fn the_mode_of_a_tmpfs_is_octal_as_text_and_decimal_as_a_number() {
    let with = |mode: Value| json!({"volumes": [{"type": "tmpfs", "target": "/t", "tmpfs": {"mode": mode}}]});
    for (mode, option) in
        [(json!("1777"), "1777"), (json!("0755"), "755"), (json!("0o700"), "700"), (json!(1023), "1777"), (json!(493), "755")]
    {
        assert_eq!(config(&with(mode.clone())).tmpfs[&"/t".to_owned()], format!("mode={option}"), "{mode}");
    }
    for mode in
        [json!("1789"), json!("rwx"), json!("-1"), json!(-1), json!(4096), json!("10000"), json!(""), json!(1.5), json!([])]
    {
        assert!(mistake(&with(mode.clone())).contains("tmpfs.mode: expected a file mode"), "{mode}");
    }
}
