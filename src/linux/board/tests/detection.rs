//! Device trees and files that name the board, as kernels and images write them.

use super::Tree;
use crate::board::{BoardHints, DetectedBoard, DetectedBy};
use crate::linux::board::detect;

fn id(detected: &DetectedBoard) -> Option<&'static str> {
    detected.board.map(|board| board.id)
}

#[test]
fn the_device_tree_is_read_whole_and_no_configuration_is_auto() {
    let tree = Tree::new();
    tree.device_tree("Raspberry Pi 3 Model B Rev 1.2", &["raspberrypi,3-model-b", "brcm,bcm2837"]);
    for said in [None, Some(""), Some("auto")] {
        let detected = detect(tree.root(), &BoardHints { board: said.map(str::to_owned), ..BoardHints::default() });
        assert_eq!((id(&detected), detected.complaint), (Some("raspberry-pi-3-model-b"), None));
        assert_eq!(detected.model.as_deref(), Some("Raspberry Pi 3 Model B Rev 1.2"));
        assert_eq!(detected.compatible, ["raspberrypi,3-model-b", "brcm,bcm2837"]);
    }
}

#[test]
fn the_processors_own_file_serves_where_the_device_tree_is_hidden() {
    let tree = Tree::new();
    tree.write(
        "proc/cpuinfo",
        "model name\t: ARMv7 Processor rev 3 (v7l)\n\nHardware\t: BCM2711\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1\n",
    );
    let detected = detect(tree.root(), &BoardHints { device_type: Some("raspberry-pi".to_owned()), ..BoardHints::default() });
    assert_eq!(id(&detected), Some("raspberry-pi-4-model-b"));
    assert_eq!(detected.to_string(), "Raspberry Pi 4 Model B, by its model `Raspberry Pi 4 Model B Rev 1.1`");
}

#[test]
fn the_device_type_serves_where_nothing_else_is_left() {
    let tree = Tree::new();
    tree.write("mnt/boot/device-type.json", r#"{"slug":"beaglebone-ai64","name":"BeagleBone AI-64"}"#);
    let from_file = detect(tree.root(), &BoardHints::default());
    assert_eq!(id(&from_file), Some("beaglebone-ai-64"));
    assert_eq!(from_file.to_string(), "BeagleBone AI-64, by its device type `beaglebone-ai64` in `/mnt/boot/device-type.json`");
    let from_environment =
        detect(tree.root(), &BoardHints { device_type: Some("raspberrypi400-64".to_owned()), ..BoardHints::default() });
    assert_eq!(id(&from_environment), Some("raspberry-pi-400"));
}

#[test]
fn rubbish_is_no_board_and_no_reason_to_fall_over() {
    let tree = Tree::new();
    tree.write("sys/firmware/devicetree/base/model", b"\xff\xfe\0\0\0");
    tree.write("sys/firmware/devicetree/base/compatible", vec![0_u8; 70_000]);
    tree.write("proc/cpuinfo", "Model\nModel:\n:\n");
    tree.write("mnt/boot/device-type.json", r#"{"slug": 5}"#);
    tree.write("resin-boot/device-type.json", "{");
    let detected = detect(tree.root(), &BoardHints { device_type: Some(String::new()), ..BoardHints::default() });
    assert_eq!((id(&detected), detected.how), (None, DetectedBy::Nothing));
}
