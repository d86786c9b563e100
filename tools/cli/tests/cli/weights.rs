//! `weights init | inspect | convert`: what is written can be read, and what does not fit says so.

use crate::run::{Room, golden};

#[test]
fn init_writes_a_file_that_inspect_reads() {
    let room = Room::new();
    let made = room.det("weights init --classes 3 --seed 7 --out w.safetensors --json").exits(0).json();
    assert_eq!(made["model"], "retinanet_care_s0");
    let seen = room.det("weights inspect w.safetensors --json").exits(0).json();
    assert_eq!(seen["model"], "retinanet_care_s0");
    assert_eq!(seen["classes"].as_array().map(Vec::len), Some(3));
    assert_eq!(seen["provenance"]["seed"], 7);
    assert!(seen["parameters"].as_u64().is_some_and(|n| n > 14_000_000), "{seen}");
    let text = room.det("weights inspect w.safetensors").exits(0).stdout();
    assert!(text.contains("retinanet_care_s0") && text.contains("1333x800"), "{text}");
    room.det("weights init --classes 3 --out w.safetensors").exits(2).says(&["--overwrite"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let room = Room::new();
    for (out, seed) in [("a", 1), ("b", 1), ("c", 2)] {
        room.det(&format!("weights init --classes 2 --seed {seed} --out {out}.safetensors")).exits(0);
    }
    let read = |name: &str| std::fs::read(room.path(name)).expect("a written file");
    assert!(read("a.safetensors") == read("b.safetensors"), "same seed");
    assert!(read("a.safetensors") != read("c.safetensors"), "other seed");
}

#[test]
fn default_classes_are_those_of_coco() {
    let room = Room::new();
    room.det("weights init --recipe A/e2e/retina --out w.safetensors").exits(0);
    let seen = room.det("weights inspect w.safetensors --json").exits(0).json();
    let classes = seen["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), 80);
    assert_eq!((&classes[0]["name"], &classes[79]["name"]), (&"person".into(), &"toothbrush".into()));
    assert_eq!(classes[79]["id"], 90);
}

#[test]
fn bad_models_and_files_are_named() {
    let room = Room::new();
    room.det("weights init --model retinanet_care_s7 --out w.safetensors")
        .exits(2)
        .says(&["retinanet_care_s7", "retinanet_care_s0"]);
    room.det("weights init --out no/such/folder/w.safetensors").exits(2).says(&["no/such/folder"]);
    room.det("weights init --backbone no.pth --out w.safetensors").exits(2).says(&["no.pth"]);
    room.det("weights init --labels-from no.json --out w.safetensors").exits(2).says(&["no.json"]);
    room.det("weights inspect no.safetensors").exits(2).says(&["no.safetensors"]);
    for (name, bytes) in
        [("empty.pth", &b""[..]), ("text.pth", b"not weights"), ("cut.safetensors", b"\x10\0\0\0\0\0\0\0{")]
    {
        room.file(name, bytes);
        room.det(&format!("weights inspect {name}")).exits(5).says(&[name]);
        room.det(&format!("weights convert {name} --out w.safetensors")).exits(5).says(&[name]);
        assert!(!room.path("w.safetensors").exists(), "nothing is left behind");
    }
}

#[test]
fn a_file_that_was_cut_off_says_so() {
    let room = Room::new();
    room.weights();
    let whole = std::fs::read(room.path("w.safetensors")).expect("weights");
    for kept in [500, whole.len() / 2, whole.len() - 1] {
        room.file("cut.safetensors", &whole[..kept]);
        for command in ["weights inspect cut.safetensors", "eval coco --data demo --weights cut.safetensors"]
        {
            room.det(command)
                .exits(5)
                .says(&["cut.safetensors", "damaged or cut off; copy or download it again"]);
        }
    }
    let Some(golden) = golden() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(golden.join("pth")).expect("pth") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        if bytes.starts_with(b"PK") {
            room.file("cut.pth", &bytes[..bytes.len() / 2]);
            room.det("weights inspect cut.pth").exits(5).says(&["cut.pth", "damaged or cut off"]);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn pytorch_checkpoints_convert_with_names_and_values_unchanged() {
    let Some(golden) = golden() else { return };
    let room = Room::new();
    let mut converted = 0;
    for entry in std::fs::read_dir(golden.join("pth")).expect("pth") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if !(name.ends_with(".pth") || name.ends_with(".pth.tar")) {
            continue;
        }
        let ran = room.det(&format!("weights convert {} --out {name}.safetensors --json", path.display()));
        let json = ran.json();
        if json["error"].is_object() {
            assert_eq!(json["error"]["code"], 5, "{name}: {json}");
            continue;
        }
        let seen = room.det(&format!("weights inspect {name}.safetensors --json")).exits(0).json();
        assert_eq!(seen["tensors"], json["tensors"], "{name}");
        converted += 1;
    }
    assert!(converted >= 5, "only {converted} checkpoints were converted");
}
