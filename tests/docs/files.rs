//! What the documentation says of files: packages, mounts, targets, tests and the map of the source.

use std::collections::BTreeSet;

use boardkeeper::api::metric_families;

use crate::page::{first_column, names, pages, quoted, read, root, rust_files, sources, table};

#[test]
fn packaged_files_are_installed_where_the_page_says() {
    let script = read("packaging/deb.sh");
    for row in table("docs/install.md", "file") {
        let line = format!("file $packaged/{} {}", quoted(&row[0])[0], quoted(&row[1])[0].trim_start_matches('/'));
        assert!(script.contains(&line), "packaging/deb.sh does not say `{line}`");
    }
}

#[test]
fn the_container_has_the_mounts_that_its_table_explains() {
    let page = read("docs/install.md");
    let command = page.split("docker run").nth(1).unwrap().split("```").next().unwrap();
    let tested = read("tests/lab/container.sh");
    let explained = first_column("docs/install.md", "mount");
    for mount in command.split("-v ").skip(1).map(|it| it.split_whitespace().next().unwrap()) {
        let (from, to) = mount.split_once(':').unwrap();
        assert!(explained.contains(from), "{from} is mounted and not explained");
        assert!(tested.contains(&format!(":{to}")), "tests/lab/container.sh mounts nothing at {to}");
    }
}

#[test]
fn targets_and_budgets_are_those_of_the_release() {
    let rows = table("docs/releasing.md", "target");
    let budgets = read("packaging/budget.txt");
    let budgets = budgets.lines().filter_map(|it| it.split_once(' ')).filter(|(name, _)| name.contains("-linux-"));
    let budgets: BTreeSet<_> = budgets.map(|(target, bytes)| (target.to_owned(), bytes.trim().to_owned())).collect();
    let said: BTreeSet<_> = rows.iter().map(|row| (quoted(&row[0])[0].to_owned(), row[3].replace(',', ""))).collect();
    assert_eq!(said, budgets);
    let script = read("packaging/deb.sh");
    for row in rows.iter().filter(|row| !row[2].is_empty()) {
        let line = format!("{}) echo {} ;;", quoted(&row[2]).join(" | "), quoted(&row[0])[0]);
        assert!(script.contains(&line), "packaging/deb.sh does not say `{line}`");
    }
}

#[test]
fn every_limit_of_the_budget_is_held_by_a_test() {
    let budget = read("packaging/budget.txt");
    let rows = budget.lines().filter(|it| !it.is_empty() && !it.starts_with('#'));
    let names: Vec<_> = rows.map(|it| it.split_once(' ').unwrap().0).filter(|it| !it.contains("-linux-")).collect();
    let tests = rust_files("tests").concat();
    for name in &names {
        assert!(tests.contains(&format!("\"{name}\"")), "no test holds {name} of packaging/budget.txt");
    }
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn every_directory_of_tests_is_explained() {
    let said = first_column("docs/testing.md", "directory");
    let said: BTreeSet<_> = said.into_iter().filter_map(|it| it.strip_prefix("tests/").map(str::to_owned)).collect();
    let there = names("tests").into_iter().filter(|it| root().join("tests").join(it).is_dir());
    assert_eq!(said, there.collect());
}

#[test]
fn every_module_is_on_the_map() {
    let map = first_column("docs/architecture.md", "path");
    for path in &map {
        assert!(root().join(path).exists(), "docs/architecture.md: there is no {path}");
    }
    let modules = read("src/lib.rs");
    for module in modules.lines().filter_map(|it| it.strip_prefix("pub mod ")).map(|it| it.trim_end_matches(';')) {
        let there = map.contains(&format!("src/{module}.rs")) || map.contains(&format!("src/{module}/"));
        assert!(there, "docs/architecture.md: the map lacks src/{module}");
    }
}

#[test]
fn the_glossary_is_short_and_in_order() {
    let terms: Vec<_> = table("docs/architecture.md", "term").into_iter().map(|row| row[0].clone()).collect();
    assert!(terms.len() <= 40, "{} terms", terms.len());
    assert!(terms.is_sorted_by(|a, b| a.to_lowercase() < b.to_lowercase()), "{terms:?}");
}

#[test]
fn the_readme_counts_the_boards() {
    let count = boards::ALL.len();
    assert!(read("README.md").contains(&format!("\n{count} boards are described")), "there are {count} boards");
    assert!(read("docs/CHANGELOG.md").contains(&format!("{count} described boards")), "there are {count} boards");
}

#[test]
fn the_changelog_has_the_version_of_the_crate() {
    let changes = read("docs/CHANGELOG.md");
    assert!(changes.contains(&format!("\n## {}", env!("CARGO_PKG_VERSION"))), "{}", env!("CARGO_PKG_VERSION"));
}

#[test]
fn packages_are_named_with_the_version_of_the_crate() {
    for path in pages() {
        for named in read(&path).split("boardkeeper_").skip(1) {
            // Metrics begin so too.
            if metric_families().iter().any(|it| format!("boardkeeper_{named}").starts_with(it.name)) {
                continue;
            }
            assert!(named.starts_with(concat!(env!("CARGO_PKG_VERSION"), "_")), "{path}: boardkeeper_{named:.12}");
        }
    }
}

/// A page may say what a constant of the source is that no table has.
#[test]
fn figures_in_sentences_are_those_of_the_source() {
    let sources = sources();
    let declared = |text: &str| sources.iter().any(|it| it.contains(text));
    assert!(declared("HELD_SECS: i64 = 60;") && declared("HELD_MOST_SECS: i64 = 60 * 60;"));
    assert!(read("docs/leds-and-gpio.md").contains("\nfor 60 s, or for `seconds`, up to 3600."));
}
