//! Real boards and kernels, and the LED that blinks on each.

use boards::Polarity;

use super::{By, Tree};
use crate::board::{BoardHints, LedChoice, LedLocation, choose_led};
use crate::linux::board::{detect, read_leds};

/// A board, a kernel, and the expected choice.
struct Layout {
    /// Name of the case.
    what: &'static str,
    /// The device tree's model, and the first entries of its `compatible`, with spaces between them.
    board: (&'static str, &'static str),
    leds: &'static [(&'static str, By)],
    /// Devices that own GPIO chips, and their labels.
    chips: &'static [(&'static str, &'static str)],
    led_file: Option<&'static str>,
    want: Want,
}

#[derive(Debug, PartialEq)]
enum Want {
    Led(&'static str),
    Line(&'static str, u32, Polarity),
    Nothing,
}

use By::{
    CardReader, Charger, Gpio, GpioReadOnly, I2cChip, Keyboard, Nic, Nobody, PciNic, Phy, Program, Pwm, PwmMulticolour,
    SdioRadio,
};
use Want::{Led, Line, Nothing};

const PI_1: (&str, &str) = ("Raspberry Pi Model B Rev 2", "raspberrypi,model-b");
const PI_ZERO: (&str, &str) = ("Raspberry Pi Zero Rev 1.3", "raspberrypi,model-zero");
const PI_3: (&str, &str) = ("Raspberry Pi 3 Model B Rev 1.2", "raspberrypi,3-model-b");
const PI_3_PLUS: (&str, &str) = ("Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus");
const PI_4: (&str, &str) = ("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b");
const PI_400: (&str, &str) = ("Raspberry Pi 400 Rev 1.0", "raspberrypi,400");
const PI_5: (&str, &str) = ("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b");
const CM_1: (&str, &str) = ("Raspberry Pi Compute Module Rev 1.0", "raspberrypi,compute-module");
const CM_3: (&str, &str) = ("Raspberry Pi Compute Module 3 Rev 1.0", "raspberrypi,3-compute-module");
const CM_4: (&str, &str) = ("Raspberry Pi Compute Module 4 Rev 1.0", "raspberrypi,4-compute-module");
const WHITE: (&str, &str) = ("TI AM335x BeagleBone", "ti,am335x-bone");
const BLACK: (&str, &str) = ("TI AM335x BeagleBone Black", "ti,am335x-bone-black");
const BLACK_WIRELESS: (&str, &str) = ("TI AM335x BeagleBone Black Wireless", "ti,am335x-bone-black-wireless");
const BLUE: (&str, &str) = ("TI AM335x BeagleBone Blue", "ti,am335x-bone-blue");
const CLONE: (&str, &str) = ("SanCloud BeagleBone Enhanced", "sancloud,am335x-boneenhanced ti,am335x-bone-black");
const POCKET_2: (&str, &str) = ("BeagleBoard.org PocketBeagle2", "beagle,am62-pocketbeagle2");
const AI_64: (&str, &str) = ("BeagleBoard.org BeagleBone AI-64", "beagle,j721e-beagleboneai64");
const PLAY: (&str, &str) = ("BeagleBoard.org BeaglePlay", "beagle,am625-beagleplay");
const Y_AI: (&str, &str) = ("BeagleBoard.org BeagleY-AI", "beagle,am67a-beagley-ai");
const UNKNOWN: (&str, &str) = ("Acme Gateway", "acme,gateway");

const LED0: Option<&str> = Some("/sys/class/leds/led0/brightness");
const USR3: Option<&str> = Some("/sys/class/leds/beaglebone:green:usr3/brightness");

const fn layout(
    what: &'static str,
    board: (&'static str, &'static str),
    leds: &'static [(&'static str, By)],
    want: Want,
) -> Layout {
    Layout { what, board, leds, chips: &[], led_file: None, want }
}

