//! docs/target-state.md says what becomes of each setting of a target.

use std::collections::BTreeSet;

use boardkeeper::state::variable::{CONFIG_VARIABLES, VariableEffect};

use crate::page::{quoted, table};

#[test]
fn every_setting_of_a_target_is_described_as_it_is_treated() {
    let mut described = BTreeSet::new();
    for row in table("docs/target-state.md", "setting") {
        for name in quoted(&row[0]) {
            let name = name.trim_end_matches('*').to_owned();
            let variable =
                CONFIG_VARIABLES.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name}: there is none"));
            let ignored = row[1].strip_prefix("ignored: ");
            match variable.effect {
                VariableEffect::Obeyed => assert_eq!(ignored, None, "{name}"),
                VariableEffect::Ignored(why) => {
                    let words = ignored.unwrap_or_else(|| panic!("{name} is ignored"));
                    // A page says "they" of several.
                    let same = words.replace("they are", "it is");
                    assert!(why.starts_with(same.as_str()), "{name}: `{words}` and `{why}`");
                }
            }
            assert!(described.insert(name), "twice");
        }
    }
    let known: BTreeSet<_> = CONFIG_VARIABLES.iter().map(|it| it.name.to_owned()).collect();
    assert_eq!(described, known);
}
