//! Failures, sorted by what the caller can do: retry, report it to the user, or make space.

use std::error::Error as _;
use std::io;

use bollard::errors::Error;

use crate::port::EngineError;

/// How much of an engine's message is repeated, in characters.
const WORDS: usize = 300;

/// A failure to reach the engine.
pub(super) fn unreachable(host: &str, error: &Error) -> EngineError {
    EngineError::Unreachable(match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => {
            format!("permission denied on {host}: run as root or add the user to the docker group")
        }
        Some(io::ErrorKind::ConnectionRefused) => format!("no program listens on {host}; start the container engine"),
        Some(io::ErrorKind::NotFound) => format!("no socket at {host}; is it installed and started?"),
        _ => format!("{host}: {}", one_line(&chain(error))),
    })
}

/// Sorts a failed call. `what` completes "cannot …".
pub(super) fn sort(what: &str, error: &Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => sort_answer(what, *status_code, message),
        Error::DockerStreamError { error } => sort_answer(what, 500, error),
        // The response arrived whole: one that was cut off gives another error.
        Error::JsonDataError { message, .. } => {
            EngineError::Refused(format!("cannot {what}: the engine's answer is not understood ({})", one_line(message)))
        }
        other => unreachable(&format!("cannot {what}"), other),
    }
}

/// Sorts an error that the engine itself reports.
fn sort_answer(what: &str, status: u16, message: &str) -> EngineError {
    let message_line = one_line(message);
    if has(&message_line, &["no space left on device", "not enough space", "disk quota exceeded"]) {
        return EngineError::Full(format!("cannot {what}: the disk is full ({message_line}); delete files or unused images"));
    }
    // These are about the daemons behind the engine, and about an engine that was replaced by an older one.
    let broken =
        ["containerd.sock", "transport is closing", "rpc error: code = unavailable", "shutting down", "client version"];
    if (502..=504).contains(&status) || has(&message_line, &broken) {
        return EngineError::Unreachable(format!("cannot {what}: {message_line}"));
    }
    EngineError::Refused(format!("cannot {what}: {message_line}"))
}

/// Whether the engine reports that there is no such object.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Whether the engine reports that the request is already fulfilled, or in progress.
pub(super) fn is_so_already(error: &Error) -> bool {
    let Error::DockerResponseServerError { status_code, message } = error else { return false };
    *status_code == 304
        || has(message, &["is already in progress", "already exists in network", "same name as its current name"])
}

/// Whether the engine reports a name conflict.
pub(super) fn is_conflict(error: &Error) -> bool {
    let Error::DockerResponseServerError { status_code, message } = error else { return false };
    // podman responds with status 500.
    *status_code == 409 || has(message, &["already in use", "already exists"])
}

/// `None` if there is no such object.
pub(super) fn found<T>(what: &str, result: Result<T, Error>) -> Result<Option<T>, EngineError> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(sort(what, &error)),
    }
}

/// `None` also where the engine cannot describe the object: only a lost engine is an error.
pub(super) fn if_described<T>(found: Result<Option<T>, EngineError>) -> Result<Option<T>, EngineError> {
    match found {
        Err(lost @ EngineError::Unreachable(_)) => Err(lost),
        found => Ok(found.ok().flatten()),
    }
}

/// A failed pull, with advice for the user. `hint` says where credentials go.
pub(super) fn pull(image: &str, registry: &str, hint: &str, arch: &str, error: &Error) -> EngineError {
    let (Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message }) = error else {
        return sort(&format!("pull {image}"), error);
    };
    let sorted = sort(&format!("pull {image}"), error);
    if !matches!(sorted, EngineError::Refused(_)) {
        return sorted;
    }
    let message_line = one_line(message);
    let saying = |words: &[&str]| has(&message_line, words);
    // The order matters: a registry's "denied" is part of longer messages.
    let is_missing = saying(&["no matching manifest", "does not match the specified platform"])
        || saying(&MISSING) && !saying(&["toomanyrequests", "too many requests"]);
    let why = if saying(&["no matching manifest", "does not match the specified platform"]) {
        format!("it is not made for this board's architecture ({arch}); build it for that")
    } else if saying(&["toomanyrequests", "too many requests"]) {
        format!("{registry} limits how often images are pulled; wait, or {hint}")
    } else if saying(&MISSING) {
        format!("{registry} has no such image or tag; check its name")
    } else if saying(&["no basic auth", "unauthorized", "authentication required", "denied", "forbidden", "incorrect username"])
    {
        format!("{registry} wants credentials that were not given or are wrong; {hint}")
    } else if saying(&["no such host", "dial tcp: lookup", "server misbehaving", "temporary failure in name resolution"]) {
        format!("the name {registry} is not known; check it, and the board's DNS")
    } else if saying(&["server gave HTTP response"]) {
        format!("{registry} speaks no TLS; name it in the engine's insecure-registries")
    } else if saying(&["x509", "certificate"]) {
        format!("the certificate of {registry} is not trusted; check it, and the board's clock")
    } else if saying(&DOWN) {
        format!("{registry} does not answer; check it, and the network")
    } else {
        return sorted;
    };
    let text = format!("cannot pull {image}: {why} ({message_line})");
    if is_missing { EngineError::Missing(text) } else { EngineError::Refused(text) }
}

