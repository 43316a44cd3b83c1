//! `redsocks.conf`, in the format of the supervisors of today.

use tracing::warn;

use crate::state::host::{Proxy, ProxyField};

/// Parses a proxy. Lines that make no sense are left out, with a warning.
pub(super) fn parse(text: &str) -> Option<Proxy> {
    let redsocks = block(text, "redsocks");
    let mut proxy = Proxy::default();
    for (key, value) in &redsocks {
        if let Some(field) = ProxyField::ALL.into_iter().find(|it| it.name() == key) {
            let value = if field.is_quoted() { unquoted(value) } else { value };
            proxy.set(field, value.to_owned());
        }
    }
    let problems = proxy.problems();
    if !problems.is_empty() {
        warn!("the proxy in redsocks.conf is passed over: {}", problems.join(", "));
        return None;
    }
    let dns = block(text, "dnsu2t");
    let value = |name: &str| dns.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    proxy.dns = match (value("remote_ip"), value("remote_port")) {
        (Some(ip), Some(port)) if !ip.is_empty() && port.parse::<u16>().is_ok() => Some(format!("{ip}:{port}")),
        (Some(_) | None, Some(_) | None) => None,
    };
    Some(proxy)
}

/// The file of a proxy. Empty if the proxy has no fields: the other blocks are of no use alone.
pub(super) fn file(proxy: &Proxy) -> String {
    if proxy.fields.is_empty() {
        return String::new();
    }
    let base = [("log_debug", "off"), ("log_info", "on"), ("log", "stderr"), ("daemon", "off"), ("redirector", "iptables")];
    let mut blocks = vec![written("base", &base.map(|(key, value)| (key, value.to_owned())))];
    let fields = proxy.fields.iter().map(|(field, value)| {
        (field.name(), if field.is_quoted() { format!("\"{}\"", unquoted(value)) } else { value.clone() })
    });
    let local = |port: &str| [("local_ip", "127.0.0.1".to_owned()), ("local_port", port.to_owned())];
    blocks.push(written("redsocks", &fields.chain(local("12345")).collect::<Vec<_>>()));
    if let Some((ip, port)) = proxy.dns.as_deref().and_then(|it| it.rsplit_once(':')) {
        let remote = [("remote_ip", ip.to_owned()), ("remote_port", port.to_owned())];
        blocks.push(written("dnsu2t", &remote.into_iter().chain(local("53")).collect::<Vec<_>>()));
    }
    blocks.join("\n")
}

fn written(name: &str, entries: &[(&str, String)]) -> String {
    let lines: Vec<_> = entries.iter().map(|(key, value)| format!("\t{key} = {value};\n")).collect();
    format!("{name} {{\n{}}}\n", lines.concat())
}

/// The entries of a block, at any position.
fn block(text: &str, name: &str) -> Vec<(String, String)> {
    let opens = |line: &str| line.strip_suffix('{').is_some_and(|it| it.trim_end() == name);
    let mut lines = text.lines().map(str::trim).skip_while(|line| !opens(line)).skip(1);
    let within = lines.by_ref().take_while(|line| *line != "}").filter(|line| !line.is_empty());
    within.filter_map(entry).collect()
}

fn entry(line: &str) -> Option<(String, String)> {
    let parts = line.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_end_matches(';').trim_end()));
    match parts {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Some((key.to_owned(), value.to_owned())),
        Some(_) | None => {
            let secret = ["login", "password"].into_iter().find(|it| line.starts_with(it));
            let shown = secret.unwrap_or(line);
            warn!("Ignoring malformed redsocks.conf line \"{shown}\" due to missing key, value, or \"=\"");
            None
        }
    }
}

