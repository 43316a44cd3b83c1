//! `GET /v2/local/logs`: what containers write, as it is written.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, KEY, PATIENCE};
use crate::lab::{Lab, until};
use crate::target::{App, Service};

/// A client that follows the log.
struct Follower(BufReader<TcpStream>);

impl Follower {
    fn new(agent: &Agent<'_>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", agent.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(PATIENCE))).unwrap();
        // HTTP/1.0, so that the lines come without chunks.
        let head = format!("GET /v2/local/logs HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut follower = Self(BufReader::new(stream));
        while follower.line().is_some_and(|it| it != "\r\n") {}
        assert_eq!(follower.row(), Some(json!({"message": "Streaming logs", "isSystem": true})));
        follower
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).unwrap() > 0).then_some(line)
    }

    /// The next line. `None`: the stream has ended.
    fn row(&mut self) -> Option<Value> {
        Some(serde_json::from_str(&self.line()?).unwrap())
    }

    /// Reads on until such a line.
    fn reads(&mut self, such: impl Fn(&Value) -> bool) -> Value {
        loop {
            let row = self.row().expect("the stream goes on");
            if such(&row) {
                return row;
            }
        }
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn what_containers_and_the_agent_write_is_streamed_to_every_client_until_the_agent_stops() {
    let lab = Lab::enter();
    let program = "while read line; do echo out $line; echo err $line >&2; done < /data/pipe; sleep 1000";
    let main = Service::new("main", &lab.image("1"))
        .with("command", json!(["sh", "-c", format!("mkfifo /data/pipe; exec 3<>/data/pipe; {program}")]))
        // A terminal has one stream only.
        .with("tty", json!(false))
        .with("volumes", json!(["data:/data"]));
    let app = App::new(520, "c1", vec![main]).volumes(&["data"]);
    let mut agent = Agent::with(&lab, &app);
    let (mut one, mut two, gone) = (Follower::new(&agent), Follower::new(&agent), Follower::new(&agent));
    let say = |word: &str| {
        let command = format!("echo {word} > /data/pipe");
        lab.inside(&lab.the("main").id, &["sh", "-c", &command]);
    };
    until(PATIENCE, "the container reads", || {
        let list = lab.inside(&lab.the("main").id, &["ls", "/data"]);
        list.contains("pipe")
    });
    drop(gone);
    say("one");
    for follower in [&mut one, &mut two] {
        // The engine reads the two streams side by side.
        let mut rows = [(); 2].map(|()| follower.reads(|it| it["message"].as_str().unwrap().ends_with(" one")));
        rows.sort_by_key(|it| it["message"].to_string());
        let [err, out] = &rows;
        assert_eq!((&err["message"], &err["isStdErr"]), (&json!("err one"), &json!(true)));
        assert_eq!((&out["message"], &out["serviceName"], out.get("isStdErr")), (&json!("out one"), &json!("main"), None));
        assert!(out["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "{out}");
    }
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 520})).status, 200);
    let started = one.reads(|it| it["message"].as_str().unwrap().starts_with("Started service 'main"));
    assert_eq!((&started["isSystem"], started.get("serviceName")), (&json!(true), None));
    agent.stop("TERM");
    while one.row().is_some() {}
}
