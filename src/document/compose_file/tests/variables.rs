//! Variables, and the files that hold them.

use super::super::dotenv;
use super::*;

fn filled(text: &str) -> Result<String, String> {
    let env = "SET=set\nEMPTY=\nREF=SET\n";
    let text = format!("services: {{web: {{image: x, hostname: \"{text}\"}}}}");
    let reading = Files::new(&[("compose.yaml", &text), (".env", env)]).read().target;
    reading
        .map(|it| it.apps.into_iter().next().unwrap().1.services.remove("web").unwrap().config.hostname.unwrap_or_default())
        .map_err(|it| it.0)
}

#[test]
fn variables_are_replaced_in_every_form() {
    for (text, expected) in [
        ("$SET-a", "set-a"),
        ("${SET}a", "seta"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-d}", "d"),
        ("${UNSET:-${SET:-x}}", "set"),
        ("${UNSET:-a${UNSET-}b}", "ab"),
        ("${SET:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${UNSET+alt}", ""),
        ("${SET:?no}", "set"),
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("${UNSET:-$$x}", "$x"),
        ("${UNSET:-{a}}", "{a}"),
        ("$UNSET", ""),
    ] {
        assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
    }
    for (text, said) in [
        ("${UNSET:?give one}", "the variable UNSET is required and has no value: give one"),
        ("${EMPTY:?}", "the variable EMPTY is required and has no value"),
        ("${UNSET?x}", "the variable UNSET is required and has no value: x"),
        ("${SET", "`${` has no `}`; write `$$` for a `$`"),
        ("$5", "a `$` that names no variable; write `$$` for a `$`"),
        ("${}", "`${` is not followed by a variable's name"),
        ("${SET!}", "after the variable SET expected `}`, or one of `:-` `-` `:?` `?` `:+` `+`"),
    ] {
        let wrong = filled(text).unwrap_err();
        assert_eq!(wrong, format!("compose.yaml:1:28: {said}"), "{text}");
    }
}

#[test]
fn a_variable_without_a_value_is_warned_of_once() {
    let target = file("services: {web: {image: x, hostname: a$NONE, domainname: $NONE}}").target();
    assert_eq!(target.warnings, ["compose.yaml:1:28: the variable NONE has no value, nothing is put in its place"]);
}

#[test]
fn the_agents_environment_wins_over_the_file_beside() {
    let project =
        Files::new(&[("compose.yaml", "services: {web: {image: '$A:$B', working_dir: $PWD}}"), (".env", "A=file\nB=file")]);
    let web = project.with_agent("A", "agent").service("web");
    assert_eq!(web.image.as_str(), "agent:file");
    assert_eq!(web.config.working_dir.as_deref(), Some("/srv/My App"));
}

#[test]
fn files_of_variables_are_read_as_docker_compose_reads_them() {
    let outer = Environment::from_iter([("HOME".to_owned(), "/root".to_owned())]);
    let text = concat!(
        "\u{feff}# a comment\n",
        "PLAIN = some text # and a comment\r\n",
        "export EXPORTED=1\n",
        "HASH=a#b\n",
        "SINGLE='it is $HOME \\n'  # c\n",
        "DOUBLE=\"a\\tb $HOME \\$x \\\"q\\\"\"\n",
        "LINES=\"one\n",
        "two\"\n",
        "AFTER=$PLAIN/${NONE:-d}\n",
        "EMPTY=\n",
        "COLON: yes\n",
        "NAME_ONLY\n",
        "  INDENTED=1\n",
    );
    let lines = dotenv::read(text, Syntax::Quoted, &outer, 10_000);
    assert_eq!(lines.mistakes, []);
    let expected = [
        ("AFTER", "some text/d"),
        ("COLON", "yes"),
        ("DOUBLE", "a\tb /root $x \"q\""),
        ("EMPTY", ""),
        ("EXPORTED", "1"),
        ("HASH", "a#b"),
        ("INDENTED", "1"),
        ("LINES", "one\ntwo"),
        ("PLAIN", "some text"),
        ("SINGLE", "it is $HOME \\n"),
    ];
    assert_eq!(lines.values.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(lines.names, ["NAME_ONLY"]);
}

#[test]
fn a_mistake_in_such_a_file_names_its_line_and_no_value() {
    let project = Files::new(&[("compose.yaml", "services: {}"), (".env", "A=1\nB=\"hunter2\n")]);
    assert_eq!(project.wrong(), ".env:2: a quote is left open");
    let project = Files::new(&[("compose.yaml", "services: {}"), (".env", "\n\nA=hunter2$\nB C=hunter2\n")]);
    let wrong = project.wrong();
    assert!(wrong.contains(".env:3: a `$` that names no variable") && wrong.contains(".env:4: the name before `=`"), "{wrong}");
    assert!(!wrong.contains("hunter2"), "{wrong}");
}
