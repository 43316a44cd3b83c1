//! Consistency checks of the descriptions. All run at compile time.

use crate::{ALL, Board, Header, Led, Line, NEVER_BLINK, Outline, Role};

// Descriptions that contradict themselves or each other do not compile.
const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        ALL[i].validate();
        let mut j = i + 1;
        while j < ALL.len() {
            ALL[i].is_not(ALL[j]);
            j += 1;
        }
        assert!(i == 0 || before(ALL[i - 1].name, ALL[i].name), "ALL is in the order of the boards' names");
        i += 1;
    }
};

impl Board {
    /// Panics if a description contradicts itself; for those in [`ALL`] at compile time.
    ///
    /// ```compile_fail
    /// use boards::{ALL, Board};
    /// const NAMELESS: Board = Board { name: "", ..*ALL[0] };
    /// const _: () = NAMELESS.validate();
    /// ```
    pub const fn validate(&self) {
        assert!(!self.id.is_empty() && !self.name.is_empty(), "a board has a name");
        assert!(self.models.len() + self.compatible.len() > 0, "a board can be told from its device tree");
        assert!(!any_twice(self.models) && !any_twice(self.compatible) && !any_twice(self.slugs), "nothing is said twice");
        assert!(!any_empty(self.models) && !any_empty(self.compatible) && !any_empty(self.slugs), "names are not empty");
        assert!(!any_empty(self.also) && !any_empty(self.not_leds), "names are not empty");
        assert!(!any_missing(self.not_leds, NEVER_BLINK), "what is not a LED here is in NEVER_BLINK");
        if let Some(outline) = self.outline {
            outline.validate();
        }
        let mut i = 0;
        while i < self.leds.len() {
            let led = &self.leds[i];
            led.validate();
            assert!(led.is_within(self.outline), "a LED is on the board's outline");
            let mut j = 0;
            while j < self.not_lines.len() {
                assert!(!led.is_on(&self.not_lines[j]), "a line that must not be driven is not a LED");
                j += 1;
            }
            let mut k = i + 1;
            while k < self.leds.len() {
                led.is_not(&self.leds[k]);
                k += 1;
            }
            i += 1;
        }
        self.validate_headers();
    }

    /// Panics if a line that is left to the owner has another job, or is said twice.
    const fn validate_headers(&self) {
        let mut i = 0;
        while i < self.headers.len() {
            let header = &self.headers[i];
            let mut j = 0;
            while j < self.not_lines.len() {
                assert!(!header.has(&self.not_lines[j]), "a line that must not be driven is not left to the owner");
                j += 1;
            }
            let mut j = 0;
            while j < self.leds.len() {
                let mut k = 0;
                while k < self.leds[j].lines.len() {
                    assert!(!header.has(&self.leds[j].lines[k]), "a LED's line is not left to the owner");
                    k += 1;
                }
                j += 1;
            }
            let mut j = i;
            while j < self.headers.len() {
                header.is_not(&self.headers[j], i == j);
                j += 1;
            }
            i += 1;
        }
    }

    /// Panics if two boards share an identity: they could not be told apart.
    const fn is_not(&self, other: &Board) {
        assert!(!same(self.id, other.id), "no two boards share an id");
        assert!(!same(self.name, other.name), "no two boards share a name");
        assert!(!any_common(self.models, other.models), "no two boards share a model");
        assert!(!any_common(self.compatible, other.compatible), "no two boards share a compatible string");
    }
}

impl Outline {
    /// Panics if a part is not on the board.
    const fn validate(&self) {
        let mut i = 0;
        while i < self.parts.len() {
            let part = &self.parts[i];
            let right = part.x as u16 + part.width as u16;
            let bottom = part.y as u16 + part.height as u16;
            assert!(right <= self.width as u16 && bottom <= self.height as u16, "a part is on the board");
            assert!(part.width > 0 && part.height > 0, "a part has a size");
            i += 1;
        }
    }
}

impl Led {
    /// Whether its place is on the outline. It has no place on a board without one.
    const fn is_within(&self, outline: Option<&Outline>) -> bool {
        match (self.at, outline) {
            (None, _) => true,
            (Some(at), Some(outline)) => at.x <= outline.width && at.y <= outline.height,
            (Some(_), None) => false,
        }
    }

    /// Panics if the description of this LED contradicts itself.
    const fn validate(&self) {
        assert!(!self.name.is_empty(), "a LED has a name");
        assert!(self.classes.len() + self.lines.len() > 0, "a LED can be reached");
        assert!(!any_empty(self.classes) && !any_twice(self.classes), "each name of a LED is said once");
        assert!(!any_common(self.classes, NEVER_BLINK), "what must never blink is not a LED");
    }

