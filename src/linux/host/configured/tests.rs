use super::*;
use crate::state::host::ProxyField;

struct Boot {
    dir: tempfile::TempDir,
    files: HostConfigFiles,
}

const BEFORE: &str = "base {\n\tlog_debug = off;\n\tlog_info = on;\n\tlog = stderr;\n\tdaemon = off;\n\tredirector = iptables;\n}\n\n\
    redsocks {\n\ttype = socks5;\n\tip = example.org;\n\tport = 1080;\n\tlogin = \"foo\";\n\tpassword = \"bar\";\n\t\
    local_ip = 127.0.0.1;\n\tlocal_port = 12345;\n}\n\ndnsu2t {\n\tremote_ip = 1.1.1.1;\n\tremote_port = 54;\n\t\
    local_ip = 127.0.0.1;\n\tlocal_port = 53;\n}\n";

impl Boot {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let files = HostConfigFiles { hostname: at("hostname"), config: at("config.json"), proxy: at("system-proxy") };
        fs::write(&files.hostname, "foobardevice\n").unwrap();
        fs::write(&files.config, r#"{"uuid":"ab","hostname":"foobardevice","apiKeyNumber":1.5}"#).unwrap();
        fs::create_dir(&files.proxy).unwrap();
        fs::write(files.redsocks(), BEFORE).unwrap();
        fs::write(files.no_proxy(), "152.10.30.4\n253.1.1.0/16\n").unwrap();
        Self { dir, files }
    }

    fn redsocks(&self) -> String {
        fs::read_to_string(self.files.redsocks()).unwrap_or_default()
    }

    fn no_proxy(&self) -> String {
        fs::read_to_string(self.files.no_proxy()).unwrap_or_default()
    }

    fn proxy(&self) -> Option<Proxy> {
        self.files.read().unwrap().proxy
    }

    fn patch(&self, fields: &[(ProxyField, &str)], change: impl FnOnce(&mut Proxy)) -> ProxyChange {
        let fields = fields.iter().map(|(field, value)| (*field, (*value).to_owned())).collect();
        let mut proxy = Proxy { fields, ..Proxy::default() };
        change(&mut proxy);
        let set_no_proxy = !proxy.no_proxy.is_empty();
        self.merge(ProxyPatch::Merge { proxy, drop_dns: false, set_no_proxy })
    }

    fn merge(&self, proxy: ProxyPatch) -> ProxyChange {
        self.files.write(&HostPatch { hostname: None, proxy: Some(proxy) }).unwrap()
    }
}

use ProxyField::{Ip, Login, Password, Port, Type};

#[test]
fn everything_is_read() {
    let read = Boot::new().files.read().unwrap();
    assert_eq!(read.hostname, "foobardevice");
    let proxy = read.proxy.unwrap();
    assert_eq!(proxy.no_proxy, ["152.10.30.4", "253.1.1.0/16"]);
    assert_eq!((proxy.field(Port), proxy.dns.as_deref()), (Some("1080"), Some("1.1.1.1:54")));
}

