//! What holds for every page: its length, its words, its links and its commands.

use std::collections::BTreeSet;
use std::path::Path;

use crate::page::{pages, read, root};

/// Words without an actor, in prose that says what an actor does.
const VAGUE: [(&str, &str); 5] = [("who", "ever"), ("no", "body"), ("some", "body"), ("is ", "told"), ("of ", "theirs")];

#[test]
fn the_readme_is_a_page() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "README.md has {lines} lines");
}

#[test]
fn sentences_name_who_acts() {
    for path in pages() {
        for (number, line) in read(&path).lines().enumerate() {
            let line = line.to_lowercase();
            let vague = VAGUE.iter().map(|(a, b)| format!("{a}{b}")).find(|it| line.contains(it.as_str()));
            assert_eq!(vague, None, "{path}:{}", number + 1);
        }
    }
}

/// The target of each link: `](target)`.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](").skip(1).filter_map(|it| it.split(')').next())
}

/// The anchors that a page's headings have.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|it| it.starts_with('#')).map(|it| it.trim_start_matches('#').trim().to_lowercase());
    let plain = |it: String| it.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c)).collect::<String>();
    headings.map(plain).map(|it| it.replace(' ', "-")).collect()
}

#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let page = read(&path);
        for link in links(&page).filter(|it| !it.starts_with("http")) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let from = Path::new(&path).parent().unwrap();
            let to = if file.is_empty() { Path::new(&path).to_path_buf() } else { from.join(file) };
            assert!(root().join(&to).exists(), "{path}: {link}");
            let Some(anchor) = anchor else { continue };
            let there = anchors(&read(to.to_str().unwrap()));
            assert!(there.contains(anchor), "{path}: {link}; there are {there:?}");
        }
    }
}

#[test]
fn every_page_is_linked_from_the_readme() {
    let readme = read("README.md");
    for path in pages().iter().filter(|it| *it != "README.md") {
        assert!(readme.contains(&format!("]({path})")), "{path}");
    }
}

#[test]
fn every_make_target_that_a_page_names_is_there() {
    let makefile = read("Makefile");
    let targets: BTreeSet<_> = makefile.lines().filter(|it| it.contains(": ")).filter_map(|it| it.split(':').next()).collect();
    for path in pages() {
        let page = read(&path);
        for prefix in ["`make ", "$ make "] {
            for command in page.split(prefix).skip(1) {
                let command = command.split(['`', '\n', '#']).next().unwrap();
                for word in command.split_whitespace().take_while(|it| !it.contains('=')) {
                    assert!(targets.contains(word), "{path}: make {word}");
                }
            }
        }
    }
}
