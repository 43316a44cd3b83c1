//! Subcommands that go on until Ctrl-C: `boardkeeper state --watch` and `boardkeeper history --follow`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, run, until};
use crate::target::{App, Service};

/// A subcommand that prints into a pipe.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(mut tool: Command) -> Self {
        let mut child = tool.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // It ends with the pipe. The test may have ended before.
        spawn(move || said.lines().map_while(Result::ok).try_for_each(|it| sender.send(it)));
        Self { child, lines }
    }

    /// The next line with these words.
    fn prints(&self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(PATIENCE)) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(why) => panic!("`{words}` is not printed ({why}) but {before:#?}"),
            }
        }
    }

    /// What Ctrl-C does: its exit code.
    fn interrupt(mut self) -> Option<i32> {
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        until(PATIENCE, "Ctrl-C ends it", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It has ended already, unless the test failed.
        let _ = self.child.wait();
    }
}

fn app(lab: &Lab, id: u32, commit: &str, tag: &str) -> App {
    App::new(id, commit, vec![Service::new("main", &lab.image(tag))])
}

#[test]
#[ignore = "needs `make engine`"]
fn the_state_is_watched_through_a_pipe_until_ctrl_c() {
    let lab = Lab::enter();
    let mut agent = Agent::with(&lab, &app(&lab, 420, "c1", "1"));
    let people = Follower::start(agent.tool(&["state", "--watch"]));
    let programs = Follower::start(agent.tool(&["state", "--watch", "--json"]));
    people.prints("settled");
    let before = people.prints("tests/app:1");
    assert!(before.contains("420 app c1") && before.contains("running"), "{before}");
    let whole: Value = serde_json::from_str(&programs.prints("\"event\"")).unwrap();
    assert_eq!((&whole["event"], &whole["data"]["apps"][0]["commit"]), (&"state".into(), &"c1".into()));

    let next = app(&lab, 420, "c2", "2");
    agent.want(&next.v3());
    let after = people.prints("tests/app:2");
    assert!(after.contains("420 app c2"), "{after}");
    let change: Value = serde_json::from_str(&programs.prints("\"c2\"")).unwrap();
    assert_eq!(change["event"], "change");
    agent.arrives(&next);

    // An agent that comes back is watched on.
    agent.stop("TERM");
    agent.want(&app(&lab, 420, "c3", "1").v3());
    agent.start();
    people.prints("420 app c3");
    assert_eq!([people.interrupt(), programs.interrupt()], [Some(0); 2]);
}

#[test]
#[ignore = "needs `make engine`"]
fn the_history_is_followed_until_ctrl_c() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 421, "c1", "1"));
    let people = Follower::start(agent.tool(&["history", "--follow"]));
    let programs = Follower::start(agent.tool(&["history", "--follow", "--json", "--service", "main"]));
    let kept = people.prints("main was started because");
    assert!(kept.contains("because the target names it, and it has no container"), "{kept}");
    programs.prints("main was started because");

    let next = app(&lab, 421, "c2", "2");
    agent.want(&next.v3());
    let new = people.prints("main was started because");
    assert!(new.contains("because its image changed (image: `tests/app:1` became `tests/app:2`"), "{new}");
    let entry: Value = serde_json::from_str(&programs.prints("its image changed")).unwrap();
    assert_eq!((&entry["service"], &entry["app_id"]), (&"main".into(), &421.into()));
    assert_eq!([people.interrupt(), programs.interrupt()], [Some(0); 2]);
}
