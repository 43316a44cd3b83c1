//! `make run` and `make clean-run`, and the README's things to try, word for word.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::agent::{PATIENCE, program};
use crate::lab::{Lab, run, until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `make run`, in a directory and on an engine of the lab.
struct Session<'lab> {
    lab: &'lab Lab,
    child: Child,
    said: BufReader<ChildStdout>,
}

impl<'lab> Session<'lab> {
    fn start(lab: &'lab Lab) -> Self {
        let mut child = script(lab, "start").stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut session = Self { lab, child, said };
        session.reads("Ctrl-C stops the agent");
        session
    }

    /// Reads what it prints until some words come.
    fn reads(&mut self, words: &str) {
        let mut all = String::new();
        while !all.contains(words) {
            assert!(self.said.read_line(&mut all).unwrap() > 0, "it ended: {all}");
        }
    }

    /// What Ctrl-C does.
    fn interrupt(mut self) {
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        self.reads("the containers run on");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// Runs a block of the README; what it printed.
    fn does(&self, block: &str) -> String {
        let here = self.lab.dir().join("run").display().to_string();
        let block = format!("set -e\n{}", block.replace("target/run", &here));
        run(Command::new("sh").args(["-c", &block]).current_dir(ROOT).env("DOCKER_HOST", self.lab.docker_host()))
    }
}

fn script(lab: &Lab, verb: &str) -> Command {
    let mut command = Command::new(Path::new(ROOT).join("packaging/run.sh"));
    command.arg(verb).env("DOCKER_HOST", lab.docker_host()).env("RUN", lab.dir().join("run"));
    // To build the agent without what its tests depend on would take minutes, here and again after it.
    command.env("AGENT", program());
    command
}

/// The blocks of shell commands of a section.
fn blocks(section: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|it| it.starts_with(section)).unwrap();
    section.split("```sh\n").skip(1).map(|it| it.split("```").next().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs `make engine`"]
fn the_things_to_try_of_the_readme_are_true() {
    let lab = Lab::enter();
    let session = Session::start(&lab);
    let blocks = blocks("Five things to try");
    let [asking, restarting, changing, locking, blinking] = &blocks[..] else { panic!("{} blocks", blocks.len()) };
    let key = asking.lines().take(2).collect::<Vec<_>>().join("\n");
    until(PATIENCE, "the clock has ticked", || session.does("wget -q -O - http://127.0.0.1:8080/time || true").contains("20"));
    let before = lab.containers();

    let said = session.does(asking);
    for words in ["OK", "keeps this page up", "\"activity\":\"settled\"", "\"update_pending\":false"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(session.does(&format!("{key}\n{restarting}")).trim(), "OK");
    let restarted = lab.containers();
    assert!(restarted.iter().all(|it| it.state == "running" && before.iter().all(|old| old.id != it.id)));

    session.does(changing);
    let every = |seconds: &str| {
        let all = lab.containers();
        all.len() == 2
            && all.iter().all(|it| it.state == "running")
            && lab.env(&lab.the("clock").id)["EVERY_SECONDS"] == seconds
    };
    until(PATIENCE, "the change is there, and `web` is back", || every("5"));
    assert_ne!(lab.the("web").id, restarted[1].id);

    let said = session.does(&format!("{key}\n{}", locking.replace("\ncurl", "\nsleep 3\ncurl")));
    assert!(said.contains("app 4848400 is locked by its service clock"), "{said}");
    until(PATIENCE, "the lock is gone and the change is there", || every("2"));
    let said = session.does(&format!("{key}\n{blinking}"));
    assert!(said.contains("identify-led: ") && said.contains("ACT"), "{said}");

    let before = lab.containers();
    session.interrupt();
    assert_eq!(lab.containers(), before, "the containers run on");
    let session = Session::start(&lab);
    assert_eq!(lab.containers(), before, "the same containers are taken over");
    session.interrupt();

    let foreign = lab.docker(&["run", "-d", &lab.image("1")]);
    run(&mut script(&lab, "clean"));
    assert!(lab.containers().is_empty() && !lab.dir().join("run").exists());
    for what in ["network", "volume", "image"] {
        let left = lab.docker(&[what, "ls"]);
        assert!(["4848400", "b0a2dcee9e25a4d1", "supervisor0", "boardkeeper"].iter().all(|it| !left.contains(it)), "{left}");
    }
    assert_eq!(lab.inspect(foreign.trim())["State"]["Running"], true, "what is not ours is left alone");
}
