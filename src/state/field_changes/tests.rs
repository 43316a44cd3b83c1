use super::*;

fn variables(pairs: &[(&str, &str)]) -> SortedMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_of_variables_that_may_be_secrets_are_masked() {
    let before = variables(&[("DB_PASSWORD", "x"), ("MODE", "a"), ("URL", "https://me:secret@host/x"), ("GONE", "1")]);
    let now = variables(&[("DB_PASSWORD", "y"), ("MODE", "b"), ("URL", "https://host/x@y"), ("apiKey", "z")]);
    let shown: Vec<_> = variable_changes("env", &before, &now).map(|it| it.to_string()).collect();
    assert_eq!(
        shown,
        [
            "env DB_PASSWORD: `••••` became `••••`",
            "env GONE: `1` is gone",
            "env MODE: `a` became `b`",
            "env URL: `••••` became `https://host/x@y`",
            "env apiKey: `••••` is new",
        ]
    );
}

#[test]
fn long_values_are_cut() {
    assert_eq!(shown(&"ä".repeat(1000)).chars().count(), VALUE_CHARS + 1);
}
