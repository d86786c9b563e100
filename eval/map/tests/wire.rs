//! The state of an evaluator as bytes: how many they are, and what happens to those that are damaged.
mod synthetic;

use care_map::{ErrorKind, Evaluator, Source};
use proptest::prelude::*;
use std::sync::LazyLock;
use synthetic::{Data, SMALL, Sizes, data};

/// Magic, version, length.
const HEAD: usize = 20;

fn state(data: &Data) -> Vec<u8> {
    let source = Source { ground_truth: "sha256:12ab".into(), results: "sha256:34cd".into() };
    let mut evaluator = Evaluator::new(&data.gt.categories, &data.params).unwrap().with_source(source);
    evaluator.add_all(&data.gt, &data.dt).unwrap();
    evaluator.to_bytes()
}

static STATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut data = data(1, SMALL);
    data.gt.annotations[0].id = 0;
    state(&data)
});

/// A file with this body and a checksum that fits.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut file = STATE[..12].to_vec();
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file.extend(crc32fast::hash(&file).to_le_bytes());
    file
}

fn refused(bytes: &[u8], words: &[&str]) {
    let e = Evaluator::from_bytes(bytes).unwrap_err();
    let read = Evaluator::read_from(bytes).unwrap_err();
    for e in [e, read] {
        let text = e.to_string();
        assert!(e.kind() == ErrorKind::Input && words.iter().all(|w| text.contains(w)), "{text}: {words:?}");
    }
}

#[test]
fn a_detection_takes_less_than_24_bytes() {
    // As val2017 and the 100 detections per picture of most detectors: 80 categories, 7 objects.
    let sizes = Sizes { pictures: 400, categories: 80, objects: 7, detections: 100, side: 500 };
    for seed in [1, 2, 3] {
        let data = data(seed, sizes);
        let per_detection = state(&data).len() as f64 / data.dt.len() as f64;
        println!("seed {seed}: {} detections, {per_detection:.2} bytes each", data.dt.len());
        assert!(per_detection < 24.0, "{per_detection}");
    }
}

#[test]
fn states_come_back_from_readers_too() {
    let evaluator = Evaluator::read_from(&STATE[..]).unwrap();
    assert_eq!(evaluator.source().results, "sha256:34cd");
    let mut written = Vec::new();
    evaluator.write_to(&mut written).unwrap();
    assert!(written == *STATE);
}

#[test]
fn files_that_are_no_state_are_named() {
    let with = |at: usize, value: u8| {
        let mut bytes = STATE.clone();
        bytes[at] = value;
        bytes
    };
    refused(b"", &["cut off", "0 bytes"]);
    refused(&STATE[..7], &["cut off", "7 bytes"]);
    refused(&STATE[..HEAD], &["cut off"]);
    let n = STATE.len();
    refused(&STATE[..n - 1], &["cut off", &format!("{} of {n} bytes", n - 1)]);
    refused(&[&STATE[..], b"\n"].concat(), &["1 bytes too many"]);
    refused(b"[{\"image_id\": 1}]", &["not the state", "[{\\\"imag"]);
    refused(b"caremiou....", &["of segmentations, expected one of detections"]);
    refused(&with(8, 3), &["format 3", "reads 2", "newer"]);
    refused(&with(8, 1), &["format 1", "reads 2"]);
    refused(&with(8, 0), &["format 0"]);
    refused(&with(HEAD + 9, STATE[HEAD + 9] ^ 4), &["damaged", "checksum"]);
    refused(&with(n - 1, STATE[n - 1] ^ 1), &["damaged", "checksum"]);
    refused(&with(19, 0xff), &["damaged"]);
    refused(&with(18, 0x7f), &["cut off"]);
}

#[test]
fn bodies_that_cannot_be_are_named() {
    let body = &STATE[HEAD..STATE.len() - 4];
    refused(&sealed(&[]), &["damaged", "iouType"]);
    refused(&sealed(b"\x04pose"), &["iou type", "pose"]);
    refused(&sealed(b"\x04bbox\x04voc!"), &["benchmark", "voc!"]);
    refused(&sealed(b"\x04bbox\x04coco\x07"), &["quirks", "7"]);
    // 2^62 thresholds.
    refused(
        &sealed(b"\x04bbox\x04coco\x00\x80\x80\x80\x80\x80\x80\x80\x80\x40"),
        &["iouThrs", "items", "left"],
    );
    refused(
        &sealed(b"\x04bbox\x04coco\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        &["iouThrs", "64 bits"],
    );
    refused(&sealed(&[body, b"\x00"].concat()), &["left after the end"]);
    refused(&sealed(&body[..body.len() - 1]), &["record"]);
    let mut cut = body.to_vec();
    let last = cut.len() - 2;
    cut[last] ^= 0xff;
    assert!(Evaluator::from_bytes(&sealed(&cut)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_always_noticed(at in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = STATE.clone();
        bytes[at.index(STATE.len())] ^= flip;
        prop_assert!(Evaluator::from_bytes(&bytes).is_err());
        prop_assert!(Evaluator::read_from(&bytes[..]).is_err());
        prop_assert!(Evaluator::from_bytes(&STATE[..cut.index(STATE.len())]).is_err());
    }

    /// Behind a checksum that fits, as a liar would make it: an error or a state, never a panic; and the state can be used.
    #[test]
    fn lies_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = STATE[HEAD..STATE.len() - 4].to_vec();
        for (at, value) in &changes {
            let at = at.index(body.len());
            body[at] = *value;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        if let Ok(evaluator) = Evaluator::from_bytes(&sealed(&body)) {
            let _ = evaluator.finish();
            prop_assert!(Evaluator::from_bytes(&evaluator.to_bytes()).is_ok());
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Evaluator::from_bytes(&bytes).is_err());
        prop_assert!(Evaluator::from_bytes(&sealed(&bytes)).is_err());
    }
}