/// The text without a quote at either end.
fn unquoted(text: &str) -> &str {
    let text = text.strip_prefix('"').unwrap_or(text);
    text.strip_suffix('"').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "base {\n\tlog_debug = off;\n\tlog_info = on;\n\tlog = stderr;\n\tdaemon = off;\n\tredirector = iptables;\n}\n\
        \n\
        redsocks {\n\ttype = socks5;\n\tip = example.org;\n\tport = 1080;\n\tlogin = \"foo\";\n\tpassword = \"bar\";\n\tlocal_ip = 127.0.0.1;\n\tlocal_port = 12345;\n}\n\
        \n\
        dnsu2t {\n\tremote_ip = 1.1.1.1;\n\tremote_port = 54;\n\tlocal_ip = 127.0.0.1;\n\tlocal_port = 53;\n}\n";

    fn proxy(fields: &[(ProxyField, &str)]) -> Proxy {
        Proxy { fields: fields.iter().map(|(field, value)| (*field, (*value).to_owned())).collect(), ..Proxy::default() }
    }

    fn whole() -> Proxy {
        use ProxyField::{Ip, Login, Password, Port, Type};
        let fields = [(Type, "socks5"), (Ip, "example.org"), (Port, "1080"), (Login, "foo"), (Password, "bar")];
        Proxy { dns: Some("1.1.1.1:54".to_owned()), ..proxy(&fields) }
    }

    #[test]
    fn a_proxy_is_written_and_read_again() {
        assert_eq!(file(&whole()), WHOLE);
        assert!(parse(WHOLE) == Some(whole()));
    }

    #[test]
    fn quotes_are_not_doubled() {
        let text = file(&proxy(&[(ProxyField::Login, "\"foo\""), (ProxyField::Password, "b")]));
        assert!(text.contains("\tlogin = \"foo\";\n\tpassword = \"b\";\n"), "{text}");
    }

    #[test]
    fn nothing_or_names_alone_make_no_file() {
        assert_eq!(file(&Proxy::default()), "");
        assert_eq!(file(&Proxy { dns: Some("1.1.1.1:53".to_owned()), ..Proxy::default() }), "");
    }

    #[test]
    fn blocks_may_be_anywhere_and_values_may_have_braces() {
        let text = "dnsu2t {\n remote_ip = 1.1.1.1;\nremote_port=54;\n}\nredsocks {\n  type = socks5;\n  ip = {test2}.balenadev.io;\n  \
                    port = 1082;\n  login = \"us}{er\";\n  password = \"p{}a}}s{{s\";\n}\nbase {\nlog = stderr;\n}";
        let read = parse(text).unwrap();
        assert_eq!(read.field(ProxyField::Ip), Some("{test2}.balenadev.io"));
        assert_eq!(read.field(ProxyField::Login), Some("us}{er"));
        assert_eq!(read.field(ProxyField::Password), Some("p{}a}}s{{s"));
        assert_eq!(read.dns.as_deref(), Some("1.1.1.1:54"));
    }

    #[test]
    fn quotes_may_be_missing_on_either_side() {
        for (login, password) in [("foo", "bar"), ("\"foo", "bar\""), ("\"foo\"", "\"bar\""), ("foo\"", "\"bar")] {
            let text = WHOLE.replace("\"foo\"", login).replace("\"bar\"", password);
            assert!(parse(&text) == Some(whole()), "{login} {password}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_none() {
        assert!(parse(&WHOLE.replace("socks5", "socks6").replace("1080", "bar")).is_none());
        assert!(parse("redsocks {\n}\n").is_none());
        assert!(parse("").is_none());
        assert!(parse(&WHOLE[WHOLE.find("dnsu2t").unwrap()..]).is_none());
        assert_eq!(proxy(&[(ProxyField::Ip, "h")]).problems().len(), 2);
    }

    #[test]
    fn malformed_lines_are_skipped() {
        let text = WHOLE.replace("\ttype = socks5;\n", "\ttype = socks5;\n\tnonsense\n\t= x;\n\tlocal =;\n\tpassword\n");
        assert!(parse(&text) == Some(whole()));
        assert_eq!(entry("login = \"x\";"), Some(("login".into(), "\"x\"".into())));
        assert_eq!(entry("a = b=c;"), Some(("a".into(), "b=c".into())));
    }

    #[test]
    fn where_names_are_looked_up_is_whole_or_nothing() {
        for broken in ["\tremote_ip = 1.1.1.1;\n", "\tremote_port = 54;\n"] {
            assert_eq!(parse(&WHOLE.replace(broken, "")).unwrap().dns, None);
        }
        assert_eq!(parse(&WHOLE.replace("= 54", "= abc")).unwrap().dns, None);
    }

    #[test]
    fn other_keys_and_local_addresses_are_not_read() {
        let text =
            WHOLE.replace("local_ip = 127.0.0.1", "local_ip = 127.0.0.2").replace("\tlocal_port = 12345", "\tnoProxy = x");
        let read = parse(&text).unwrap();
        assert!(read == whole());
        assert_eq!(file(&read), WHOLE);
    }
}
