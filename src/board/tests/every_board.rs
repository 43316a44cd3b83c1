//! What holds for every board that has a file.

use std::path::Path;

use boards::{ALL, Board};

use crate::board::{
    AvailableLeds, BoardEvidence, DetectedBoard, DetectedBy, KernelChip, KernelLed, LedChoice, LedFunction, LedLocation,
    choose_led, recognise,
};

/// The LEDs and chips of a kernel.
#[derive(Default)]
struct Kernel(AvailableLeds);

impl Kernel {
    /// A LED of `leds-gpio`, or of a device that uses it for itself.
    fn led(&mut self, name: &str, owner: Option<LedFunction>) {
        let dir = Path::new("/sys/class/leds").join(name);
        let driver = owner.is_none().then(|| "leds-gpio".to_owned());
        self.0.leds.push(KernelLed { name: name.to_owned(), dir, driver, owner, ..KernelLed::default() });
    }

    fn chip(&mut self, device: &str, label: Option<&str>) {
        self.0.chips.push(KernelChip { device: device.to_owned(), label: label.map(str::to_owned) });
    }
}

fn on(board: &'static Board, kernel: &Kernel) -> LedChoice {
    let (model, compatible) = (Some(board.models[0].to_owned()), vec![board.compatible[0].to_owned()]);
    choose_led(&recognise(BoardEvidence { model, compatible, ..BoardEvidence::default() }), None, &kernel.0)
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
            let mut kernel = Kernel::default();
            kernel.led(class, None);
            kernel.led("mmc0::", Some(LedFunction::Storage));
            kernel.led("act", Some(LedFunction::Network));
            let choice = on(board, &kernel);
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
            let mut kernel = Kernel::default();
            for led in board.leds {
                kernel.led(led.classes.get(generation).or(led.classes.last()).unwrap(), None);
            }
            let choice = on(board, &kernel);
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
        let mut kernel = Kernel::default();
        kernel.chip("deadbeef.gpio", Some("another"));
        kernel.chip(line.chip.device, line.chip.label);
        let choice = on(board, &kernel);
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
        let mut kernel = Kernel::default();
        kernel.chip(line.chip.device, line.chip.label);
        let detected = DetectedBoard {
            board: Some(board),
            perhaps: Vec::new(),
            how: DetectedBy::DeviceType { slug: "any".to_owned(), from: "the environment".to_owned() },
            model: None,
            compatible: Vec::new(),
            complaint: None,
        };
        assert_eq!(choose_led(&detected, None, &kernel.0).led, None, "{}", board.id);
    }
}

#[test]
fn leaves_lines_to_its_owner_only_where_the_board_says_which_it_is() {
    let kernel = Kernel::default();
    let names = |id: &str| {
        let choice = on(Board::by_id(id).unwrap(), &kernel);
        choice.free_lines.iter().map(|line| line.pin.name).collect::<Vec<_>>()
    };
    assert_eq!(names("raspberry-pi-1-model-b"), ["GPIO17", "GPIO22", "GPIO23", "GPIO24", "GPIO25"]);
    assert!(names("raspberry-pi-5").contains(&"GPIO5") && names("beaglebone-black").contains(&"P9_12"));
    assert_eq!(names("raspberry-pi-compute-module-4"), [""; 0], "the carrier has the headers");
    for board in ALL {
        let detected = DetectedBoard {
            board: Some(board),
            perhaps: Vec::new(),
            how: DetectedBy::DeviceType { slug: "raspberrypi4-64".to_owned(), from: "the image".to_owned() },
            model: None,
            compatible: Vec::new(),
            complaint: None,
        };
        assert_eq!(choose_led(&detected, None, &kernel.0).free_lines, [], "{}", board.id);
    }
}

#[test]
fn a_line_of_another_name_is_another_line() {
    let line = on(Board::by_id("beaglebone-black").unwrap(), &Kernel::default()).free_lines[2];
    assert_eq!(line.pin.name, "P8_11");
    assert!(line.may_be_called(None) && line.may_be_called(Some("P8_11")) && line.may_be_called(Some("P8_11 [gpmc_ad13]")));
    assert!(!line.may_be_called(Some("P8_110")) && !line.may_be_called(Some("[mmc1_dat1]")) && !line.may_be_called(Some("")));
}

#[test]
fn never_blinks_what_is_not_a_led() {
    for board in ALL {
        let mut kernel = Kernel::default();
        for name in boards::NEVER_BLINK {
            kernel.led(name, None);
        }
        let choice = on(board, &kernel);
        assert_eq!((choice.led, choice.others), (None, vec![]), "{}", board.id);
        for name in boards::NEVER_BLINK {
            assert!(choice.passed_over.iter().any(|(it, why)| it == name && why.contains("not a LED")), "{}: {name}", board.id);
        }
        let mut kernel = Kernel::default();
        kernel.led("wl18xx_bt_en", None);
        let detected = recognise(BoardEvidence { configured: Some(board.id.to_owned()), ..BoardEvidence::default() });
        let path = "/sys/class/leds/wl18xx_bt_en/brightness";
        assert_eq!(choose_led(&detected, Some(path), &kernel.0).led, None, "not even when it is asked for");
    }
}

#[test]
fn eats_no_disk() {
    let mut kernel = Kernel::default();
    kernel.chip("20200000.gpio", Some("pinctrl-bcm2835"));
    let board = Board::by_id("raspberry-pi-compute-module-1").unwrap();
    assert_eq!(board.not_lines[0].offset, 47);
    assert_eq!(on(board, &kernel).led, None, "line 47 is EMMC_EN_N");
}
