//! `bench`: one line of JSON with the keys that the comparison scripts read.

use crate::run::Room;

#[test]
fn the_json_line_has_times_memory_and_shares() {
    let runs = [
        ("care_s0 --size 64x64", "heads"),
        ("care_s0_features --size 64x96 --batch 2", "stage 4"),
        ("retinanet_care_s0 --size 64x64", "select"),
        ("retinanet_care_s0 --size 64x64 --direct", "neck"),
        ("care_s0 --size 64x64 --batch 2 --train", "backward"),
        ("retinanet_care_s0 --size 64x64 --train", "optimiser"),
    ];
    for (args, phase) in runs {
        let ran = Room::new().det(&format!("bench --model {args} --threads 1 --repeat 1 --json")).exits(0);
        let json = ran.json();
        assert!(json["wall_ms"].as_f64().is_some_and(|v| v > 0.0), "{args}: {json}");
        for key in ["cpu_ms", "peak_mb"] {
            let here = json[key].as_f64().is_some_and(|v| v > 0.0);
            assert!(here || !cfg!(target_os = "linux"), "{args}: {key} in {json}");
        }
        assert!(json["share_percent"][phase].as_f64().is_some_and(|v| v > 0.0), "{args}: {json}");
        let training = args.contains("--train");
        assert_eq!(json["roofline"].is_null(), training, "{args}: {json}");
        assert!(
            training || json["roofline"]["peak_gflops"].as_f64().is_some_and(|v| v > 0.0),
            "{args}: {json}"
        );
    }
}

#[test]
fn the_arithmetic_is_that_of_the_formulas() {
    // `CareConfig::macs`, which the golden facts check, gives 0.715748 GMACs; the cross of 11×1 and 1×11 shares a tap.
    let ran = Room::new()
        .det("bench --model care_s0_features --size 224x224 --threads 1 --repeat 1 --json")
        .exits(0);
    let json = ran.json();
    let gmacs = json["roofline"]["gmacs"].as_f64().unwrap_or_default();
    assert!((gmacs - 0.7157).abs() < 5e-4, "{gmacs}");
}

#[test]
fn what_cannot_be_measured_is_a_usage_error() {
    Room::new().det("bench --model care_s0_features --train").exits(2).says(&["care_s0"]);
    Room::new().det("bench --model care_s0 --size 16x64").exits(2).says(&["32"]);
}
