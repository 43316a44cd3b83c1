//! Every board is recognised from its own device tree.

use boards::{ALL, Board};

use crate::board::{BoardEvidence, DetectedBoard, DetectedBy, recognise};

/// Model, `compatible`, and the board's id, as firmware, mainline and the vendors write them.
const DEVICE_TREES: &[(&str, &[&str], &str)] = &[
    ("Raspberry Pi Model B Rev 2", &["raspberrypi,model-b", "brcm,bcm2835"], "raspberry-pi-1-model-b"),
    ("Raspberry Pi Model B rev2", &["raspberrypi,model-b-rev2", "brcm,bcm2835"], "raspberry-pi-1-model-b"),
    ("Raspberry Pi Model A Rev 2", &["raspberrypi,model-b", "brcm,bcm2835"], "raspberry-pi-1-model-a"),
    ("Raspberry Pi Model A", &["raspberrypi,model-a", "brcm,bcm2835"], "raspberry-pi-1-model-a"),
    ("Raspberry Pi Model B Plus Rev 1.2", &["raspberrypi,model-b-plus", "brcm,bcm2835"], "raspberry-pi-1-model-b-plus"),
    ("Raspberry Pi Model B+", &["raspberrypi,model-b-plus", "brcm,bcm2835"], "raspberry-pi-1-model-b-plus"),
    ("Raspberry Pi Model A Plus Rev 1.1", &["raspberrypi,model-b-plus", "brcm,bcm2835"], "raspberry-pi-1-model-a-plus"),
    ("Raspberry Pi Model A+", &["raspberrypi,model-a-plus", "brcm,bcm2835"], "raspberry-pi-1-model-a-plus"),
    ("Raspberry Pi Zero Rev 1.3", &["raspberrypi,model-zero", "brcm,bcm2835"], "raspberry-pi-zero"),
    ("Raspberry Pi Zero W Rev 1.1", &["raspberrypi,model-zero-w", "brcm,bcm2835"], "raspberry-pi-zero-w"),
    ("Raspberry Pi Zero 2 W Rev 1.0", &["raspberrypi,model-zero-2-w", "brcm,bcm2837"], "raspberry-pi-zero-2-w"),
    ("Raspberry Pi Zero 2", &["raspberrypi,model-zero-2", "brcm,bcm2837"], "raspberry-pi-zero-2-w"),
    ("Raspberry Pi 2 Model B Rev 1.1", &["raspberrypi,2-model-b", "brcm,bcm2836"], "raspberry-pi-2-model-b"),
    ("Raspberry Pi 2 Model B rev 1.2", &["raspberrypi,2-model-b-rev2", "brcm,bcm2837"], "raspberry-pi-2-model-b"),
    ("Raspberry Pi 3 Model B Rev 1.2", &["raspberrypi,3-model-b", "brcm,bcm2837"], "raspberry-pi-3-model-b"),
    ("Raspberry Pi 3 Model B Plus Rev 1.3", &["raspberrypi,3-model-b-plus", "brcm,bcm2837"], "raspberry-pi-3-model-b-plus"),
    ("Raspberry Pi 3 Model B+", &["raspberrypi,3-model-b-plus", "brcm,bcm2837"], "raspberry-pi-3-model-b-plus"),
    ("Raspberry Pi 3 Model A Plus Rev 1.0", &["raspberrypi,3-model-b-plus", "brcm,bcm2837"], "raspberry-pi-3-model-a-plus"),
    ("Raspberry Pi 3 Model A+", &["raspberrypi,3-model-a-plus", "brcm,bcm2837"], "raspberry-pi-3-model-a-plus"),
    ("Raspberry Pi Compute Module Rev 1.0", &["raspberrypi,compute-module", "brcm,bcm2835"], "raspberry-pi-compute-module-1"),
    ("Raspberry Pi Compute Module IO board rev1", &["raspberrypi,compute-module"], "raspberry-pi-compute-module-1"),
    ("Raspberry Pi Compute Module", &["raspberrypi,compute-module", "brcm,bcm2835"], "raspberry-pi-compute-module-1"),
    ("Raspberry Pi Compute Module 3 Rev 1.0", &["raspberrypi,3-compute-module"], "raspberry-pi-compute-module-3"),
    ("Raspberry Pi Compute Module 3 Plus Rev 1.0", &["raspberrypi,3-compute-module"], "raspberry-pi-compute-module-3"),
    ("Raspberry Pi Compute Module 3+", &["raspberrypi,3-compute-module-plus"], "raspberry-pi-compute-module-3"),
    ("Raspberry Pi Compute Module 3 IO board V3.0", &["raspberrypi,3-compute-module"], "raspberry-pi-compute-module-3"),
    ("Raspberry Pi Compute Module 4 Rev 1.0", &["raspberrypi,4-compute-module"], "raspberry-pi-compute-module-4"),
    ("Raspberry Pi Compute Module 4 IO Board", &["raspberrypi,4-compute-module"], "raspberry-pi-compute-module-4"),
    ("Raspberry Pi Compute Module 4S Rev 1.0", &["raspberrypi,4-compute-module-s"], "raspberry-pi-compute-module-4s"),
    ("Raspberry Pi Compute Module 5 Rev 1.0", &["raspberrypi,5-compute-module"], "raspberry-pi-compute-module-5"),
    ("Raspberry Pi Compute Module 5 Lite Rev 1.0", &["raspberrypi,5-compute-model"], "raspberry-pi-compute-module-5"),
    ("Raspberry Pi 4 Model B Rev 1.4", &["raspberrypi,4-model-b", "brcm,bcm2711"], "raspberry-pi-4-model-b"),
    ("Raspberry Pi 400 Rev 1.0", &["raspberrypi,400", "brcm,bcm2711"], "raspberry-pi-400"),
    ("Raspberry Pi 5 Model B Rev 1.0", &["raspberrypi,5-model-b", "brcm,bcm2712"], "raspberry-pi-5"),
    ("Raspberry Pi 5", &["raspberrypi,5-model-b", "brcm,bcm2712"], "raspberry-pi-5"),
    ("Raspberry Pi 500 Rev 1.0", &["raspberrypi,500", "brcm,bcm2712"], "raspberry-pi-500"),
    ("TI AM335x BeagleBone", &["ti,am335x-bone", "ti,am33xx"], "beaglebone-white"),
    ("TI AM335x BeagleBone Black", &["ti,am335x-bone-black", "ti,am335x-bone", "ti,am33xx"], "beaglebone-black"),
    ("TI AM335x BeagleBone Black Wireless", &["ti,am335x-bone-black-wireless", "ti,am335x-bone"], "beaglebone-black-wireless"),
    ("TI AM335x BeagleBone Black Wireless", &["ti,am335x-bone-black", "ti,am335x-bone"], "beaglebone-black-wireless"),
    ("TI AM335x BeagleBone Green", &["ti,am335x-bone-green", "ti,am335x-bone-black", "ti,am335x-bone"], "beaglebone-green"),
    ("TI AM335x BeagleBone Green Wireless", &["ti,am335x-bone-green-wireless", "ti,am335x-bone"], "beaglebone-green-wireless"),
    ("SeeedStudio BeagleBone Green Gateway", &["ti,am335x-bone-green-gateway", "ti,am335x-bone"], "beaglebone-green-gateway"),
    ("Seeed Studio BeagleBone Green Eco", &["seeed,am335x-bone-green-eco", "ti,am33xx"], "beaglebone-green-eco"),
    ("TI AM335x BeagleBone Blue", &["ti,am335x-bone-blue", "ti,am33xx"], "beaglebone-blue"),
    ("TI AM335x PocketBeagle", &["ti,am335x-pocketbeagle", "ti,am335x-bone", "ti,am33xx"], "pocketbeagle"),
    ("BeagleBoard.org PocketBeagle2", &["beagle,am62-pocketbeagle2", "ti,am625"], "pocketbeagle-2"),
    ("BeagleBoard.org PocketBeagle2", &["beagle,am6232-pocketbeagle2", "ti,am625"], "pocketbeagle-2"),
    ("BeagleBoard.org BeagleBone AI", &["beagle,am5729-beagleboneai", "ti,am5728"], "beaglebone-ai"),
    ("BeagleBoard.org BeagleBone AI", &["beagleboard.org,am5729-beagleboneai", "ti,am5728"], "beaglebone-ai"),
    ("BeagleBoard.org BeagleBone AI-64", &["beagle,j721e-beagleboneai64", "ti,j721e"], "beaglebone-ai-64"),
    ("BeagleBoard.org BeaglePlay", &["beagle,am625-beagleplay", "ti,am625"], "beagleplay"),
    ("BeagleBoard.org BeagleY-AI", &["beagle,am67a-beagley-ai", "ti,j722s"], "beagley-ai"),
    ("BeagleBoard.org BeagleY-AI", &["beagle,j722s-beagley-ai", "ti,j722s"], "beagley-ai"),
];

