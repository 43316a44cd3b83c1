//! What an open page costs an agent that has nothing to do.

use crate::agent::Agent;
use crate::lab::{Lab, pause};
use crate::page::{Page, agent};
use crate::proc;
use crate::target::{App, Service};

/// How long the agent is watched, in seconds.
const WATCHED: u64 = 60;

fn wake_ups_a_minute(agent: &Agent<'_>) -> u64 {
    let before = proc::wake_ups(agent.pid());
    pause(WATCHED * 1000);
    // A thread that ended meanwhile takes its count with it.
    proc::wake_ups(agent.pid()).saturating_sub(before) * 60 / WATCHED
}

#[test]
#[ignore = "needs `make browser`"]
fn an_open_page_wakes_the_agent_less_than_once_a_second() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1412, "c1", vec![Service::new("main", &lab.image("1"))]));
    // What a start leaves to do is done.
    pause(10_000);
    let without = wake_ups_a_minute(&agent);
    let page = Page::logged_in(&lab, &agent);
    pause(5_000);
    let with = wake_ups_a_minute(&agent);
    eprintln!("figure: {without} wake-ups a minute without a page, {with} with one");
    assert!(with < without + 60, "{without} wake-ups a minute without a page, {with} with one");
    assert!(page.shows("Connected"), "{}", page.text());
}
