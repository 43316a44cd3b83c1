//! `x-labels`: labels of the project, which hold for each of its services that has no such label of its own.

use super::*;

const SERVICES: &str = "services:\n  web: {image: x}\n  db: {image: x, labels: [io.boardkeeper.update-window=always]}\n";

fn project(labels: &str) -> Files {
    file(&format!("{SERVICES}x-labels:{labels}\n"))
}

fn windows(files: &Files) -> Vec<(String, String)> {
    let services = files.app().services.into_iter();
    services.map(|(name, it)| (name, it.update_window.map_or_else(String::new, |it| it.text))).collect()
}

fn both(web: &str) -> Vec<(String, String)> {
    [("db", "always"), ("web", web)].map(|(name, window)| (name.to_owned(), window.to_owned())).into()
}

#[test]
fn a_window_of_a_compose_file_counts_for_services_without_one() {
    for labels in [" {io.boardkeeper.update-window: '02:00-04:00'}", " ['io.boardkeeper.update-window=02:00-04:00']"] {
        let project = project(labels);
        assert_eq!(windows(&project), both("02:00-04:00"));
        let (target, plain) = (project.target(), file(SERVICES));
        assert!(target.warnings.is_empty(), "{:?}", target.warnings);
        assert_eq!(project.service("web").config, plain.service("web").config);
        assert_eq!(super::super::super::parse_kept(&target.document, None).unwrap(), target, "after a power cut too");
    }
}

#[test]
fn labels_of_a_compose_file_have_variables_and_are_merged_as_labels_are() {
    let all = Files::new(&[
        ("compose.yaml", &format!("{SERVICES}x-labels: ['io.boardkeeper.update-window=$NIGHT']")),
        (".env", "NIGHT=reboot"),
    ]);
    assert_eq!(windows(&all), both("reboot"));
    let all = Files::new(&[
        ("compose.yaml", &format!("{SERVICES}x-labels: ['io.boardkeeper.update-window=reboot', a=1]")),
        ("compose.override.yaml", "x-labels: {io.boardkeeper.update-window: '01:00-02:00', b: 2}"),
    ]);
    assert_eq!(windows(&all), both("01:00-02:00"));
    assert_eq!(all.target().warnings.len(), 2, "one for `a` and one for `b`");
}

#[test]
fn what_does_not_count_in_x_labels_is_named_with_line_and_column() {
    let of = |labels: &str| project(labels).target().warnings;
    let other = "only labels io.boardkeeper.* count for every service, \"mine\" is ignored";
    assert_eq!(of("\n  mine: {a: 1}"), [format!("compose.yaml:5:3: x-labels.mine: {other}")]);
    assert_eq!(of(" [mine=1]"), [format!("compose.yaml:4:12: x-labels.mine: {other}")]);
    assert_eq!(of(" 7"), ["compose.yaml:4:1: x-labels: neither a map nor a list of labels, ignored"]);
    assert!(of("").is_empty());
    let wrong = project("\n  io.boardkeeper.update-window: nightly").wrong();
    assert!(wrong.starts_with("compose.yaml:5:3: x-labels.io.boardkeeper.update-window: the label"), "{wrong}");
}

#[test]
fn labels_of_an_included_file_do_not_count_and_a_warning_says_so() {
    let all = Files::new(&[
        ("compose.yaml", "include: [more.yaml]\nservices: {web: {image: x}}"),
        ("more.yaml", "services: {more: {image: x}}\nx-labels: {io.boardkeeper.update-window: reboot}"),
    ]);
    assert!(all.app().services.values().all(|it| it.update_window.is_none()));
    let said = "more.yaml:2:1: x-labels: of an included file, ignored; write them into the file that includes it";
    assert_eq!(all.target().warnings, [said]);
}