fn hardware(model: &str, compatible: &[&str]) -> BoardEvidence {
    let compatible = compatible.iter().map(|it| (*it).to_owned()).collect();
    BoardEvidence { model: Some(model.to_owned()), compatible, ..BoardEvidence::default() }
}

fn look(model: &str, compatible: &[&str]) -> DetectedBoard {
    recognise(hardware(model, compatible))
}

fn id(detected: &DetectedBoard) -> Option<&'static str> {
    detected.board.map(|board| board.id)
}

#[test]
fn every_board_is_found_from_its_own_device_tree() {
    for (model, compatible, want) in DEVICE_TREES {
        let detected = look(model, compatible);
        assert_eq!(id(&detected), Some(*want), "{model}");
        assert_eq!(detected.how, DetectedBy::Model((*model).to_owned()));
        assert_eq!(detected.model.as_deref(), Some(*model));
        assert_eq!(detected.compatible, *compatible);
    }
    for board in ALL {
        assert!(DEVICE_TREES.iter().any(|(_, _, id)| *id == board.id), "{} has no device tree in this test", board.id);
    }
}

#[test]
fn every_board_is_found_by_compatible_alone() {
    for board in ALL {
        for entry in board.compatible {
            let detected = look("An unknown model", &[entry, "brcm,bcm2835"]);
            assert_eq!((id(&detected), &detected.how), (Some(board.id), &DetectedBy::Compatible((*entry).to_owned())));
        }
    }
}