/// Whether the engine reports that a port of the host is taken.
pub(super) fn is_port_taken(message: &str) -> bool {
    has(message, &["port is already allocated", "address already in use"])
}

/// A container that does not start, with advice for the user.
pub(super) fn not_started(error: EngineError, image: &str, arch: &str) -> EngineError {
    let EngineError::Refused(message) = error else { return error };
    EngineError::Refused(if has(&message, &["exec format error"]) {
        format!("{message}; {image} is made for another architecture than this board's ({arch}): build it for that")
    } else if is_port_taken(&message) {
        format!("{message}; a port it publishes is taken on this board: free it, or publish another")
    } else {
        message
    })
}

/// A network that is not created because of its addresses, with advice for the user. Other errors stay as they are.
pub(super) fn network_without_addresses(error: EngineError) -> EngineError {
    let EngineError::Refused(message) = error else { return error };
    EngineError::Refused(if has(&message, &["address pool among the defaults", "address pools have been", "free subnet"]) {
        format!("{message}; remove networks that nothing uses, or give the engine more `default-address-pools`")
    } else if has(&message, &["pool overlaps", "overlapping ipv", "already used on the host"]) {
        format!("{message}; another network of this board has these addresses: remove it, or ask for another subnet")
    } else {
        message
    })
}

/// What engines report if a registry has no such image.
const MISSING: [&str; 4] = ["manifest unknown", "manifest for", "name unknown", "not found"];

/// What engines report if a registry is unreachable or failing.
const DOWN: [&str; 11] = [
    "connection refused",
    "no route to host",
    "network is unreachable",
    "timeout",
    "timed out",
    "deadline exceeded",
    "Client.Timeout",
    "connection reset",
    "EOF",
    "service unavailable",
    "unexpected HTTP status",
];

/// Whether a text contains one of these phrases, in any case.
pub(super) fn has(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(&word.to_lowercase()))
}

/// The engine's message on one line, cut to [`WORDS`].
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        // Some error layers repeat the message of the one below.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    matches!(error, Error::SocketNotFoundError(_)).then_some(io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    fn pulling(message: &str) -> String {
        pull("r.io/app:1", "r.io", "log in", "armv7l", &answer(500, message)).to_string()
    }

    #[test]
    fn a_pull_that_fails_says_what_to_do() {
        for (said, advice) in [
            ("manifest for r.io/app:1 not found: manifest unknown: manifest unknown", "check its name"),
            ("Get \"https://r.io/v2/\": dial tcp: lookup r.io: no such host", "DNS"),
            ("Get \"http://r.io/v2/\": dial tcp 1.2.3.4:80: connect: connection refused", "does not answer"),
            ("Head \"http://r.io/v2/app/manifests/1\": no basic auth credentials", "log in"),
            ("pull access denied for app, repository does not exist or may require 'docker login': denied", "log in"),
            ("toomanyrequests: You have reached your pull rate limit", "wait"),
            ("no matching manifest for linux/arm/v7 in the manifest list entries", "armv7l"),
            ("received unexpected HTTP status: 503 Service Unavailable", "does not answer"),
            ("something else\nwithout a name", "something else without a name"),
        ] {
            let error = pulling(said);
            assert!(error.contains(advice) && error.starts_with("cannot pull r.io/app:1: "), "{said} gives {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn a_container_that_does_not_start_says_what_to_do() {
        for (said, advice) in [("exec /app: exec format error", "(armv7l)"), ("port is already allocated", "publish another")] {
            let error = not_started(sort("start 1/main", &answer(500, said)), "app:1", "armv7l").to_string();
            assert!(error.contains(advice) && error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_network_without_addresses_says_what_to_do() {
        // What Docker 20.10, Docker 28 and podman 4 answer.
        let none_left = [
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
            "could not find free subnet from subnet pools",
        ];
        let taken = [
            "Pool overlaps with other one on this address space",
            "cannot create network 3f (br-3f): conflicts with network 4e (br-4e): networks have overlapping IPv4",
            "subnet 10.1.0.0/16 is already used on the host or by another config",
        ];
        for (said, advice) in
            none_left.map(|it| (it, "default-address-pools")).into_iter().chain(taken.map(|it| (it, "ask for another")))
        {
            let error = network_without_addresses(sort("create network 1_a", &answer(403, said))).to_string();
            assert!(error.contains(advice) && error.contains(said), "{error}");
        }
    }

    #[test]
    fn failures_are_sorted_by_what_can_be_done() {
        let full = sort("pull x", &Error::DockerStreamError { error: "write /x: no space left on device".into() });
        assert!(matches!(full, EngineError::Full(_)), "{full}");
        let down = sort("look", &answer(500, "connection error: dial unix /run/containerd/containerd.sock"));
        assert!(matches!(down, EngineError::Unreachable(_)), "{down}");
        let refused = sort("create x", &answer(400, "invalid mount"));
        assert_eq!(refused, EngineError::Refused("cannot create x: invalid mount".into()));
        let denied = Error::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(unreachable("unix:///s", &denied).to_string().contains("docker group"));
        assert!(matches!(sort("look", &Error::RequestTimeoutError), EngineError::Unreachable(_)));
        let strange = sort("look", &Error::JsonDataError { message: "unknown variant `undead`".into(), column: 1 });
        assert!(matches!(&strange, EngineError::Refused(why) if why.contains("undead")), "{strange}");
    }
}
