//! Services that share a namespace of another service, or of a foreign container.

use insta::{allow_duplicates, assert_snapshot};

use super::model::{story, story_of};
use crate::state::{ContainerId, EngineTime, Namespace};

#[test]
fn who_shares_a_namespace_follows_its_owner() {
    allow_duplicates! { for word in ["shares", "pid-of", "ipc-of"] {
    let target = format!("vpn vpn:1\nweb web:1 {word}:vpn");
    assert_snapshot!(story(&target, "image vpn:1\nimage web:1"), @"
        create network app_default
        create 1/vpn from vpn:1
        start 1/vpn, create 1/web from web:1
        start 1/web
        ");
    let device = format!("vpn vpn:1 running\nweb web:1 running {word}:vpn");
    assert_snapshot!(story(&target, &device), @"");
    let target = format!("vpn vpn:1 env:new\nweb web:1 {word}:vpn");
    assert_snapshot!(story(&target, &device), @"
        create 1/vpn from vpn:1
        create 1/web from web:1
        lock 1 (vpn web)
        kill 1/vpn, kill 1/web
        rename 1/vpn to vpn_1_1_one, start 1/vpn, rename 1/web to web_1_1_one
        start 1/web
        unlock 1
        ");
    }}
}

#[test]
fn one_service_may_share_namespaces_of_two() {
    let target = "db db:1\nvpn vpn:1\nweb web:1 shares:vpn pid-of:db";
    assert_snapshot!(story(target, "image vpn:1\nimage web:1\nimage db:1"), @"
    create network app_default
    create 1/db from db:1, create 1/vpn from vpn:1
    start 1/db, start 1/vpn, create 1/web from web:1
    start 1/web
    ");
    // The other owner is replaced: so is the service that shares with both.
    let device = "db db:1 running\nvpn vpn:1 running\nweb web:1 running shares:vpn pid-of:db";
    let story = story("db db:1 env:new\nvpn vpn:1\nweb web:1 shares:vpn pid-of:db", device);
    assert!(story.contains("kill 1/db, kill 1/web") && !story.contains("kill 1/vpn"), "{story}");
}

#[test]
fn who_shares_ipc_is_restarted_after_its_owner() {
    let device = "vpn vpn:1 running\nweb web:1 running ipc-of:vpn";
    let story = story_of("vpn vpn:1\nweb web:1 ipc-of:vpn", device, |_, current| {
        let web = &mut current.containers[1];
        // An engine reports that the owner started again; the model does not, so the start times are set here.
        (web.started, web.shares_since) = (Some(EngineTime(1)), Some(EngineTime(2)));
        current.locks.insert(super::AppId(1), super::LockState::Held(super::held("web")));
    });
    assert_snapshot!(story, @"… app 1 is locked by its service web (/lock/web)");
}

#[test]
fn who_shares_with_a_container_that_was_created_anew_under_its_name_is_created_anew() {
    let story = story_of("web web:1", "web web:1 running", |_, current| {
        let web = &mut current.containers[0];
        web.shares.insert(Namespace::Network, ContainerId("gone".to_owned()));
        web.is_orphaned = true;
    });
    assert_snapshot!(story, @"
    create 1/web from web:1
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
}