const MMC: (&str, By) = ("mmc0::", CardReader);
const RED: (&str, By) = ("PWR", Gpio);

const LAYOUTS: &[Layout] = &[
    // Raspberry Pi.
    layout("1 B, before Linux 6.1", PI_1, &[("led0", Gpio)], Led("led0")),
    layout("1 B, mainline", PI_1, &[("ACT", Gpio), MMC], Led("ACT")),
    Layout { led_file: LED0, ..layout("1 B, image as old as its kernel", PI_1, &[("led0", Gpio)], Led("led0")) },
    layout("Zero, mainline, where lit is dark", PI_ZERO, &[("ACT", Gpio)], Led("ACT")),
    layout("3 B, vendor", PI_3, &[("ACT", Gpio), RED, MMC, ("default-on", Nic)], Led("ACT")),
    layout("3 B, mainline, without a red one", PI_3, &[("ACT", Gpio), MMC], Led("ACT")),
    layout("3 B, emulated, without the firmware that has the LEDs", PI_3, &[MMC], Nothing),
    Layout {
        chips: &[("3f200000.gpio", "pinctrl-bcm2835"), ("soc:firmware:gpio", "raspberrypi-exp-gpio")],
        ..layout("3 B, mainline without leds-gpio", PI_3, &[], Line("soc:firmware:gpio", 2, Polarity::ActiveHigh))
    },
    Layout {
        chips: &[("soc:firmware:expgpio", "raspberrypi-exp-gpio"), ("soc:firmware:virtgpio", "brcmvirt-gpio")],
        ..layout("3 B, vendor without leds-gpio", PI_3, &[], Line("soc:firmware:virtgpio", 0, Polarity::ActiveHigh))
    },
    Layout {
        chips: &[("soc:firmware:expgpio", "raspberrypi-exp-gpio")],
        ..layout("3 B, the expander under its other name", PI_3, &[], Line("soc:firmware:gpio", 2, Polarity::ActiveHigh))
    },
    layout("3 B+, with a keyboard", PI_3_PLUS, &[("ACT", Gpio), RED, ("input0::capslock", Keyboard)], Led("ACT")),
    layout("4, vendor", PI_4, &[("ACT", Gpio), RED, MMC], Led("ACT")),
    Layout { led_file: LED0, ..layout("4, image older than its kernel", PI_4, &[("ACT", Gpio), RED], Led("ACT")) },
    Layout { led_file: Some("/dev/null"), ..layout("4, image that gave up", PI_4, &[("ACT", Gpio), RED], Led("ACT")) },
    Layout { led_file: Some("PWR"), ..layout("4, a person prefers the red one", PI_4, &[("ACT", Gpio), RED], Led("PWR")) },
    Layout { led_file: Some("/sys/class/leds/PWR/"), ..layout("4, by its directory", PI_4, &[("ACT", Gpio), RED], Led("PWR")) },
    Layout { led_file: Some("  "), ..layout("4, an empty variable", PI_4, &[("ACT", Gpio), RED], Led("ACT")) },
    Layout { led_file: Some("/"), ..layout("4, a path of nothing", PI_4, &[("ACT", Gpio), RED], Led("ACT")) },
    layout("4, only the red one left", PI_4, &[RED, MMC], Led("PWR")),
    layout("4, a network card named its LED so", PI_4, &[("ACT", Nic), ("ACT_1", Gpio), RED], Led("ACT_1")),
    layout("4, a network card's LED of that name and no other", PI_4, &[("ACT", Nic)], Nothing),
    layout("4, a program took the name first", PI_4, &[("ACT", Program), ("ACT_1", Gpio)], Led("ACT_1")),
    layout("4, emulated by a program", PI_4, &[("ACT", Program), ("PWR", Program)], Led("ACT")),
    layout("4, emulated by bare files", PI_4, &[("ACT", Nobody), ("mmc0::", Nobody)], Led("ACT")),
    layout("4, the name taken twice", PI_4, &[("ACT", Phy), ("ACT_1", Nic), ("ACT_2", Gpio)], Led("ACT_2")),
    layout("4, LED moved to a dimmable pin", PI_4, &[("ACT", Pwm), RED], Led("ACT")),
    layout("4, in a container that may not write", PI_4, &[("ACT", GpioReadOnly), ("PWR", GpioReadOnly)], Nothing),
    layout("4, only the green one may not be written", PI_4, &[("ACT", GpioReadOnly), RED], Led("PWR")),
    Layout {
        chips: &[("fe200000.gpio", "pinctrl-bcm2711")],
        ..layout("4, the kernel holds the line of a LED that may not be written", PI_4, &[("ACT", GpioReadOnly)], Nothing)
    },
    layout("400 has power only", PI_400, &[("PWR", Gpio), MMC], Led("PWR")),
    Layout { led_file: LED0, ..layout("400, image of balena", PI_400, &[("PWR", Gpio)], Led("PWR")) },
    layout("5, vendor, inverted", PI_5, &[("ACT", Gpio), RED, MMC], Led("ACT")),
    Layout {
        chips: &[("107d508500.gpio", "gpio-brcmstb@107d508500"), ("107d517c00.gpio", "/soc@107c000000/gpio@7d517c00")],
        ..layout("5, mainline knows no LED", PI_5, &[MMC], Line("107d517c00.gpio", 9, Polarity::ActiveLow))
    },
    layout("5, mainline without GPIO", PI_5, &[MMC, ("input1::numlock", Keyboard)], Nothing),
    layout("Compute Module 1, by the kernel", CM_1, &[("ACT", Gpio)], Led("ACT")),
    Layout { chips: &[("20200000.gpio", "pinctrl-bcm2835")], ..layout("Compute Module 1, never by hand", CM_1, &[], Nothing) },
    layout("Compute Module 3, mainline", CM_3, &[MMC], Nothing),
    Layout {
        chips: &[("fe200000.gpio", "pinctrl-bcm2711")],
        ..layout(
            "Compute Module 4 on a carrier with LEDs of its own",
            CM_4,
            &[("a1:red", Gpio), ("a2:status", Gpio)],
            Led("a2:status"),
        )
    },
    Layout {
        chips: &[("fe200000.gpio", "pinctrl-bcm2711")],
        ..layout("Compute Module 4 on a bare carrier", CM_4, &[], Line("fe200000.gpio", 42, Polarity::ActiveHigh))
    },
    // BeagleBone.
    layout(
        "White, mainline",
        WHITE,
        &[("beaglebone:green:heartbeat", Gpio), ("beaglebone:green:usr3", Gpio)],
        Led("beaglebone:green:usr3"),
    ),
    Layout {
        led_file: USR3,
        ..layout(
            "Black, balena",
            BLACK,
            &[("beaglebone:green:usr0", Gpio), ("beaglebone:green:usr3", Gpio)],
            Led("beaglebone:green:usr3"),
        )
    },
    layout(
        "Black, Ubuntu Core",
        BLACK,
        &[("beaglebone:green:cpu0", Gpio), ("beaglebone:green:mmc1", Gpio)],
        Led("beaglebone:green:mmc1"),
    ),
    layout(
        "Black, with pins of the header",
        BLACK,
        &[("led_P8_07", Gpio), ("beaglebone:green:usr3", Gpio)],
        Led("beaglebone:green:usr3"),
    ),
    layout("Black, nothing but pins of the header", BLACK, &[("led_P8_07", Gpio), ("led_P9_12", Gpio)], Nothing),
    Layout {
        chips: &[("44e07000.gpio", "gpio-96-127"), ("4804c000.gpio", "gpio-0-31"), ("481ac000.gpio", "gpio-32-63")],
        ..layout("Black, labels of a new kernel", BLACK, &[], Line("4804c000.gpio", 24, Polarity::ActiveHigh))
    },
    Layout { chips: &[("481ac000.gpio", "gpio-32-63")], ..layout("Black, a label is no key", BLACK, &[], Nothing) },
    layout(
        "Black Wireless, Linux 4.4",
        BLACK_WIRELESS,
        &[("wl18xx_bt_en", Gpio), ("beaglebone:green:usr3", Gpio)],
        Led("beaglebone:green:usr3"),
    ),
    Layout {
        led_file: Some("/sys/class/leds/wl18xx_bt_en/brightness"),
        ..layout(
            "Black Wireless, asked to reset its radio",
            BLACK_WIRELESS,
            &[("wl18xx_bt_en", Gpio), ("beaglebone:green:usr3", Gpio)],
            Led("beaglebone:green:usr3"),
        )
    },
    layout(
        "Blue, with one of all its LEDs broken",
        BLUE,
        &[("bat100", Gpio), ("green", Gpio), ("red", Gpio), ("wifi", Gpio)],
        Led("red"),
    ),
    layout("a clone of the Black", CLONE, &[("beaglebone:green:usr3", Gpio)], Led("beaglebone:green:usr3")),
    layout(
        "PocketBeagle 2, mainline",
        POCKET_2,
        &[("green:indicator", Gpio), ("green:indicator_1", Gpio), ("green:heartbeat", Gpio)],
        Led("green:indicator"),
    ),
    layout(
        "PocketBeagle 2, vendor",
        POCKET_2,
        &[("green:", Gpio), ("green:indicator", Gpio), ("green:heartbeat", Gpio)],
        Led("green:"),
    ),
    layout(
        "AI-64, vendor",
        AI_64,
        &[("beaglebone:green:usr1", Gpio), ("beaglebone:green:usr3", Gpio)],
        Led("beaglebone:green:usr3"),
    ),
    layout(
        "AI-64, mainline",
        AI_64,
        &[(":disk-activity", Gpio), (":disk-activity_1", Gpio), (":wlan", Gpio)],
        Led(":disk-activity_1"),
    ),
    Layout {
        led_file: USR3,
        ..layout(
            "AI-64, image older than its kernel",
            AI_64,
            &[(":heartbeat", Gpio), (":disk-activity_1", Gpio)],
            Led(":disk-activity_1"),
        )
    },
    layout("BeaglePlay, mainline", PLAY, &[(":cpu", Gpio), (":lan", Gpio), (":wlan", Gpio)], Led(":lan")),
    layout("BeaglePlay, a network card took the name", PLAY, &[(":lan", Phy), (":lan_1", Gpio), (":cpu", Gpio)], Led(":lan_1")),
    layout("BeagleY-AI, mainline", Y_AI, &[(":heartbeat", Gpio), ("led-0", Gpio)], Led(":heartbeat")),
    layout(
        "BeagleY-AI, vendor",
        Y_AI,
        &[("MIPI_SWITCH_OE", Gpio), ("j722s-evm:green:disk-activity", Gpio), ("j722s-evm:red:pwr", Gpio)],
        Led("j722s-evm:green:disk-activity"),
    ),
    Layout {
        chips: &[("4804c000.gpio", "gpio-0-31")],
        ..layout("a clone of the Black may be wired otherwise", CLONE, &[], Nothing)
    },
    layout("PocketBeagle 2, one broken", POCKET_2, &[("green:indicator_1", Gpio)], Led("green:indicator_1")),
    // Boards without a description.
    layout(
        "unknown, with a status LED",
        UNKNOWN,
        &[("gw:green:power", Gpio), ("gw:green:status", Gpio), ("gw:red:fault", Gpio)],
        Led("gw:green:status"),
    ),
    layout("unknown, identify beats status", UNKNOWN, &[("blue:identify", Gpio), ("green:status", Gpio)], Led("blue:identify")),
    layout("unknown, on a LED chip", UNKNOWN, &[("pca963x:user", I2cChip), MMC], Led("pca963x:user")),
    layout("unknown, dimmable", UNKNOWN, &[("sys", Pwm), ("power", Pwm)], Led("sys")),
    layout(
        "unknown, of many colours",
        UNKNOWN,
        &[("rgb:status", PwmMulticolour), ("rgb:power", PwmMulticolour)],
        Led("rgb:status"),
    ),
    layout("unknown, names that say nothing", UNKNOWN, &[("D1", Gpio), ("D2", Gpio)], Led("D1")),
    layout("unknown, the old way", UNKNOWN, &[("led1", Gpio), ("led0", Gpio)], Led("led0")),
    layout(
        "unknown, power is better than nothing",
        UNKNOWN,
        &[("board:red:power", Gpio), ("eth0-0::lan", Nic)],
        Led("board:red:power"),
    ),
    layout(
        "unknown, a disk LED is not an activity LED",
        UNKNOWN,
        &[("green:disk-activity", Gpio), ("green:run", Gpio)],
        Led("green:run"),
    ),
    layout(
        "unknown, network only",
        UNKNOWN,
        &[("enp1s0-0::lan", PciNic), ("mdio-1:00:green:lan", Phy), ("phy0-led", SdioRadio)],
        Nothing,
    ),
    layout("unknown, keyboards only", UNKNOWN, &[("input3::capslock", Keyboard), ("input3::status", Keyboard)], Nothing),
    layout("unknown, a card reader only", UNKNOWN, &[MMC, ("mmc1::", Nobody)], Nothing),
    layout("unknown, a charger only", UNKNOWN, &[("axp20x-status", Charger)], Nothing),
    layout(
        "unknown, lamps and motors",
        UNKNOWN,
        &[("white:flash", Gpio), ("vibrator", Gpio), ("lcd-backlight", Pwm), ("modem_reset", Gpio)],
        Nothing,
    ),
    layout("unknown, bare files that say nothing", UNKNOWN, &[("abc", Nobody)], Nothing),
    layout("unknown, without LEDs", UNKNOWN, &[], Nothing),
    Layout {
        led_file: Some("/sys/class/leds/D2/brightness"),
        ..layout("unknown, configured", UNKNOWN, &[("D1", Gpio), ("D2", Gpio)], Led("D2"))
    },
    Layout { led_file: LED0, ..layout("unknown, wrongly configured", UNKNOWN, &[("D1", Gpio), ("D2", Gpio)], Led("D1")) },
];

