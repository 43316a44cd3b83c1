//! `GET /metrics` of an agent that works.

use crate::agent::{Agent, KEY, PATIENCE};
use crate::http;
use crate::lab::{Lab, pause, until};
use crate::promtool;
use crate::target::{App, Service};

/// A scrape, in the format that is accepted.
fn scrape(agent: &Agent<'_>, accept: &str) -> String {
    let key = format!("Bearer {KEY}");
    let reply = http::tcp(agent.port(), "GET", "/metrics", &[("Authorization", &key), ("Accept", accept)], "").unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// The value of a sample; 0 if there is none.
fn value(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|it| it.strip_prefix(&format!("boardkeeper_{sample} ")));
    found.map_or(0.0, |it| it.parse().unwrap())
}

#[test]
#[ignore = "needs `make engine`"]
fn counters_grow_with_an_update_and_a_restart_by_the_engine() {
    let lab = Lab::enter();
    let app = |commit, image: &str| App::new(530, commit, vec![Service::new("main", image)]);
    let agent = Agent::with(&lab, &app("c1", &lab.image("1")));
    let done = |action, object| format!("actions_total{{action=\"{action}\",object=\"{object}\",result=\"done\"}}");
    let before = scrape(&agent, "text/plain");
    for (sample, expected) in [
        ("engine_up", 1.0),
        ("target_accepted", 1.0),
        ("activity{state=\"settled\"}", 1.0),
        ("service_running{app_id=\"530\",service=\"main\"}", 1.0),
        (done("create", "container").as_str(), 1.0),
        (done("start", "container").as_str(), 1.0),
        (done("pull", "image").as_str(), 0.0),
    ] {
        assert!((value(&before, sample) - expected).abs() < 0.1, "{sample} in\n{before}");
    }
    for purpose in ["identity", "keys", "targets"] {
        for metric in ["flash_written_bytes_total", "flash_syncs_total"] {
            assert!(value(&before, &format!("{metric}{{purpose=\"{purpose}\"}}")) > 0.0, "{metric} {purpose} in\n{before}");
        }
    }
    assert!(value(&before, "resident_memory_bytes") > 1e6 && value(&before, "cpu_seconds_total") > 0.0, "{before}");
    assert!(value(&before, "flash_projected_year_bytes") > 365.0 && value(&before, "api_connections") > 0.9, "{before}");

    let next = app("c2", &lab.remote("metrics", 1));
    agent.want(&next.v3());
    agent.arrives(&next);
    let after = scrape(&agent, "text/plain");
    for (action, object) in [("pull", "image"), ("create", "container"), ("start", "container"), ("remove", "container")] {
        let sample = done(action, object);
        assert!((value(&after, &sample) - value(&before, &sample) - 1.0).abs() < 0.1, "{sample} in\n{after}");
        let time = format!("action_duration_seconds_sum{{action=\"{action}\",object=\"{object}\"}}");
        assert!(value(&after, &time) > value(&before, &time), "{time} in\n{after}");
    }
    let targets = "flash_written_bytes_total{purpose=\"targets\"}";
    assert!(value(&after, targets) > value(&before, targets), "{after}");
    assert!(value(&after, "cpu_seconds_total") > value(&before, "cpu_seconds_total"), "{after}");

    // The agent may see the container between its end and its start, and be the one that starts it.
    let restarts = |text: &str| {
        let by = |who| value(text, &format!("container_restarts_total{{app_id=\"530\",service=\"main\",by=\"{who}\"}}"));
        by("engine") + by("agent")
    };
    let counted = restarts(&scrape(&agent, "text/plain"));
    until(PATIENCE, "a restart is counted", || {
        // One between two looks of the agent at its own start is none to it.
        lab.docker(&["restart", "--time", "0", &lab.the("main").id]);
        pause(1000);
        restarts(&scrape(&agent, "text/plain")) > counted + 0.9
    });
    let open = scrape(&agent, "application/openmetrics-text; version=1.0.0");
    assert!(open.contains("\n# TYPE boardkeeper_container_restarts counter\n") && open.ends_with("\n# EOF\n"), "{open}");
    promtool::reads(&scrape(&agent, "text/plain"), &open);
}
