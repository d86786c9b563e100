//! The frame of the command line: help, version, usage errors, the instruction set.

use crate::run::Room;

#[test]
fn version_names_instruction_set_and_threads() {
    let ran = Room::new().det_with("--version --threads 3", &[("CARE_ISA", "portable")]).exits(0);
    let text = ran.stdout();
    assert!(
        text.starts_with("care-det ") && text.contains("portable") && text.contains("3 threads"),
        "{text}"
    );
    let json = Room::new().det("--version --json").exits(0).json();
    assert!(json["version"].is_string() && json["isa"].is_string() && json["threads"].is_u64(), "{json}");
}

#[test]
fn help_has_examples_for_every_command() {
    for command in ["", "eval coco", "infer", "weights", "bench", "demo"] {
        let ran = Room::new().det(&format!("{command} --help")).exits(0);
        assert!(ran.stdout().contains("xample"), "{command}: {}", ran.stdout());
        assert_eq!(ran.stderr(), "", "help is a result");
    }
}

#[test]
fn an_instruction_set_that_is_not_one_is_refused() {
    let ran = Room::new().det_with("--version", &[("CARE_ISA", "foo")]).exits(2);
    ran.says(&["CARE_ISA", "foo", "portable"]);
    let elsewhere = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    Room::new().det_with("--version", &[("CARE_ISA", elsewhere)]).exits(2).says(&[elsewhere]);
}

#[test]
fn usage_errors_end_with_two() {
    let table = [
        ("", "Usage"),
        ("detect", "detect"),
        ("eval coco", "--gt"),
        ("eval coco --gt a.json", "--dt"),
        ("eval coco --data demo", "--weights"),
        ("eval coco --gt a.json --dt b.json --weights w", "cannot be used with"),
        ("eval coco --gt a.json --dt b.json --limit 3", "cannot be used with"),
        ("eval coco --gt a.json --dt b.json --data demo --weights w", "cannot be used with"),
        ("eval coco --gt a.json --dt b.json --iou-type joints", "keypoints"),
        ("infer x.jpg", "--weights"),
        ("infer x.jpg --weights w --conf 1.5", "0 to 1"),
        ("infer x.jpg --weights w --imgsz 0", "sides are 1 to"),
        ("infer x.jpg --weights w --imgsz -1", "expected N or LONGxSHORT"),
        ("infer x.jpg --weights w --conf -0.1", "0 to 1"),
        ("infer x.jpg --weights w --batch 0", "--batch"),
        ("bench --model care_s0 --size 224", "HEIGHTxWIDTH"),
        ("bench --model care_s9 --size 64x64", "care_s0"),
        ("--threads 0 --version", "--threads"),
    ];
    for (args, text) in table {
        Room::new().det(args).exits(2).says(&[text]);
    }
}

#[test]
fn a_failure_under_json_is_one_line_of_json_too() {
    let json = Room::new().det("--json").exits(2).json();
    let message = json["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("command") && message.len() < 200, "{message}");
    for args in ["eval coco --gt a.json --dt b.json --json", "infer --json", "bench --model x --json"] {
        let json = Room::new().det(args).exits(2).json();
        assert_eq!((&json["error"]["code"], &json["error"]["kind"]), (&2.into(), &"usage".into()), "{json}");
        assert!(json["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{json}");
    }
}

#[test]
fn flags_of_other_programs_are_told_what_they_are_called_here() {
    let table = [
        ("infer x.jpg --weights w --iou 0.5", "--nms-iou"),
        ("infer x.jpg --weights w --img-size=640", "--imgsz"),
        ("infer x.jpg --model w", "--weights"),
        ("infer --source x.jpg --weights w", "without a flag"),
        ("infer x.jpg --weights w --device cuda", "CPU"),
        ("infer x.jpg --weight w", "'--weights'"),
        ("eval --data d --weights w", "eval coco"),
    ];
    for (args, text) in table {
        Room::new().det(args).exits(2).says(&["tip: ", text]);
    }
    let ran = Room::new().det("infer x.jpg --weights w --nonsense").exits(2).says(&["--nonsense"]);
    assert!(!ran.stderr().contains("as a value"), "{}", ran.stderr());
    Room::new().det("weights init --out w.pth").exits(2).says(&["--out w.safetensors"]);
    Room::new().det("infer https://example.org/a.jpg --weights w").exits(2).says(&["download"]);
}
