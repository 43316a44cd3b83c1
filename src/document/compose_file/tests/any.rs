//! Texts that were made by chance.

use proptest::prelude::*;

use super::*;

const PARTS: [&str; 40] = [
    "services:",
    "\n",
    "\n  ",
    "\n    ",
    "web:",
    "image: x",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ": ",
    ", ",
    "&a ",
    "*a",
    "<<: ",
    "\"",
    "'",
    "$A",
    "${A:-b}",
    "${",
    "}",
    "extends: web",
    "include: ",
    "compose.yaml",
    "env_file: e",
    "volumes:",
    "./a:/b",
    "ports:",
    "80:80",
    "secrets:",
    "s",
    "networks:",
    "deploy:",
    "environment:",
    "A=1",
    "!reset ",
    "|",
    ">",
    "# c",
];

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let reading = Files::new(&[("compose.yaml", &text), (".env", &text), ("e", &text)]).read();
        prop_assert!(reading.files.len() <= 65);
    }

    #[test]
    fn any_parts_are_read_or_refused(parts in proptest::collection::vec(0..PARTS.len(), 0..60)) {
        let text: String = parts.iter().map(|it| PARTS[*it]).collect();
        let text = format!("services:\n  web:\n    image: x\n{text}");
        let reading = Files::new(&[("compose.yaml", &text), (".env", &text), ("e", &text), ("s", "hunter2")]).read();
        if let Ok(target) = reading.target {
            prop_assert_eq!(&super::super::super::parse_kept(&target.document, None).unwrap().apps, &target.apps);
        }
    }
}