#[test]
fn a_whole_proxy_replaces_all() {
    let boot = Boot::new();
    let fields = [(Ip, "example2.org"), (Port, "1090"), (Type, "http-relay"), (Login, "bar"), (Password, "foo")];
    let changed = boot.patch(&fields, |it| {
        it.dns = Some("2.2.2.2:52".to_owned());
        it.no_proxy = vec!["balena.io".to_owned(), "222.22.2.2".to_owned()];
    });
    assert_eq!(changed, ProxyChange::Changed);
    let expected = BEFORE
        .replace("socks5", "http-relay")
        .replace("example.org", "example2.org")
        .replace("1080", "1090")
        .replace("login = \"foo\"", "login = \"bar\"")
        .replace("password = \"bar\"", "password = \"foo\"")
        .replace("1.1.1.1", "2.2.2.2")
        .replace("= 54", "= 52");
    assert_eq!(boot.redsocks(), expected);
    assert_eq!(boot.no_proxy(), "balena.io\n222.22.2.2");
    let left: Vec<_> = fs::read_dir(&boot.files.proxy).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_part_of_a_proxy_leaves_the_rest() {
    let boot = Boot::new();
    boot.patch(&[(Ip, "example2.org"), (Port, "1090")], |_| ());
    assert_eq!(boot.redsocks(), BEFORE.replace("example.org", "example2.org").replace("1080", "1090"));
    assert_eq!(boot.proxy().unwrap().no_proxy.len(), 2);
}

#[test]
fn a_proxy_is_removed_and_its_exceptions_stay() {
    let boot = Boot::new();
    assert_eq!(boot.merge(ProxyPatch::Remove), ProxyChange::Changed);
    assert!(!boot.files.redsocks().exists() && boot.files.no_proxy().exists());
    assert!(boot.proxy().is_none());
    assert_eq!(boot.merge(ProxyPatch::Remove), ProxyChange::Unchanged);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let boot = Boot::new();
    assert_eq!(boot.files.write(&HostPatch::default()), Ok(ProxyChange::Unchanged));
    assert_eq!(boot.patch(&[], |_| ()), ProxyChange::Unchanged);
    assert_eq!(boot.patch(&[(Type, "socks5")], |_| ()), ProxyChange::Unchanged);
    assert_eq!(boot.redsocks(), BEFORE);
}

#[test]
fn what_somebody_else_wrote_becomes_canonical() {
    let boot = Boot::new();
    let odd = BEFORE.replace("local_ip = 127.0.0.1;\n\tlocal_port = 12345", "local_ip = 127.0.0.2;\n\tnoProxy = x");
    fs::write(boot.files.redsocks(), odd).unwrap();
    assert_eq!(boot.proxy().unwrap().no_proxy.len(), 2);
    boot.patch(&[(Type, "socks4")], |_| ());
    assert_eq!(boot.redsocks(), BEFORE.replace("socks5", "socks4"));
}

#[test]
fn no_exceptions_remove_their_file_only() {
    let boot = Boot::new();
    let none = ProxyPatch::Merge { proxy: Proxy::default(), drop_dns: false, set_no_proxy: true };
    assert_eq!(boot.merge(none), ProxyChange::Changed);
    assert!(!boot.files.no_proxy().exists());
    assert_eq!(boot.redsocks(), BEFORE);
    assert!(boot.proxy().unwrap().no_proxy.is_empty());
}

#[test]
fn where_names_are_looked_up_is_set_and_dropped() {
    let boot = Boot::new();
    boot.patch(&[], |it| it.dns = Some("4.3.2.1:51".to_owned()));
    assert_eq!(boot.proxy().unwrap().dns.as_deref(), Some("4.3.2.1:51"));
    boot.merge(ProxyPatch::Merge { proxy: Proxy::default(), drop_dns: true, set_no_proxy: false });
    assert!(!boot.redsocks().contains("dnsu2t"));
    assert_eq!(boot.proxy().unwrap().dns, None);
}

#[test]
fn names_cannot_be_looked_up_through_no_proxy() {
    let boot = Boot::new();
    boot.merge(ProxyPatch::Remove);
    assert_eq!(boot.patch(&[], |it| it.dns = Some("4.3.2.1:51".to_owned())), ProxyChange::Unchanged);
    assert!(!boot.files.redsocks().exists() && boot.proxy().is_none());
}

#[test]
fn a_name_goes_into_the_provisioning_file_and_nowhere_else() {
    let boot = Boot::new();
    fs::set_permissions(&boot.files.config, fs::Permissions::from_mode(0o640)).unwrap();
    let patch = HostPatch { hostname: Some("test".to_owned()), proxy: None };
    assert_eq!(boot.files.write(&patch), Ok(ProxyChange::Unchanged));
    let text = fs::read_to_string(&boot.files.config).unwrap();
    let expected = serde_json::json!({"uuid": "ab", "hostname": "test", "apiKeyNumber": 1.5});
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert_eq!(fs::metadata(&boot.files.config).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(boot.files.read().unwrap().hostname, "foobardevice");
    assert_eq!(boot.redsocks(), BEFORE);
}

#[test]
fn files_that_cannot_be_written_are_told() {
    let boot = Boot::new();
    fs::write(&boot.files.config, "[]").unwrap();
    let patch = HostPatch { hostname: Some("test".to_owned()), proxy: None };
    assert!(boot.files.write(&patch).unwrap_err().contains("not a JSON object"));
    let nowhere = boot.dir.path().join("nowhere");
    let files =
        HostConfigFiles { config: nowhere.join("config.json"), proxy: nowhere.join("system-proxy"), ..boot.files.clone() };
    assert!(files.write(&patch).unwrap_err().contains("boot partition"));
    let fields = vec![(Type, "socks5".to_owned())];
    let merge = ProxyPatch::Merge { proxy: Proxy { fields, ..Proxy::default() }, drop_dns: false, set_no_proxy: false };
    assert!(files.write(&HostPatch { hostname: None, proxy: Some(merge) }).unwrap_err().contains("boot partition"));
}

#[test]
fn what_is_written_to_the_boot_partition_is_counted() {
    use crate::linux::flash::assert_written;
    let boot = Boot::new();
    let hostname = || boot.files.write(&HostPatch { hostname: Some("other".to_owned()), proxy: None }).unwrap();
    assert_written(FlashPurpose::Provisioning, 20, 2, || assert_eq!(hostname(), ProxyChange::Unchanged));
    assert_written(FlashPurpose::HostConfig, 20, 2, || assert_eq!(boot.patch(&[(Port, "1")], |_| ()), ProxyChange::Changed));
    assert_written(FlashPurpose::HostConfig, 0, 1, || assert_eq!(boot.merge(ProxyPatch::Remove), ProxyChange::Changed));
}
