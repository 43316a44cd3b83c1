//! docs/configuration.md and docs/leds-and-gpio.md say what the command line says.

use std::collections::BTreeSet;

use boardkeeper::cli::{Cli, CommandError};
use boardkeeper::config::settings::{self, Setting};
use boardkeeper::state::keys::DeviceAction;
use clap::{Command, CommandFactory};

use crate::page::{first_column, pages, quoted, read, table};

const PAGE: &str = "docs/configuration.md";

fn subcommand(name: &str) -> Command {
    Cli::command().find_subcommand(name).unwrap().clone()
}

/// What a help text says after `Exit codes: `, code by code.
fn exit_codes(command: &Command) -> Vec<(String, String)> {
    let help = command.get_after_help().unwrap().to_string();
    let codes = help.split("Exit codes: ").nth(1).unwrap().trim_end_matches('.');
    codes.split("; ").map(|it| it.split_once(' ').unwrap()).map(|(code, words)| (code.to_owned(), words.to_owned())).collect()
}

#[test]
fn every_setting_has_a_row_with_its_variable_and_default() {
    let rows = table(PAGE, "flag");
    for Setting { flag, variable, default, .. } in settings::all() {
        let row = rows.iter().find(|it| it[0] == format!("`{flag}`")).unwrap_or_else(|| panic!("{PAGE} has no row for {flag}"));
        assert_eq!(row[1], format!("`{variable}`"), "{flag}");
        let none = ["none", "off"].contains(&row[2].as_str());
        let words = default.words().map(|it| it.replace('`', ""));
        assert!(
            words.as_ref().map_or(none, |it| *it == row[2].replace('`', "")),
            "{flag}: `{}` differs from {words:?}",
            row[2]
        );
    }
}

#[test]
fn no_flag_is_described_that_is_not_there() {
    let flags: BTreeSet<_> = settings::all().map(|it| it.flag.to_owned()).collect();
    assert_eq!(first_column(PAGE, "flag"), flags);
}

#[test]
fn every_variable_without_a_flag_has_a_row() {
    let help = subcommand("run").get_after_help().unwrap().to_string();
    let lines = help.lines().filter(|it| it.starts_with("  "));
    let named = lines.map(|it| it.trim_start().split("  ").next().unwrap()).flat_map(|it| it.split([',', ' ']));
    let named: BTreeSet<_> = named.filter(|it| it.chars().any(|c| c == '_')).map(str::to_owned).collect();
    assert_eq!(first_column(PAGE, "variable without a flag"), named);
}

#[test]
fn every_verb_of_a_service_key_is_named() {
    let rows = table(PAGE, "flag");
    let row = rows.iter().find(|it| it[0] == "`--service-verbs`").unwrap();
    let named: BTreeSet<_> = quoted(&row[3]).into_iter().filter(|it| *it != "none").collect();
    assert_eq!(named, DeviceAction::ALL.map(DeviceAction::name).into());
}

#[test]
fn exit_codes_are_those_of_the_processes() {
    let codes: Vec<_> =
        table(PAGE, "exit code of `run`, `state`, `history`, `logs`, `key`").into_iter().map(|row| row[0].clone()).collect();
    let wrong = CommandError::Wrong(String::new()).code().to_string();
    let failed = CommandError::Failed(String::new()).code().to_string();
    assert_eq!(codes, ["0".to_owned(), wrong, failed]);
    assert_eq!(codes, exit_codes(&Cli::command()).into_iter().map(|it| it.0).collect::<Vec<_>>());
}

#[test]
fn exit_codes_of_the_bring_up_tool_are_those_of_its_help() {
    let rows = table("docs/leds-and-gpio.md", "exit code of `board`, `led`, `gpio`");
    let rows: Vec<_> = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(rows, exit_codes(&subcommand("led")));
}

/// Between backticks, after `sudo` and a path, and as the first word of a line in a block of shell commands.
#[test]
fn every_subcommand_that_a_page_names_is_there() {
    let cli = Cli::command();
    for path in pages() {
        let page = read(&path);
        for (at, name) in page.match_indices("boardkeeper ") {
            let (before, after) = (&page[..at], &page[at + name.len()..]);
            let in_block = before.matches("```").count() % 2 == 1 && before.ends_with('\n');
            let word: String = after.chars().take_while(|it| it.is_ascii_lowercase() || *it == '-').collect();
            if (in_block || ["`", "/", "sudo "].iter().any(|it| before.ends_with(it)))
                && word.starts_with(|it: char| it.is_ascii_lowercase())
            {
                assert!(cli.find_subcommand(&word).is_some(), "{path}: boardkeeper {word}");
            }
        }
    }
}