fn chosen(layout: &Layout) -> LedChoice {
    let tree = Tree::new();
    let (model, compatible) = layout.board;
    tree.device_tree(model, &compatible.split(' ').chain(["acme,soc"]).collect::<Vec<_>>());
    for (name, by) in layout.leds {
        tree.led(name, *by);
    }
    for (number, (device, label)) in layout.chips.iter().enumerate() {
        tree.chip(number, device, Some(label));
    }
    let choice = choose_led(&detect(tree.root(), &BoardHints::default()), layout.led_file, &read_leds(tree.root()));
    if let Some(LedLocation::Class { name, dir }) = &choice.led {
        assert_eq!(*dir, tree.root().join("sys/class/leds").join(name));
        assert!(dir.join("brightness").is_file());
    }
    choice
}

fn choice_of(what: &str) -> LedChoice {
    chosen(LAYOUTS.iter().find(|it| it.what == what).unwrap())
}

#[test]
fn the_right_led_blinks_on_every_board_and_kernel() {
    assert!(LAYOUTS.len() >= 40);
    for layout in LAYOUTS {
        let choice = chosen(layout);
        let right = match (&choice.led, &layout.want) {
            (Some(LedLocation::Class { name, .. }), Led(want)) => name == want,
            (Some(LedLocation::Line { device, offset, polarity, .. }), Line(chip, line, lit_by)) => {
                (device.as_str(), offset, polarity) == (*chip, line, lit_by)
            }
            (None, Nothing) => true,
            _ => false,
        };
        assert!(right, "{}: wanted {:?}, got {choice:#?}", layout.what, layout.want);
        assert!(!choice.why.is_empty(), "{}", layout.what);
        let all_said = choice.passed_over.iter().all(|(name, why)| !name.is_empty() && !why.is_empty());
        assert!(all_said, "{}: {:?}", layout.what, choice.passed_over);
    }
}

