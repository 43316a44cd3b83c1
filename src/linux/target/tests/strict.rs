//! What a slip in a document must not do: remove, open or change what its owner did not mean.

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
        let config = &app(&target, 1).volumes["data"];
        assert!(config.driver_opts.is_empty() && config.labels.len() == 1, "{config:?}");
        let [warning] = &target.warnings[..] else { panic!("{options}: {:?}", target.warnings) };
        assert!(warning.starts_with("apps.1.volumes.data.driver_opts: a path or device of the host"), "{warning}");
        assert_eq!(app(&target, 1).services["main"].config.mounts.len(), 1);
    }
    for options in [
        json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}),
        json!({"type": "nfs", "device": ":/data", "o": "addr=10.0.0.1"}),
        json!({"type": "cifs", "device": "//nas/data", "o": "username=a,password=b"}),
    ] {
        let target = parse(&release(&options), None).unwrap();
        assert_eq!(app(&target, 1).volumes["data"].driver_opts.len(), options.as_object().unwrap().len());
        assert_eq!(target.warnings, [""; 0]);
    }
}

#[test]
fn the_mode_of_a_tmpfs_is_octal_as_text_and_decimal_as_a_number() {
    let with = |mode: Value| json!({"volumes": [{"type": "tmpfs", "target": "/t", "tmpfs": {"mode": mode}}]});
    for (mode, option) in
        [(json!("1777"), "1777"), (json!("0755"), "755"), (json!("0o700"), "700"), (json!(1023), "1777"), (json!(493), "755")]
    {
        assert_eq!(config(&with(mode.clone())).tmpfs["/t"], format!("mode={option}"), "{mode}");
    }
    for mode in
        [json!("1789"), json!("rwx"), json!("-1"), json!(-1), json!(4096), json!("10000"), json!(""), json!(1.5), json!([])]
    {
        assert!(mistake(&with(mode.clone())).contains("tmpfs.mode: expected a file mode"), "{mode}");
    }
}
