//! The limits of `packaging/budget.txt`.

const BUDGET: &str = include_str!("../../packaging/budget.txt");

/// The limit of this name.
pub(crate) fn limit(name: &str) -> u64 {
    let mut rows = BUDGET.lines().filter_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
    let limit = rows.next().unwrap_or_else(|| panic!("packaging/budget.txt has no `{name}`"));
    assert_eq!(rows.next(), None, "packaging/budget.txt has `{name}` twice");
    limit.trim().parse().unwrap_or_else(|why| panic!("packaging/budget.txt: {name}: {why}"))
}

/// Prints a figure, and fails beyond its limit.
pub(crate) fn hold(name: &str, figure: u64) {
    let limit = limit(name);
    eprintln!("figure: {name}: {figure}, at most {limit}");
    assert!(figure <= limit, "{name}: {figure}, packaging/budget.txt allows {limit}");
}
