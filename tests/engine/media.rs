//! A signed target and its images on a medium that is plugged in, with no registry in reach.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, run, until};
use crate::signer::Signer;
use crate::target::{App, Service};

/// A file system in memory that the host takes for a stick, and a host root that says so.
struct Stick {
    root: PathBuf,
    /// Where it is always mounted, so that a test can write on it.
    inside: PathBuf,
    /// Where it is mounted when it is plugged in.
    mounted: PathBuf,
}

impl Stick {
    fn new(lab: &Lab) -> Self {
        let at = |name: &str| lab.dir().join("media").join(name);
        let stick = Self { root: at("root"), inside: at("inside"), mounted: at("my stick") };
        let of_root = ["sys/dev/block", "dev/disk/by-uuid", "tmp"].map(|it| stick.root.join(it));
        for dir in [&stick.inside, &stick.mounted].into_iter().chain(&of_root) {
            fs::create_dir_all(dir).unwrap();
        }
        symlink("/proc", stick.root.join("proc")).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "stick"]).arg(&stick.inside));
        stick
    }

    /// The number of its device, `0:61`.
    fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|it| it.split(' ').nth(4) == self.inside.to_str()).unwrap();
        line.split(' ').nth(2).unwrap().to_owned()
    }

    fn write(&self, signer: &Signer, name: &str, bytes: &[u8], created: &str) {
        fs::write(self.inside.join(name), bytes).unwrap();
        fs::write(self.inside.join(format!("{name}.minisig")), signer.sign(bytes, created)).unwrap();
    }

    fn plug_in(&self) {
        let device = self.root.join("sys/dev/block").join(self.device());
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("removable"), "1\n").unwrap();
        run(Command::new("mount").arg("--bind").args([&self.inside, &self.mounted]));
    }

    fn unplug(&self) {
        fs::remove_dir_all(self.root.join("sys/dev/block").join(self.device())).unwrap();
        run(Command::new("umount").arg(&self.mounted));
    }
}

fn app(commit: &str, image: &str) -> App {
    App::new(71, commit, vec![Service::new("main", image)])
}

fn text(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

#[test]
#[ignore = "needs `make engine`"]
fn a_stick_brings_a_signed_target_and_its_images_and_never_an_older_one() {
    let lab = Lab::enter();
    let (stick, signer) = (Stick::new(&lab), Signer::new(9));
    let images = ["tests/media:1", "tests/media:2"];
    for (image, number) in images.into_iter().zip(1..) {
        lab.load(image, 1);
        let archive = lab.dir().join(format!("media/{number}.tar"));
        lab.docker(&["save", "-o", archive.to_str().unwrap(), image]);
        lab.forget(image);
    }
    let (older, newer) = (app("one", images[0]), app("two", images[1]));
    let with_archive = |app: &App, number: u32| {
        let archive = fs::read(lab.dir().join(format!("media/{number}.tar"))).unwrap();
        stick.write(&signer, "boardkeeper.oci.tar", &archive, "images");
        stick.write(&signer, "boardkeeper.json", &text(&app.v3()), &format!("created:{number}"));
    };
    let root = stick.root.to_str().unwrap();
    let mut agent = Agent::new(&lab).arguments(&["--root", root, "--target-key", &signer.public(), "--target-from-media"]);
    with_archive(&newer, 2);
    agent.start();
    until(PATIENCE, "the agent answers", || agent.answers());
    assert!(lab.containers().is_empty() && !lab.has(images[1]), "it is not plugged in yet");
    stick.plug_in();
    agent.arrives(&newer);

    stick.unplug();
    agent.kill();
    lab.docker(&["rm", "-f", &lab.the("main").id]);
    agent.start();
    agent.arrives(&newer);

    with_archive(&older, 1);
    stick.plug_in();
    agent.says("no older one is taken");
    assert!(!lab.has(images[0]), "its archive is not loaded");
    agent.arrives(&newer);

    // The file is newer than the stick, and its image is in the archive that was loaded.
    let file = app("three", images[1]);
    fs::write(agent.path("target.json.minisig"), signer.sign(&text(&file.v3()), "created:3")).unwrap();
    agent.want(&file.v3());
    agent.arrives(&file);
    stick.unplug();
    run(Command::new("umount").arg(&stick.inside));
}
