//! The engine on port 2375, in local mode: docker's command line as a computer of the board's network.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, run, until};
use crate::target::{App, Service};

/// A computer on a network with the board.
struct Computer {
    /// A process in its network namespace.
    child: Child,
}

impl Computer {
    /// One at 10.77.0.2, with the board at 10.77.0.1.
    fn start() -> Self {
        let mut child = Command::new("unshare");
        child.args(["--net", "sh", "-c", "echo up; exec sleep 3600"]).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        // It is in its namespace when it says so.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let computer = Self { child };
        let pid = computer.child.id().to_string();
        run(Command::new("ip").args(["link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", &pid]));
        run(Command::new("ip").args(["address", "add", "10.77.0.1/24", "dev", "lan0"]));
        run(Command::new("ip").args(["link", "set", "lan0", "up"]));
        for line in ["address add 10.77.0.2/24 dev lan1", "link set lan1 up", "link set lo up"] {
            run(computer.command("ip").args(line.split(' ')));
        }
        computer
    }

    /// A program that runs there.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.child.id())).arg(program);
        command
    }

    /// docker's command line, for the board's engine.
    fn docker(&self, args: &[&str]) -> Command {
        let mut command = self.command("docker");
        command.args(["-H", "tcp://10.77.0.1:2375"]).args(args).env_remove("DOCKER_HOST").env("DOCKER_BUILDKIT", "0");
        command
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        // Both ends go with the namespace, whatever a test left there.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("ip").args(["link", "delete", "lan0"]).stderr(Stdio::null()).status();
    }
}

fn local_engine(agent: &Agent<'_>) -> Value {
    agent.state()["local_engine"].clone()
}

/// The app, in local mode or not.
fn app(image: &str, local_mode: &str) -> App {
    App::new(120, "c1", vec![Service::new("main", image)]).config("SUPERVISOR_LOCAL_MODE", local_mode)
}

#[test]
#[ignore = "needs `make engine`"]
fn a_computer_of_the_named_network_uses_the_engine_while_local_mode_is_on() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let mut agent = Agent::new(&lab).arguments(&["--local-engine", "10.0.0.0/8"]);
    agent.want(&app(&image, "false").v3());
    agent.start();
    agent.arrives(&app(&image, "false"));
    let computer = Computer::start();
    assert_eq!(local_engine(&agent)["open"], false);
    assert!(!computer.docker(&["info"]).output().unwrap().status.success());

    agent.want(&app(&image, "true").v3());
    until(PATIENCE, "the engine is forwarded", || local_engine(&agent)["open"] == true);
    // The bridge at 10.114.104.1 is in the named network, and is a container network.
    assert_eq!(local_engine(&agent)["listens"], serde_json::json!(["10.77.0.1:2375"]));

    // A long body, and a long answer.
    let context = agent.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("big"), vec![7; 32 * 1024 * 1024]).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM {image}\nCOPY big /big\nRUN wc -c < /big > /size\n")).unwrap();
    run(computer.docker(&["build", "-t", "tests/built", context.to_str().unwrap()]).stderr(Stdio::null()));
    // `run -i` upgrades its connection, ends its input and still reads.
    let mut counts = computer.docker(&["run", "--rm", "-i", "tests/built", "sh", "-c", "cat /size; wc -c"]);
    let mut counts = counts.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    counts.stdin.take().unwrap().write_all(&vec![b'x'; 1_000_000]).unwrap();
    let mut said = String::new();
    counts.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["33554432", "1000000"]);
    assert!(counts.wait().unwrap().success());
    // The owner's app stands still in local mode.
    let main = run(&mut computer.docker(&["run", "-d", &image])).trim().to_owned();
    assert_eq!(run(&mut computer.docker(&["exec", &main, "echo", "hello"])), "hello\n");

    // Neither a browser there, nor a container, nor the board itself.
    let status = |it: &mut Command| run(it.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "9"]));
    let curl = |headers: &[&str]| {
        let mut curl = computer.command("curl");
        curl.args(headers.iter().flat_map(|it| ["-H", it])).arg("http://10.77.0.1:2375/_ping");
        status(&mut curl)
    };
    assert_eq!(curl(&[]), "200");
    assert_eq!(curl(&["Origin: http://evil.example"]), "403");
    assert_eq!(curl(&["Accept-Language: en"]), "403");
    assert_eq!(curl(&["Host: evil.example"]), "403");
    let inside = lab.inside(&main, &["sh", "-c", "wget -T 5 -q -O - http://10.77.0.1:2375/_ping 2>&1 || echo no"]);
    assert!(inside.contains("no") && !inside.contains("OK"), "{inside}");
    let here = Command::new("curl").args(["-s", "--max-time", "9", "http://10.77.0.1:2375/_ping"]).output().unwrap();
    assert!(here.stdout.is_empty());

    // An address that comes is followed.
    run(Command::new("ip").args(["address", "add", "10.78.0.1/24", "dev", "lan0"]));
    until(PATIENCE, "the new address is listened on", || local_engine(&agent)["listens"].as_array().unwrap().len() == 2);
    run(Command::new("ip").args(["address", "delete", "10.78.0.1/24", "dev", "lan0"]));
    until(PATIENCE, "it is not any more", || local_engine(&agent)["listens"].as_array().unwrap().len() == 1);

    // What is open when local mode ends is closed.
    let mut runs = computer.docker(&["exec", &main, "sh", "-c", "echo up; sleep 3600"]);
    let mut runs = runs.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(runs.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    agent.want(&app(&image, "false").v3());
    until(PATIENCE, "the port is closed", || local_engine(&agent)["open"] == false);
    until(PATIENCE, "the connection has ended", || runs.try_wait().unwrap().is_some());
    assert!(!computer.docker(&["info"]).output().unwrap().status.success());
    let log = agent.whole_log();
    assert!(
        log.contains("every computer there can become root on this board") && log.contains("local mode has ended"),
        "{log}"
    );
    lab.docker(&["rm", "-f", &main]);
    agent.arrives(&app(&image, "false"));
}