    /// Panics if two LEDs of a board are the same.
    const fn is_not(&self, other: &Led) {
        let both = matches!((self.role, other.role), (Role::Identify, Role::Identify));
        assert!(!both, "a board is identified by one LED");
        assert!(!same(self.name, other.name), "no two LEDs of a board share a name");
        assert!(!any_common(self.classes, other.classes), "no two LEDs of a board share a class name");
        let mut i = 0;
        while i < other.lines.len() {
            assert!(!self.is_on(&other.lines[i]), "no two LEDs of a board share a line");
            i += 1;
        }
    }

    /// Whether this line is one of this LED's.
    const fn is_on(&self, line: &Line) -> bool {
        let mut i = 0;
        while i < self.lines.len() {
            if self.lines[i].offset == line.offset && same(self.lines[i].chip.device, line.chip.device) {
                return true;
            }
            i += 1;
        }
        false
    }
}

impl Header {
    /// Whether this line is one of its pins.
    const fn has(&self, line: &Line) -> bool {
        let mut i = 0;
        while i < self.pins.len() {
            if self.pins[i].offset == line.offset && same(self.chip.device, line.chip.device) {
                return true;
            }
            i += 1;
        }
        false
    }

    /// Panics if two pins share a name or a line. `is_itself`: the other header is this one, whose pins equal themselves.
    const fn is_not(&self, other: &Header, is_itself: bool) {
        let mut i = 0;
        while i < self.pins.len() {
            assert!(!self.pins[i].name.is_empty() && !self.pins[i].place.is_empty(), "a pin has a name and a place");
            let mut j = if is_itself { i + 1 } else { 0 };
            while j < other.pins.len() {
                let (a, b) = (&self.pins[i], &other.pins[j]);
                assert!(!same(a.name, b.name), "no two pins of a board share a name");
                assert!(a.offset != b.offset || !same(self.chip.device, other.chip.device), "no two pins share a line");
                j += 1;
            }
            i += 1;
        }
    }
}

// Const functions that the standard library does not have yet.

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

const fn before(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i < b.len() && (i == a.len() || a[i] < b[i])
}

const fn contains(list: &[&str], name: &str) -> bool {
    let mut i = 0;
    while i < list.len() {
        if same(list[i], name) {
            return true;
        }
        i += 1;
    }
    false
}

const fn any_empty(list: &[&str]) -> bool {
    contains(list, "")
}

const fn any_common(a: &[&str], b: &[&str]) -> bool {
    let mut i = 0;
    while i < a.len() {
        if contains(b, a[i]) {
            return true;
        }
        i += 1;
    }
    false
}

const fn any_missing(a: &[&str], b: &[&str]) -> bool {
    let mut i = 0;
    while i < a.len() {
        if !contains(b, a[i]) {
            return true;
        }
        i += 1;
    }
    false
}

