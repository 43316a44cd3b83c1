//! GPIO chips that report how their lines are driven: the kernel's `gpio-sim`.

use std::fs;
use std::path::PathBuf;

/// A chip, for as long as this lives.
pub(crate) struct Chip {
    config: PathBuf,
    /// The device that owns it.
    pub(crate) device: String,
    /// What the kernel calls it.
    pub(crate) name: String,
}

impl Chip {
    /// A chip with a label and lines of these names; a line that has a holder is held by a driver of this name.
    pub(crate) fn plug(label: &str, lines: u32, named: &[(u32, &str)], held: &[(u32, &str)]) -> Self {
        let config = PathBuf::from("/config/gpio-sim").join(label);
        let bank = config.join("bank0");
        fs::create_dir_all(&bank).unwrap();
        fs::write(bank.join("num_lines"), lines.to_string()).unwrap();
        fs::write(bank.join("label"), label).unwrap();
        for (line, name) in named {
            let line = bank.join(format!("line{line}"));
            fs::create_dir_all(&line).unwrap();
            fs::write(line.join("name"), name).unwrap();
        }
        for (line, holder) in held {
            let hog = bank.join(format!("line{line}/hog"));
            fs::create_dir_all(&hog).unwrap();
            fs::write(hog.join("name"), holder).unwrap();
            fs::write(hog.join("direction"), "output-low").unwrap();
        }
        fs::write(config.join("live"), "1").unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();
        Self { device: read(config.join("dev_name")), name: read(bank.join("chip_name")), config }
    }

    fn line(&self, line: u32, file: &str) -> PathBuf {
        let device = PathBuf::from("/sys/devices/platform").join(&self.device);
        device.join(&self.name).join(format!("sim_gpio{line}")).join(file)
    }

    /// Whether the line is at its supply, whatever drives it.
    pub(crate) fn is_high(&self, line: u32) -> bool {
        fs::read_to_string(self.line(line, "value")).unwrap().trim() == "1"
    }

    /// Pulls a line from outside.
    pub(crate) fn pull(&self, line: u32, how: &str) {
        fs::write(self.line(line, "pull"), how).unwrap();
    }

    /// Takes it away.
    pub(crate) fn unplug(&self) {
        let _ = fs::write(self.config.join("live"), "0");
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.unplug();
        // A directory of configfs goes when nothing made by hand is in it.
        let bank = self.config.join("bank0");
        for line in fs::read_dir(&bank).into_iter().flatten().flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()))
        {
            let _ = fs::remove_dir(line.path().join("hog"));
            let _ = fs::remove_dir(line.path());
        }
        let _ = fs::remove_dir(bank);
        let _ = fs::remove_dir(&self.config);
    }
}
