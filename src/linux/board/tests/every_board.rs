//! What holds for every board that has a file.

use boards::{ALL, Board};

use super::{By, Tree};
use crate::linux::board::{BoardHints, DetectedBoard, DetectedBy, LedChoice, LedLocation, choose_led, detect};

fn on(board: &'static Board, tree: &Tree) -> LedChoice {
    tree.device_tree(board.models[0], &[board.compatible[0]]);
    choose_led(tree.root(), &detect(tree.root(), &BoardHints::default()), None)
}

fn class_of(choice: &LedChoice) -> Option<&str> {
    match &choice.led {
        Some(LedLocation::Class { name, .. }) => Some(name),
        Some(LedLocation::Line { .. }) | None => None,
    }
}

#[test]
fn is_identified_by_its_own_led_under_each_of_its_names() {
    for board in ALL {
        let led = board.identify().expect("every board so far has one");
        for class in led.classes {
            let tree = Tree::new();
            tree.led(class, By::Gpio);
            tree.led("mmc0::", By::CardReader);
            tree.led("act", By::Nic);
            let choice = on(board, &tree);
            assert_eq!((class_of(&choice), choice.described), (Some(*class), Some(led)), "{}: {}", board.id, choice.why);
        }
    }
}

#[test]
fn is_identified_by_the_right_one_of_all_its_leds() {
    for board in ALL {
        let led = board.identify().expect("every board so far has one");
        let generations = board.leds.iter().map(|it| it.classes.len()).max().unwrap_or(0);
        for generation in 0..generations {
            let tree = Tree::new();
            for led in board.leds {
                tree.led(led.classes.get(generation).or(led.classes.last()).unwrap(), By::Gpio);
            }
            let choice = on(board, &tree);
            assert_eq!(choice.described, Some(led), "{}: {}", board.id, choice.why);
            let others: Vec<_> = choice.others.iter().filter_map(|it| it.described).collect();
            assert_eq!(others.len(), board.leds.len() - 1, "{}: the others may be driven when asked for", board.id);
        }
    }
}

#[test]
fn drives_the_line_where_the_kernel_made_no_led_of_it() {
    for board in ALL {
        let led = board.identify().expect("every board so far has one");
        let Some(line) = led.lines.first() else { continue };
        let tree = Tree::new();
        tree.chip(0, "deadbeef.gpio", Some("another"));
        tree.chip(4, line.chip.device, line.chip.label);
        let choice = on(board, &tree);
        let Some(LedLocation::Line { device, offset, polarity, .. }) = choice.led else {
            panic!("{}: {}", board.id, choice.why)
        };
        assert_eq!((device.as_str(), offset, polarity), (line.chip.device, line.offset, line.lit_by));
    }
}

#[test]
fn drives_no_line_of_a_board_that_only_its_image_names() {
    for board in ALL {
        let Some(line) = board.identify().and_then(|led| led.lines.first()) else { continue };
        let tree = Tree::new();
        tree.chip(0, line.chip.device, line.chip.label);
        let detected = DetectedBoard {
            board: Some(board),
            perhaps: Vec::new(),
            how: DetectedBy::DeviceType { slug: "any".to_owned(), from: "the environment".to_owned() },
            model: None,
            compatible: Vec::new(),
            complaint: None,
        };
        assert_eq!(choose_led(tree.root(), &detected, None).led, None, "{}", board.id);
    }
}

#[test]
fn never_blinks_what_is_not_a_led() {
    for board in ALL {
        let tree = Tree::new();
        for name in boards::NEVER_BLINK {
            tree.led(name, By::Gpio);
        }
        let choice = on(board, &tree);
        assert_eq!((choice.led, choice.others), (None, vec![]), "{}", board.id);
        for name in boards::NEVER_BLINK {
            assert!(choice.passed_over.iter().any(|(it, why)| it == name && why.contains("not a LED")), "{}: {name}", board.id);
        }
        let tree = Tree::new();
        tree.led("wl18xx_bt_en", By::Gpio);
        let detected = detect(tree.root(), &BoardHints { board: Some(board.id.to_owned()), ..BoardHints::default() });
        let path = "/sys/class/leds/wl18xx_bt_en/brightness";
        assert_eq!(choose_led(tree.root(), &detected, Some(path)).led, None, "not even when it is asked for");
    }
}

#[test]
fn eats_no_disk() {
    let tree = Tree::new();
    tree.chip(0, "20200000.gpio", Some("pinctrl-bcm2835"));
    let board = Board::by_id("raspberry-pi-compute-module-1").unwrap();
    assert_eq!(board.not_lines[0].offset, 47);
    assert_eq!(on(board, &tree).led, None, "line 47 is EMMC_EN_N");
}