#[test]
fn what_follows_a_model_must_be_a_revision() {
    for (model, want) in [
        ("Raspberry Pi 500", Some("raspberry-pi-500")),
        ("Raspberry Pi 5", Some("raspberry-pi-5")),
        ("Raspberry Pi 5000", None),
        ("Raspberry Pi Zero 3 W Rev 1.0", None),
        ("Raspberry Pi Compute Module 2 Rev 1.0", None),
        ("Raspberry Pi Compute Module 0 Rev 1.0", None),
        ("Raspberry Pi Compute Module 40", None),
        ("TI AM335x BeagleBone Purple", None),
        ("TI AM335x BeagleBone Black Revolution", None),
        ("TI AM335x BeagleBone Black Rev C", Some("beaglebone-black")),
        ("", None),
    ] {
        assert_eq!(Board::by_model(model).map(|it| it.id), want, "{model}");
    }
}

#[test]
fn a_clone_is_taken_for_the_board_it_is_compatible_with() {
    let detected =
        look("SanCloud BeagleBone Enhanced", &["sancloud,am335x-boneenhanced", "ti,am335x-bone-black", "ti,am335x-bone"]);
    assert_eq!(id(&detected), Some("beaglebone-black"));
    assert_eq!(detected.to_string(), "BeagleBone Black, by `ti,am335x-bone-black` in its device tree");
}

#[test]
fn a_board_of_which_nobody_heard_is_not_guessed_at() {
    let detected = look("NVIDIA Jetson Nano", &["nvidia,p3450-0000", "nvidia,tegra210"]);
    assert_eq!((id(&detected), detected.how.clone(), detected.perhaps.len()), (None, DetectedBy::Nothing, 0));
    assert_eq!(detected.to_string(), "a board we do not know, and nothing told us what it is");
}

#[test]
fn a_device_type_of_several_boards_names_them_all() {
    let device_types = vec![("raspberrypi5".to_owned(), "the environment".to_owned())];
    let detected = recognise(BoardEvidence { device_types, ..BoardEvidence::default() });
    assert_eq!(id(&detected), None);
    let perhaps = "one of Raspberry Pi 5, Raspberry Pi 500, Raspberry Pi Compute Module 5, ";
    assert_eq!(detected.to_string(), format!("{perhaps}by its device type `raspberrypi5` in the environment"));
}

#[test]
fn a_person_knows_best() {
    let configured = |said: &str| {
        let hardware = hardware("Raspberry Pi 3 Model B Rev 1.2", &["raspberrypi,3-model-b"]);
        recognise(BoardEvidence { configured: Some(said.to_owned()), ..hardware })
    };

    let by_id = configured("raspberry-pi-4-model-b");
    assert_eq!(
        (id(&by_id), by_id.how),
        (Some("raspberry-pi-4-model-b"), DetectedBy::Configuration("raspberry-pi-4-model-b".to_owned()))
    );
    assert!(by_id.complaint.unwrap().contains("this is a Raspberry Pi 3 Model B by its model"));

    // Six boards share the slug, and the hardware says which.
    let by_slug = configured("raspberrypi3");
    assert_eq!((id(&by_slug), by_slug.complaint), (Some("raspberry-pi-3-model-b"), None));

    let by_another_slug = configured("raspberry-pi");
    assert_eq!(id(&by_another_slug), None);
    assert!(by_another_slug.perhaps.iter().any(|it| it.id == "raspberry-pi-zero-w"));
    assert!(by_another_slug.complaint.is_some());

    let misspelt = configured("raspbery-pi");
    assert_eq!(id(&misspelt), Some("raspberry-pi-3-model-b"));
    assert!(misspelt.complaint.unwrap().contains("`--board raspbery-pi`: no board goes by that name"));
}
