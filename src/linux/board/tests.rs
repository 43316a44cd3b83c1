//! Boards and kernels, as trees of files in a directory of their own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

mod detection;
mod layouts;

/// A host's root with those parts of `/sys` and `/proc` that detection reads.
struct Tree(TempDir);

/// The owner of a LED, which decides where in `/sys/devices` it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// `leds-gpio`.
    Gpio,
    /// `leds-gpio`, without write permission.
    GpioReadOnly,
    /// `leds_pwm`.
    Pwm,
    /// `leds_pwm_multicolor`.
    PwmMulticolour,
    /// A LED chip on an I²C bus.
    I2cChip,
    /// A program, through `/dev/uleds`.
    Program,
    /// A card reader.
    CardReader,
    /// A keyboard.
    Keyboard,
    /// A network interface.
    Nic,
    /// The PHY of a network interface.
    Phy,
    /// A PCI card with a network interface beneath it.
    PciNic,
    /// A radio on an SDIO bus.
    SdioRadio,
    /// A charger.
    Charger,
    /// Unknown: a bare directory, as simple simulations have.
    Nobody,
}

impl Tree {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The device tree, with a NUL behind every string as the kernel has it, and the link of `/proc` to it.
    fn device_tree(&self, model: &str, compatible: &[&str]) {
        self.write("sys/firmware/devicetree/base/model", format!("{model}\0"));
        self.write("sys/firmware/devicetree/base/compatible", compatible.join("\0") + "\0");
        fs::create_dir_all(self.root().join("proc")).unwrap();
        symlink("/sys/firmware/devicetree/base", self.root().join("proc/device-tree")).unwrap();
    }

    fn led(&self, name: &str, by: By) {
        let device = self.device_of(by);
        let dir = match by {
            By::Nobody => format!("sys/class/leds/{name}"),
            By::CardReader | By::SdioRadio | By::Keyboard | By::Nic | By::Charger => format!("{device}/{name}"),
            _ => format!("{device}/leds/{name}"),
        };
        let brightness = self.write(&format!("{dir}/brightness"), "0\n");
        self.write(&format!("{dir}/max_brightness"), if by == By::Pwm { "255\n" } else { "1\n" });
        self.write(&format!("{dir}/trigger"), "[none] timer heartbeat\n");
        match by {
            By::GpioReadOnly => fs::set_permissions(brightness, fs::Permissions::from_mode(0o444)).unwrap(),
            By::PwmMulticolour => _ = self.write(&format!("{dir}/multi_index"), "red green blue\n"),
            _ => {}
        }
        if by != By::Nobody {
            symlink(self.root().join(&device), self.root().join(&dir).join("device")).unwrap();
            let class = self.root().join("sys/class/leds");
            fs::create_dir_all(&class).unwrap();
            symlink(self.root().join(&dir), class.join(name)).unwrap();
        }
    }

    /// Creates the device that owns such LEDs, if it does not exist yet, and returns its path.
    fn device_of(&self, by: By) -> String {
        let soc = "sys/devices/platform/soc";
        let (device, driver) = match by {
            By::Gpio | By::GpioReadOnly => ("sys/devices/platform/leds".to_owned(), Some("leds-gpio")),
            By::Pwm => ("sys/devices/platform/pwm-leds".to_owned(), Some("leds_pwm")),
            By::PwmMulticolour => ("sys/devices/platform/rgb".to_owned(), Some("leds_pwm_multicolor")),
            By::I2cChip => (format!("{soc}/i2c-1/1-0060"), Some("pca955x")),
            By::Program => ("sys/devices/virtual/misc/uleds".to_owned(), None),
            By::CardReader => (format!("{soc}/3f202000.mmc/mmc_host/mmc0"), None),
            By::Keyboard => (format!("{soc}/usb1/1-1/0003:046D:C31C.0001/input/input3"), None),
            By::Nic => (format!("{soc}/fd580000.ethernet/net/eth0"), None),
            By::Phy => (format!("{soc}/fd580000.ethernet/mdio_bus/mdio-1/mdio-1:00"), Some("Broadcom BCM54210E")),
            By::PciNic => ("sys/devices/pci0000:00/0000:01:00.0".to_owned(), Some("igc")),
            By::SdioRadio => (format!("{soc}/fe300000.mmc/mmc_host/mmc1/mmc1:0001/ieee80211/phy0"), None),
            By::Charger => (format!("{soc}/i2c-1/1-0034/power_supply/axp20x"), None),
            By::Nobody => return String::new(),
        };
        let dir = self.root().join(&device);
        fs::create_dir_all(&dir).unwrap();
        if by == By::PciNic {
            fs::create_dir_all(dir.join("net/eth1")).unwrap();
        }
        if let Some(driver) = driver.filter(|_| !dir.join("driver").exists()) {
            let drivers = self.root().join("sys/bus/platform/drivers").join(driver);
            fs::create_dir_all(&drivers).unwrap();
            symlink(drivers, dir.join("driver")).unwrap();
        }
        device
    }

    /// A GPIO chip of a platform device, as a character device and in the old class.
    fn chip(&self, number: usize, device: &str, label: Option<&str>) {
        let chip = format!("sys/devices/platform/soc/{device}/gpiochip{number}");
        fs::create_dir_all(self.root().join(&chip)).unwrap();
        let bus = self.root().join("sys/bus/gpio/devices");
        fs::create_dir_all(&bus).unwrap();
        symlink(self.root().join(&chip), bus.join(format!("gpiochip{number}"))).unwrap();
        if let Some(label) = label {
            let old = format!("sys/devices/platform/soc/{device}/gpio/gpiochip{}", 512 + number);
            self.write(&format!("{old}/label"), format!("{label}\n"));
            let class = self.root().join("sys/class/gpio");
            fs::create_dir_all(&class).unwrap();
            symlink(self.root().join(&old), class.join(format!("gpiochip{}", 512 + number))).unwrap();
        }
    }
}
