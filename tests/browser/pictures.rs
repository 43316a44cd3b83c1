//! Pictures of the page, on a phone and a desk, light and dark, in `target/browser`. Two of them are in `docs/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::agent::PATIENCE;
use crate::lab::{Lab, run, until};
use crate::page::{Page, agent};
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make browser`"]
fn pictures_are_taken() {
    let lab = Lab::enter();
    let kept = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/browser"));
    fs::create_dir_all(&kept).unwrap();
    let services = ["camera", "gateway"].map(|it| Service::new(it, &lab.image("1")));
    // Not the name of the machine on which the tests run; the lab's mounts are its own.
    fs::write(lab.dir().join("hostname"), "workshop-7\n").unwrap();
    run(Command::new("mount").arg("--bind").arg(lab.dir().join("hostname")).arg("/etc/hostname"));
    let agent = agent(&lab, &App::new(1411, "5f0e1c2", services.to_vec()));
    let page = Page::logged_in(&lab, &agent);
    page.click("Restart camera");
    page.sees("camera was restarted.");
    page.sees_no_more("camera was restarted.");
    for scheme in ["light", "dark"] {
        page.browser.prefers(scheme);
        for (device, set) in [("phone", true), ("desk", false)] {
            if set {
                page.browser.on_phone();
            } else {
                page.browser.on_desk();
            }
            page.run("scrollTo(0, 0)");
            page.click("Identify");
            until(PATIENCE, "the drawn LED is lit", || page.the("circle.led[data-lit=true]", None).is_some());
            let picture = page.browser.picture();
            assert!(picture.starts_with(b"\x89PNG"), "{device}, {scheme}");
            fs::write(kept.join(format!("{device}-{scheme}.png")), picture).unwrap();
            fs::write(kept.join(format!("{device}-{scheme}-whole.png")), page.browser.whole_picture()).unwrap();
        }
    }
    // A mistake in a script would be a complaint, and so would a part of the page that its policy stops. What the agent answers
    // to a page that has no key yet is none.
    let complaints = page.browser.complaints().into_iter().filter(|it| !it.contains("Failed to load resource"));
    let complaints: Vec<_> = complaints.collect();
    assert_eq!(complaints, Vec::<String>::new());
}