#[test]
fn the_reason_is_a_sentence() {
    let why = |what: &str| choice_of(what).why;
    assert_eq!(why("4, vendor"), "it is ACT of Raspberry Pi 4 Model B, the LED to identify it with");
    assert_eq!(why("4, only the red one left"), "it is PWR of Raspberry Pi 4 Model B, where ACT cannot be used");
    assert_eq!(why("4, a person prefers the red one"), "configured as `PWR`");
    let driven = "this kernel has no LED for ACT of Raspberry Pi 5, so its line is driven directly";
    assert_eq!(why("5, mainline knows no LED"), driven);
    let guessed = "we do not know this board's LEDs; of those here, `gw:green:status` looks most like a status LED";
    assert_eq!(why("unknown, with a status LED"), guessed);
    assert_eq!(
        why("unknown, a charger only"),
        "the only LED here is `axp20x-status`, and it belongs to a battery or a charger"
    );
    assert_eq!(why("unknown, without LEDs"), "this kernel has no LED, and no line of one that we may drive");
}

#[test]
fn a_stale_led_file_is_passed_over_and_said() {
    let said = |what: &str| choice_of(what).passed_over;
    let stale = "configured as `/sys/class/leds/led0/brightness`, but this kernel has no such LED";
    assert_eq!(said("4, image older than its kernel"), [("led0".to_owned(), stale.to_owned())]);
    let null = "configured as `/dev/null`, but it is no LED";
    assert_eq!(said("4, image that gave up"), [("null".to_owned(), null.to_owned())]);
}

