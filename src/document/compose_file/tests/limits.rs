//! What would fill the memory is refused.

use std::fmt::Write;

use super::*;

#[test]
fn aliases_cannot_grow_without_end() {
    let mut text = "x-a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        let _ = writeln!(text, "x-{level}: &a{level} [{}]", [before.as_str(); 10].join(", "));
    }
    let wrong = file(&(text + "services: {}")).wrong();
    assert!(wrong.contains("more than 50000 values"), "{wrong}");
}

#[test]
fn variables_cannot_grow_without_end() {
    let mut env = "A0=0123456789\n".to_owned();
    for level in 1..30 {
        let _ = writeln!(env, "A{level}=$A{0}$A{0}", level - 1);
    }
    let wrong = Files::new(&[("compose.yaml", "services: {}"), (".env", &env)]).wrong();
    assert!(wrong.contains("bytes"), "{wrong}");
    let big = format!("A={}\n", "x".repeat(1 << 20));
    let uses = format!("services: {{web: {{image: x, command: [{}]}}}}", ["$A"; 9].join(", "));
    let wrong = Files::new(&[("compose.yaml", &uses), (".env", &big)]).wrong();
    assert!(wrong.contains("bytes with its variables replaced"), "{wrong}");
}

#[test]
fn nesting_is_limited() {
    for text in ["[".repeat(70), "{a: ".repeat(70), "- ".repeat(70), "[".repeat(200_000)] {
        let wrong = file(&format!("services:\n  {text}")).wrong();
        assert!(wrong.contains("deeper than 64") || wrong.contains("not YAML"), "{}", &wrong[..wrong.len().min(300)]);
    }
    let nested = format!("services: {{web: {{image: x, hostname: '{}'}}}}", "${A:-".repeat(20) + &"}".repeat(20));
    assert!(file(&nested).wrong().contains("nested deeper than 16 levels"));
}

#[test]
fn files_are_counted() {
    let names: Vec<_> = (0..70).map(|it| format!("{{path: e{it}, required: false}}")).collect();
    let wrong = file(&format!("services: {{web: {{image: x, env_file: [{}]}}}}", names.join(", "))).wrong();
    assert!(wrong.contains("more than 64 files"), "{wrong}");
}

#[test]
fn a_key_twice_and_an_endless_alias_are_refused() {
    assert_eq!(file("services: {a: {image: x}, a: {image: y}}").wrong(), "compose.yaml:1:27: the key \"a\" is there twice");
    assert!(file("services: &s {a: *s}").wrong().contains("alias"));
    assert_eq!(
        file("services: {}\n---\nservices: {}").wrong(),
        "compose.yaml:2:1: a second document begins here; a compose file holds one"
    );
}
