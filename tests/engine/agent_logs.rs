//! `GET /agent/v1/logs` and `boardkeeper logs`: what containers wrote before, and what they write.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::agent::{Agent, KEY, PATIENCE};
use crate::http::Reply;
use crate::lab::{Lab, until};
use crate::target::{App, Service};

/// A service that writes some lines, and then what comes through its pipe. A terminal has one stream only.
fn writer(name: &str, image: &str, lines: &str) -> Service {
    let program = format!("{lines}; mkfifo /pipe; exec 3<>/pipe; while read line; do echo $line; done < /pipe");
    Service::new(name, image)
        .with("command", json!(["sh", "-c", program]))
        .with("tty", json!(false))
        .label("io.balena.features.supervisor-api", "1")
}

fn rows(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

fn texts(reply: &Reply) -> Vec<String> {
    rows(reply).iter().map(|it| it["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs `make engine`"]
fn what_was_written_is_read_and_followed_by_its_owners_only() {
    let lab = Lab::enter();
    let main = writer("main", &lab.image("1"), "echo one; sleep 0.1; echo two >&2; sleep 2; echo three");
    let (one, two) = (App::new(521, "c1", vec![main]), App::new(522, "c1", vec![writer("db", &lab.image("2"), "echo secret")]));
    let mut agent = Agent::new(&lab);
    agent.want(&App::together(&[&one, &two]));
    agent.start();
    until(PATIENCE, "both have written", || {
        let logs = agent.ask_with(KEY, "GET", "/agent/v1/logs", &json!({}));
        logs.is_ok_and(|it| it.status == 200 && it.body.contains("three") && it.body.contains("secret"))
    });
    // In the order of time, each with its stream.
    let lines = rows(&agent.get("/agent/v1/logs?service=main"));
    let of = |name: &str| lines.iter().map(|it| it[name].clone()).collect::<Vec<_>>();
    assert_eq!(json!(of("text")), json!(["one", "two", "three"]));
    assert_eq!(json!(of("stream")), json!(["stdout", "stderr", "stdout"]));
    assert_eq!(lines[0]["app_id"], 521);
    assert!(of("at").is_sorted_by_key(|it| it.as_str().map(str::to_owned)), "{lines:?}");
    assert_eq!(texts(&agent.get("/agent/v1/logs?app=521&tail=1")), ["three"]);
    assert_eq!(texts(&agent.get(&format!("/agent/v1/logs?app=521&since={}", of("at")[2].as_str().unwrap()))), ["three"]);
    assert_eq!(texts(&agent.get("/agent/v1/logs?since=2199-01-01T00:00:00Z")), Vec::<String>::new());
    // A service reads its own app, not another's.
    let key = lab.env(&lab.the("main").id)["BALENA_SUPERVISOR_API_KEY"].clone();
    let ask = |path: &str| agent.ask_with(&key, "GET", path, &json!({})).unwrap();
    assert_eq!(texts(&ask("/agent/v1/logs")), ["one", "two", "three"]);
    assert_eq!((ask("/agent/v1/logs?app=522").status, ask("/agent/v1/logs?service=db").status), (401, 400));
    assert_eq!(agent.get("/agent/v1/logs?service=mian").status, 400);

    // The command line: what was written, then what is written, each line once.
    let shown = agent.tool(&["logs", "main", "--tail", "2"]).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.lines().count() == 2, "{text}");
    assert!(text.lines().all(|it| it.contains("Z main: ")) && text.ends_with(" main: three\n"), "{text}");
    let mut follower = agent.tool(&["logs", "-f", "main", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("it goes on").unwrap()).unwrap()["text"].clone();
    assert_eq!([next(), next(), next()], ["one", "two", "three"]);
    let say = |word: &str| lab.inside(&lab.the("main").id, &["sh", "-c", &format!("echo {word} > /pipe")]);
    say("four");
    assert_eq!(next(), "four");
    // The reader of the pipe has seen enough: the next line ends the command, without an error.
    drop(lines);
    say("five");
    until(PATIENCE, "the command ends", || follower.try_wait().unwrap().is_some_and(|it| it.success()));
    // A mistake is said, and so is an agent that does not run.
    let wrong = agent.tool(&["logs", "mian"]).output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.status.code() == Some(1) && said.contains("is not known; there is db, main"), "{said}");
    agent.stop("TERM");
    let gone = agent.tool(&["logs"]).output().unwrap();
    let said = String::from_utf8(gone.stderr).unwrap();
    assert!(
        gone.status.code() == Some(1) && said.contains("no agent answers at") && said.contains("boardkeeper run"),
        "{said}"
    );
}
