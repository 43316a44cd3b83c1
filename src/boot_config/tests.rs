//! What becomes of files.

use proptest::prelude::*;

use super::*;

fn set(pairs: &[(&str, &str)]) -> BootVariables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn edited(format: BootFormat, file: &str, pairs: &[(&str, &str)]) -> String {
    String::from_utf8(with_variables(format, file.as_bytes(), &set(pairs)).unwrap()).unwrap()
}

/// As Raspberry Pi OS ships it, shortened.
const CONFIG_TXT: &str = "\
# For more options and information see http://rptl.io/configtxt
dtparam=audio=on
camera_auto_detect=1
dtoverlay=vc4-kms-v3d
max_framebuffers=2
[cm5]
dtoverlay=dwc2,dr_mode=host
[all]
";

#[test]
fn a_key_that_the_target_names_has_its_value_and_no_other() {
    let now = edited(
        BootFormat::ConfigTxt,
        CONFIG_TXT,
        &[
            ("HOST_CONFIG_dtparam", r#""i2c_arm=on","spi=on""#),
            ("HOST_CONFIG_gpu_mem", "16"),
            ("HOST_CONFIG_max_framebuffers", "1"),
        ],
    );
    insta::assert_snapshot!(now, @r"
    # For more options and information see http://rptl.io/configtxt
    #boardkeeper-off# dtparam=audio=on
    camera_auto_detect=1
    dtoverlay=vc4-kms-v3d
    #boardkeeper-off# max_framebuffers=2
    [cm5]
    dtoverlay=dwc2,dr_mode=host
    [all]
    # boardkeeper: begin
    # From the target's HOST_ variables. The agent overwrites what is changed in here.
    [all]
    gpu_mem=16
    max_framebuffers=1
    dtoverlay=
    dtparam=i2c_arm=on
    dtparam=spi=on
    # boardkeeper: end
    ");
    let fewer = edited(BootFormat::ConfigTxt, &now, &[("HOST_CONFIG_gpu_mem", "16")]);
    assert!(fewer.starts_with(CONFIG_TXT) && fewer.contains("gpu_mem=16\n") && !fewer.contains("spi"), "{fewer}");
    assert_eq!(edited(BootFormat::ConfigTxt, &now, &[]), CONFIG_TXT);
}

#[test]
fn an_overlay_goes_with_its_parameters() {
    let file = "dtparam=audio=on\ndtoverlay=i2c-rtc\ndtparam=ds1307\ndtparam=spi=on\n";
    let now = edited(BootFormat::ConfigTxt, file, &[("HOST_CONFIG_dtoverlay", r#""gpio-ir,gpio_pin=4","disable-bt""#)]);
    insta::assert_snapshot!(now, @r"
    dtparam=audio=on
    #boardkeeper-off# dtoverlay=i2c-rtc
    #boardkeeper-off# dtparam=ds1307
    dtparam=spi=on
    # boardkeeper: begin
    # From the target's HOST_ variables. The agent overwrites what is changed in here.
    [all]
    dtoverlay=gpio-ir
    dtparam=gpio_pin=4
    dtoverlay=disable-bt
    # boardkeeper: end
    ");
    let now = edited(BootFormat::ConfigTxt, file, &[("HOST_CONFIG_dtparam", "watchdog=on")]);
    assert!(
        now.starts_with("#boardkeeper-off# dtparam=audio=on\ndtoverlay=i2c-rtc\ndtparam=ds1307\n#boardkeeper-off# dtparam=spi")
    );
    let none = edited(BootFormat::ConfigTxt, file, &[("HOST_CONFIG_dtoverlay", "")]);
    assert!(none.contains("#boardkeeper-off# dtoverlay=i2c-rtc") && !none.contains("\ndtoverlay="), "{none}");
}

#[test]
fn what_decides_what_is_booted_is_left_alone() {
    let bad = set(&[
        ("HOST_CONFIG_kernel", "x.img"),
        ("HOST_CONFIG_init_emmc_clock", "1"),
        ("HOST_CONFIG_power_mode", "low"),
        ("HOST_CONFIG_a b", "1"),
        ("HOST_CONFIG_gpu_mem", "16\nkernel=x.img"),
        ("HOST_CONFIG_dtparam", r#""spi=on"#),
        ("HOST_EXTLINUX_fdt", "x.dtb"),
    ]);
    let told = problems(BootFormat::ConfigTxt, &bad);
    assert_eq!(told.len(), bad.len(), "{told:#?}");
    assert!(told.iter().zip(bad.keys()).all(|(it, name)| it.starts_with(name.as_str()) && it.contains("ignored")), "{told:#?}");
    assert_eq!(with_variables(BootFormat::ConfigTxt, CONFIG_TXT.as_bytes(), &bad).unwrap(), CONFIG_TXT.as_bytes());
    let fine = set(&[("HOST_CONFIG_hdmi_mode:1", "16"), ("HOST_CONFIG_boot_delay", "1"), ("HOST_CONFIG_dtoverlay", "")]);
    assert_eq!(problems(BootFormat::ConfigTxt, &fine), [""; 0]);
    let wrong = set(&[("HOST_EXTLINUX_isolcpus", "2 init=/bin/sh"), ("HOST_EXTLINUX_root", "x"), ("HOST_CONFIG_gpu_mem", "1")]);
    assert_eq!(problems(BootFormat::UEnv, &wrong).len(), 3);
}

#[test]
fn a_value_that_the_file_has_already_is_left_there() {
    let taken_over = "dtparam=i2c_arm=on\ndtparam=spi=on\ngpu_mem=16\n[all]\ndtoverlay=i2c-rtc\ndtparam=ds1307\n";
    let same = [
        ("HOST_CONFIG_dtparam", r#""i2c_arm=on","spi=on""#),
        ("HOST_CONFIG_gpu_mem", "16"),
        ("HOST_CONFIG_dtoverlay", "i2c-rtc,ds1307"),
    ];
    assert_eq!(edited(BootFormat::ConfigTxt, taken_over, &same), taken_over);
    let one_more = edited(BootFormat::ConfigTxt, taken_over, &[&same[..], &[("HOST_CONFIG_arm_freq", "900")]].concat());
    assert!(one_more.starts_with(taken_over) && one_more.contains("[all]\narm_freq=900\n# boardkeeper: end"), "{one_more}");
    for other in ["[pi4]\ngpu_mem=16\n", "gpu_mem=16\ngpu_mem=16\n", "gpu_mem=16\n[none]\ngpu_mem=32\n"] {
        assert_ne!(edited(BootFormat::ConfigTxt, other, &same[1..2]), other);
    }
}

const UENV: &str = "#Docs: http://elinux.org/Beagleboard:U-boot_partitioning_layout_2.0\nuname_r=5.10.168-ti-r72\n#dtb=\n\
                    enable_uboot_overlays=1\ncmdline=coherent_pool=1M isolcpus=1 quiet\n";

#[test]
fn u_boots_environment_keeps_the_kernels_other_parameters() {
    let now =
        edited(BootFormat::UEnv, UENV, &[("HOST_EXTLINUX_isolcpus", "0,1"), ("HOST_EXTLINUX_fdt", "am335x-boneblack.dtb")]);
    insta::assert_snapshot!(now, @r"
    #Docs: http://elinux.org/Beagleboard:U-boot_partitioning_layout_2.0
    uname_r=5.10.168-ti-r72
    #dtb=
    enable_uboot_overlays=1
    #boardkeeper-off# cmdline=coherent_pool=1M isolcpus=1 quiet
    # boardkeeper: begin
    # From the target's HOST_ variables. The agent overwrites what is changed in here.
    dtb=am335x-boneblack.dtb
    cmdline=coherent_pool=1M quiet isolcpus=0,1
    # boardkeeper: end
    ");
    let extra = edited(BootFormat::ExtraUEnv, "", &[("HOST_EXTLINUX_isolcpus", "3"), ("HOST_EXTLINUX_fdt", "x.dtb")]);
    assert!(extra.contains("custom_fdt_file=x.dtb\nextra_os_cmdline=isolcpus=3\n"), "{extra}");
}

const EXTLINUX: &str = "\
menu title Select the boot mode
default microSD (default)
label eMMC
    kernel /Image
    append root=/dev/mmcblk0p3
label microSD (default)
    kernel /Image
    append console=ttyS2,115200n8 root=/dev/mmcblk1p3
    fdtdir /
label recovery
    append single";

#[test]
fn the_entry_that_is_booted_is_changed_and_no_other() {
    let pairs = [("HOST_EXTLINUX_isolcpus", "2,3"), ("HOST_EXTLINUX_fdt", "/ti/x.dtb")];
    let now = edited(BootFormat::Extlinux, EXTLINUX, &pairs);
    insta::assert_snapshot!(now, @r"
    menu title Select the boot mode
    default microSD (default)
    label eMMC
        kernel /Image
        append root=/dev/mmcblk0p3
    label microSD (default)
    # boardkeeper: begin
    # From the target's HOST_ variables. The agent overwrites what is changed in here.
        fdt /ti/x.dtb
        append console=ttyS2,115200n8 root=/dev/mmcblk1p3 isolcpus=2,3
    # boardkeeper: end
        kernel /Image
    #boardkeeper-off#     append console=ttyS2,115200n8 root=/dev/mmcblk1p3
        fdtdir /
    label recovery
        append single
    ");
    assert_eq!(edited(BootFormat::Extlinux, &now, &[]), EXTLINUX);
    for lost in ["", "default x\nlabel y\n"] {
        let why = with_variables(BootFormat::Extlinux, lost.as_bytes(), &set(&pairs)).unwrap_err();
        assert!(why.contains("no entry"), "{why}");
        assert_eq!(edited(BootFormat::Extlinux, lost, &[]), lost);
    }
}

#[test]
fn a_block_whose_end_an_editor_removed_takes_nothing_with_it() {
    let now = edited(BootFormat::ConfigTxt, CONFIG_TXT, &[("HOST_CONFIG_gpu_mem", "16")]);
    let cut = now.replace("# boardkeeper: end\n", "arm_freq=900\n");
    let again = edited(BootFormat::ConfigTxt, &cut, &[("HOST_CONFIG_gpu_mem", "32")]);
    assert!(again.contains("arm_freq=900\n") && again.contains("#boardkeeper-off# gpu_mem=16\n"), "{again}");
    assert!(again.contains("\ngpu_mem=32\n"), "{again}");
}

fn any_format() -> impl Strategy<Value = BootFormat> {
    prop_oneof![Just(BootFormat::ConfigTxt), Just(BootFormat::UEnv), Just(BootFormat::ExtraUEnv), Just(BootFormat::Extlinux)]
}

const KEYS: [&str; 12] = [
    "dtparam",
    "dtoverlay",
    "gpio",
    "gpu_mem",
    "cmdline",
    "dtb",
    "extra_os_cmdline",
    "custom_fdt_file",
    "append",
    "fdt",
    "isolcpus",
    "label",
];

/// Bytes that look like such a file, more or less.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let key = proptest::sample::select(KEYS.to_vec());
    let value =
        proptest::sample::select(vec!["", "i2c_arm=on", "spi=on,foo=1", "vc4-kms-v3d,cma-512", "isolcpus=1 quiet", "x y"]);
    let line = prop_oneof![
        4 => (key, prop_oneof![Just("="), Just(" "), Just("")], value).prop_map(|(a, b, c)| format!("{a}{b}{c}").into_bytes()),
        1 => Just(b"[pi4]".to_vec()),
        1 => Just(b"# a comment".to_vec()),
        1 => Just(b"default x y".to_vec()),
        1 => Just(b"label x y".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    let end = prop_oneof![3 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..]), 1 => Just(&b"  \n"[..])];
    (prop::collection::vec((line, end), 0..12), any::<bool>()).prop_map(|(lines, is_open)| {
        let mut file: Vec<u8> = lines.into_iter().flat_map(|(line, end)| [&line[..], end].concat()).collect();
        if is_open && file.ends_with(b"\n") {
            file.pop();
        }
        file
    })
}

fn any_variables() -> impl Strategy<Value = BootVariables> {
    let prefix = prop_oneof![Just("HOST_CONFIG_"), Just("HOST_EXTLINUX_")];
    let key = prop_oneof![8 => proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    let value = prop_oneof![
        Just("1".to_owned()),
        Just(r#""a=on","b,c=1""#.to_owned()),
        Just(String::new()),
        "[a-z0-9,=\" ]{0,8}",
        any::<String>()
    ];
    let variables = prop::collection::btree_map((prefix, key).prop_map(|(a, b)| format!("{a}{b}")), value, 0..6);
    variables.prop_map(|it| it.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_file_is_edited_once_and_restored(
        format in any_format(), file in any_file(), one in any_variables(), two in any_variables()
    ) {
        let Ok(first) = with_variables(format, &file, &one) else { return Ok(()) };
        prop_assert_eq!(with_variables(format, &first, &one).unwrap(), first.clone(), "again changes nothing");
        prop_assert_eq!(with_variables(format, &first, &two).ok(), with_variables(format, &file, &two).ok(), "no trace is left");
        prop_assert_eq!(with_variables(format, &first, &BootVariables::new()).unwrap(), file.clone(), "and all of it comes back");
        // Line by line: each of the file's is there, as it was or disabled, in the same order.
        let mut left = block::lines(&first);
        for line in block::lines(&file) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let is_it = |it: &[u8]| it.strip_suffix(b"\n").unwrap_or(it).ends_with(line);
            prop_assert!(left.any(is_it), "{:?} is gone from {:?}", line, first);
        }
    }
}
