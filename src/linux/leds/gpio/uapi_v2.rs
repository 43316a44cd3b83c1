//! The character device's second ABI: Linux 5.10 and newer.

use std::io;
use std::path::{Path, PathBuf};

use gpiocdev::line::{Direction as Theirs, Value};
use gpiocdev::request::Request;

use crate::linux::leds::gpio::{
    CONSUMER, Chip, Direction, Gpio, HeldLine, LineInfo, LineLevel, LineRequest, readable_chips, system_error,
};
use crate::sorted::sort;

/// Lines through `gpiocdev`.
#[derive(Debug, Clone)]
pub struct UapiV2 {
    root: PathBuf,
}

impl UapiV2 {
    /// The lines of the host with this root.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Gpio for UapiV2 {
    fn chips(&self) -> io::Result<Vec<Chip>> {
        let ask = |(name, path): (String, PathBuf)| {
            let info = gpiocdev::Chip::from_path(&path).and_then(|chip| chip.info()).map_err(io_error)?;
            let device = owner(&self.root, &name);
            Ok(Chip { name, path, device, label: info.label, lines: info.num_lines })
        };
        readable_chips(devices(&self.root)?.into_iter().map(ask))
    }

    fn line(&self, chip: &Chip, offset: u32) -> io::Result<LineInfo> {
        let info = gpiocdev::Chip::from_path(&chip.path).and_then(|chip| chip.line_info(offset)).map_err(io_error)?;
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(LineInfo {
            offset,
            name: text(info.name),
            consumer: text(info.consumer),
            used: info.used,
            direction: if info.direction == Theirs::Output { Direction::Output } else { Direction::Input },
            active_low: Some(info.active_low),
        })
    }

    fn request(&self, chip: &Chip, offset: u32, want: LineRequest) -> io::Result<Box<dyn HeldLine>> {
        let mut request = Request::builder();
        request.on_chip(&chip.path).with_consumer(CONSUMER).with_line(offset);
        match want {
            LineRequest::AsIs => request.as_is(),
            LineRequest::Input => request.as_input(),
            LineRequest::Output(volts) => request.as_output(value(volts)),
        };
        Ok(Box::new(Line { request: request.request().map_err(io_error)?, offset }))
    }
}

struct Line {
    request: Request,
    offset: u32,
}

impl HeldLine for Line {
    fn get(&self) -> io::Result<LineLevel> {
        let value = self.request.value(self.offset).map_err(io_error)?;
        Ok(if value == Value::Active { LineLevel::High } else { LineLevel::Low })
    }

    fn set(&self, volts: LineLevel) -> io::Result<()> {
        self.request.set_value(self.offset, value(volts)).map(drop).map_err(io_error)
    }
}

const fn value(volts: LineLevel) -> Value {
    match volts {
        LineLevel::High => Value::Active,
        LineLevel::Low => Value::Inactive,
    }
}

fn io_error(error: gpiocdev::Error) -> io::Error {
    match error {
        gpiocdev::Error::Os(errno) => io::Error::from_raw_os_error(errno.0),
        gpiocdev::Error::Uapi(_, error) => system_error(&error.to_string()),
        other => system_error(&other.to_string()),
    }
}

/// The character devices of the host, by name.
pub(super) fn devices(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let dir = root.join("dev");
    let names = std::fs::read_dir(&dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let number = |name: &str| name.strip_prefix("gpiochip")?.parse::<u32>().ok();
    let mut chips: Vec<(u32, String)> = names.filter_map(|name| Some((number(&name)?, name))).collect();
    sort(&mut chips);
    Ok(chips.into_iter().map(|(_, name)| (name.clone(), dir.join(name))).collect())
}

/// The device that owns a chip: the parent of the chip's own directory. Empty if sysfs does not show it.
pub(super) fn owner(root: &Path, chip: &str) -> String {
    let link = root.join("sys/bus/gpio/devices").join(chip);
    let dir = std::fs::canonicalize(link).ok();
    let parent = dir.as_deref().and_then(Path::parent).and_then(Path::file_name);
    parent.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