const fn any_twice(list: &[&str]) -> bool {
    let mut i = 0;
    while i < list.len() {
        let (_, rest) = list.split_at(i + 1);
        if contains(rest, list[i]) {
            return true;
        }
        i += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::borrow::ToOwned;
    use std::format;
    use std::panic::catch_unwind;
    use std::path::Path;

    use crate::{
        ALL, Board, BootConfig, Chip, Colour, Header, Led, Light, Line, NEVER_BLINK, Outline, Part, PartKind, Pin, Place,
        Point, Polarity, Role,
    };

    const CHIP: Chip = Chip { device: "1.gpio", label: None };
    const LINE: Line = Line { chip: CHIP, offset: 1, name: None, lit_by: Polarity::ActiveHigh };
    const PART: Part = Part { kind: PartKind::Usb, x: 5, y: 0, width: 6, height: 1 };
    const ONE: Led = Led {
        name: "one",
        role: Role::Identify,
        colour: Colour::Red,
        place: Place::OnBoard,
        at: Some(Point { x: 10, y: 20 }),
        light: Light::AsTold,
        classes: &["one"],
        lines: &[LINE],
    };
    const TWO: Led = Led { name: "two", role: Role::User, classes: &["two"], lines: &[], ..ONE };
    const PIN: Pin = Pin { name: "P1", offset: 7, place: "pin 1" };
    const HEADER: Header = Header { chip: CHIP, pins: &[PIN] };
    const GOOD: Board = Board {
        id: "good",
        name: "Good",
        also: &[],
        slugs: &["good"],
        models: &["Good"],
        compatible: &["acme,good"],
        boot_config: BootConfig::ConfigTxt,
        outline: Some(&Outline { width: 10, height: 20, parts: &[] }),
        leds: &[ONE, TWO],
        not_leds: &["mcu_bsl"],
        not_lines: &[],
        headers: &[HEADER],
    };

    fn with_pins(headers: &'static [Header]) -> Board {
        Board { headers, ..GOOD }
    }

    #[test]
    fn a_description_that_contradicts_itself_is_refused() {
        GOOD.validate();
        for (what, bad) in [
            ("no id", Board { id: "", ..GOOD }),
            ("a LED beside the board", Board { outline: Some(&Outline { width: 9, height: 20, parts: &[] }), ..GOOD }),
            ("a LED on a board of no known size", Board { outline: None, ..GOOD }),
            ("a part that stands out", Board { outline: Some(&Outline { parts: &[PART], width: 10, height: 20 }), ..GOOD }),
            ("no name", Board { name: "", ..GOOD }),
            ("no identity", Board { models: &[], compatible: &[], ..GOOD }),
            ("an empty model", Board { models: &[""], ..GOOD }),
            ("a model twice", Board { models: &["Good", "Good"], ..GOOD }),
            ("a compatible string twice", Board { compatible: &["a", "b", "a"], ..GOOD }),
            ("an empty device type", Board { slugs: &[""], ..GOOD }),
            ("not a LED, unknown to NEVER_BLINK", Board { not_leds: &["one"], ..GOOD }),
            ("a LED without a name", Board { leds: &[Led { name: "", ..ONE }], ..GOOD }),
            ("a LED that cannot be reached", Board { leds: &[Led { classes: &[], lines: &[], ..ONE }], ..GOOD }),
            ("a LED with an empty class name", Board { leds: &[Led { classes: &["a", ""], ..ONE }], ..GOOD }),
            ("a LED that must never blink", Board { leds: &[Led { classes: &["mcu_nrst"], ..ONE }], ..GOOD }),
            ("two LEDs to identify with", Board { leds: &[ONE, Led { role: Role::Identify, ..TWO }], ..GOOD }),
            ("two LEDs of one name", Board { leds: &[ONE, Led { name: "one", ..TWO }], ..GOOD }),
            ("two LEDs of one class name", Board { leds: &[ONE, Led { classes: &["x", "one"], ..TWO }], ..GOOD }),
            ("two LEDs on one line", Board { leds: &[ONE, Led { lines: &[LINE], ..TWO }], ..GOOD }),
            ("a LED on a line not to be driven", Board { not_lines: &[LINE], ..GOOD }),
            ("a pin on a line not to be driven", Board { not_lines: &[Line { offset: 7, ..LINE }], ..GOOD }),
            ("a pin on a LED's line", with_pins(&[Header { chip: CHIP, pins: &[Pin { offset: 1, ..PIN }] }])),
            ("a pin without a name", with_pins(&[Header { chip: CHIP, pins: &[Pin { name: "", ..PIN }] }])),
            ("a pin without a place", with_pins(&[Header { chip: CHIP, pins: &[Pin { place: "", ..PIN }] }])),
            ("two pins of one name", with_pins(&[Header { chip: CHIP, pins: &[PIN, Pin { offset: 8, ..PIN }] }])),
            ("two pins on one line", with_pins(&[Header { chip: CHIP, pins: &[PIN, Pin { name: "P2", ..PIN }] }])),
            ("a pin on two headers", with_pins(&[HEADER, HEADER])),
        ] {
            assert!(catch_unwind(|| bad.validate()).is_err(), "{what}: nobody noticed");
        }
    }

    #[test]
    fn two_boards_with_one_identity_are_refused() {
        let other = Board { id: "other", name: "Other", models: &["Other"], compatible: &["acme,other"], ..GOOD };
        GOOD.is_not(&other);
        for (what, twin) in [
            ("id", Board { id: "good", ..other }),
            ("name", Board { name: "Good", ..other }),
            ("model", Board { models: &["Other", "Good"], ..other }),
            ("compatible string", Board { compatible: &["acme,other", "acme,good"], ..other }),
        ] {
            assert!(catch_unwind(|| GOOD.is_not(&twin)).is_err(), "one {what} for two boards: nobody noticed");
        }
    }

    #[test]
    fn every_board_has_a_file_of_its_id_and_a_row_in_the_readme() {
        let readme = include_str!("README.md");
        for board in ALL {
            let file = format!("{}.rs", board.id.replace('-', "_"));
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).is_file(), "{file}");
            assert!(readme.contains(&format!("| {} | `{file}` |", board.name)), "README.md has no row for {}", board.name);
        }
    }

    #[test]
    fn no_board_claims_what_another_reports() {
        for board in ALL {
            for model in board.models {
                for model in [(*model).to_owned(), format!("{model} Rev 1.0")] {
                    assert_eq!(Board::by_model(&model), Some(*board), "{model}");
                }
            }
            assert_eq!(Board::by_id(board.id), Some(*board));
            assert!(board.slugs.iter().all(|slug| Board::by_slug(slug).any(|it| it == *board)));
        }
    }

    #[test]
    fn a_name_that_is_no_led_somewhere_is_a_led_nowhere() {
        let classes = ALL.iter().flat_map(|board| board.leds).flat_map(|led| led.classes);
        assert!(classes.into_iter().all(|name| !NEVER_BLINK.contains(name)));
        assert!(ALL.iter().all(|board| board.identify().is_some()), "each board so far has a LED to be found by");
    }
}