#[test]
fn the_others_may_be_driven_and_no_others() {
    let names = |what: &str| choice_of(what).others.into_iter().map(|it| it.name).collect::<Vec<_>>();
    assert_eq!(names("3 B, vendor"), ["PWR"], "not the card reader's, nor the network's");
    assert_eq!(names("Black, with pins of the header"), Vec::<String>::new());
    assert_eq!(names("PocketBeagle 2, vendor"), ["green:heartbeat", "green:indicator"]);
    assert_eq!(names("4, a network card named its LED so"), ["PWR"]);
}

#[test]
fn what_the_file_says_of_a_led_is_told_with_it() {
    let choice = choice_of("5, vendor, inverted");
    let described = choice.described.unwrap();
    assert_eq!((described.name, described.light), ("ACT", boards::Light::MaybeInverted));
    assert_eq!(choice_of("unknown, dimmable").described, None);
    let second = choice_of("PocketBeagle 2, one broken").described.unwrap();
    assert_eq!(second.name, "USR0", "its number is part of its name here, not one that the kernel added");
}

#[test]
fn the_kernels_leds_are_read_as_they_are() {
    let tree = Tree::new();
    tree.led("rgb:status", PwmMulticolour);
    tree.led("D1", Pwm);
    tree.led("D2", GpioReadOnly);
    let offer = read_leds(tree.root());
    let [d1, d2, rgb] = offer.leds.as_slice() else { panic!("{offer:#?}") };
    assert_eq!((d1.max_brightness, d1.driver.as_deref(), d1.owner), (Some(255), Some("leds_pwm"), None));
    assert_eq!(d1.triggers, "[none] timer heartbeat");
    assert_eq!(d2.unwritable.as_deref(), Some("its `brightness` may be read only"));
    assert_eq!(rgb.colours, ["red", "green", "blue"]);
}
