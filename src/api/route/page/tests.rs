use super::*;

#[test]
fn only_indentation_comments_and_empty_lines_are_left_out() {
    let (text, length) =
        compact::<96>(b"// A comment.\n  let a = \"// not one\"; // kept\n\n    /* Another. */\n <!-- And that. -->\nb");
    assert_eq!(&text[..length], b"let a = \"// not one\"; // kept\nb");
}

#[test]
fn a_style_sheet_keeps_the_blanks_that_mean_something() {
    let (text, length) = compact_css::<128>(b"/* A comment. */\n.a > .b, .c :focus {\n  margin: 1px auto; color: red; }\n");
    assert_eq!(&text[..length], b".a>.b,.c :focus{margin:1px auto;color:red}");
}

#[test]
fn a_tag_is_that_of_the_contents() {
    // The hash's published examples.
    assert_eq!(&tag(b""), b"\"cbf29ce484222325\"");
    assert_eq!(&tag(b"foobar"), b"\"85944171f73967e8\"");
}

#[test]
fn no_line_of_a_file_goes_on_in_the_next_as_one_text() {
    for source in [
        include_str!("../../../web/app.js"),
        include_str!("../../../web/agent.js"),
        include_str!("../../../web/board.js"),
        include_str!("../../../web/bringup.js"),
        include_str!("../../../web/device.js"),
        include_str!("../../../web/dom.js"),
        include_str!("../../../web/format.js"),
        include_str!("../../../web/history.js"),
        include_str!("../../../web/services.js"),
        include_str!("../../../web/start.js"),
    ] {
        for line in source.lines() {
            assert!(line.matches('`').count() % 2 == 0, "its indentation would be lost: {line}");
            let is_open = line.trim_start().starts_with("/*") && !line.ends_with("*/");
            assert!(!is_open, "a comment of several lines: {line}");
        }
    }
}
