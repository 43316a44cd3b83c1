//! Volumes that a target does not name.

use insta::assert_snapshot;

use super::model::{story, story_of};
use crate::state::{Current, Overrides};

#[test]
fn volumes_outlive_the_services_that_used_them() {
    assert_snapshot!(story("web web:1", "web web:1 running\nvolume data"), @"");
}

/// A person asks for a clean-up: of the volumes that it may remove, the target has come to name one.
#[test]
fn a_clean_up_removes_volumes_that_the_target_does_not_name() {
    let device = "web web:1 running volume:data\nvolume data\nvolume old\nvolume other";
    let clean_up = |overrides: &mut Overrides, _: &mut Current| {
        overrides.unused_volumes = ["1_data", "1_old", "2_old"].map(str::to_owned).into();
    };
    assert_snapshot!(story_of("web web:1 volume:data", device, clean_up), @"remove volume 1_old");
}
