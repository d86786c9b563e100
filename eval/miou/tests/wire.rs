//! Counting in parts: the same counts, whatever the parts; bytes that are damaged; parts that do not belong together.
use care_miou::{ErrorKind, MAX_CLASSES, Result, SegEvaluator, SegMap, SegSource, Size};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Magic, version, length.
const HEAD: usize = 20;

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class {i}")).collect()
}

fn new(classes: usize) -> SegEvaluator {
    let source = SegSource { ground_truth: "gt".into(), results: "weights".into() };
    SegEvaluator::new(names(classes), Some(255)).unwrap().with_source(source)
}

fn add(evaluator: &mut SegEvaluator, name: &str, pairs: &[(u8, u8)]) -> Result<()> {
    let (label, prediction): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
    let size = Size::new(pairs.len() as u32, 1);
    evaluator.add(name, SegMap::new(&label, size)?, SegMap::new(&prediction, size)?)
}

fn example() -> SegEvaluator {
    let mut evaluator = new(5);
    add(&mut evaluator, "a.png", &[(0, 1), (4, 4), (255, 0), (4, 4)]).unwrap();
    add(&mut evaluator, "é.png", &[(3, 0); 300]).unwrap();
    evaluator
}

static STATE: LazyLock<Vec<u8>> = LazyLock::new(|| example().to_bytes());

/// A file with this body and a checksum that fits.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut file = STATE[..12].to_vec();
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file.extend(crc32fast::hash(&file).to_le_bytes());
    file
}

fn refused(bytes: &[u8], words: &[&str]) {
    let errors = [SegEvaluator::from_bytes(bytes).unwrap_err(), SegEvaluator::read_from(bytes).unwrap_err()];
    for e in errors {
        let text = e.to_string();
        assert!(e.kind() == ErrorKind::Input && words.iter().all(|w| text.contains(w)), "{text}: {words:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_in_any_order_gives_the_same_bytes(
        classes in prop_oneof![1..6usize, Just(200)],
        pictures in prop::collection::vec((prop::collection::vec((any::<u8>(), any::<u8>()), 0..50), 0..4usize), 1..9),
        order in any::<prop::sample::Index>(),
    ) {
        let class = |v: u8| v % classes as u8;
        let label = |v: u8| if v > 250 { 255 } else { class(v) };
        let (mut whole, mut parts) = (new(classes), vec![new(classes); 4]);
        for (i, (pairs, part)) in pictures.iter().enumerate() {
            let pairs: Vec<(u8, u8)> = pairs.iter().map(|&(l, p)| (label(l), class(p))).collect();
            add(&mut whole, &format!("{i}"), &pairs).unwrap();
            add(&mut parts[*part], &format!("{i}"), &pairs).unwrap();
        }
        let first = order.index(4);
        parts.rotate_left(first);
        let mut all = new(classes);
        for part in &parts {
            all.merge(SegEvaluator::from_bytes(&part.to_bytes()).unwrap()).unwrap();
        }
        prop_assert_eq!(all.matrix().metrics(), whole.matrix().metrics());
        prop_assert!(all.to_bytes() == whole.to_bytes());
        prop_assert_eq!(all, whole);
    }

    #[test]
    fn damage_is_always_noticed(at in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = STATE.clone();
        bytes[at.index(STATE.len())] ^= flip;
        prop_assert!(SegEvaluator::from_bytes(&bytes).is_err());
        prop_assert!(SegEvaluator::read_from(&bytes[..]).is_err());
        prop_assert!(SegEvaluator::from_bytes(&STATE[..cut.index(STATE.len())]).is_err());
    }

    /// Behind a checksum that fits: an error or a state, never a panic; and the state can be used.
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
        if let Ok(evaluator) = SegEvaluator::from_bytes(&sealed(&body)) {
            let _ = evaluator.matrix().metrics().m_iou();
            prop_assert_eq!(SegEvaluator::from_bytes(&evaluator.to_bytes()).unwrap(), evaluator);
        }
    }
}

#[test]
fn files_that_are_no_state_are_named() {
    let n = STATE.len();
    let with = |at: usize, value: u8| {
        let mut bytes = STATE.clone();
        bytes[at] = value;
        bytes
    };
    refused(b"", &["cut off", "0 bytes"]);
    refused(&STATE[..n - 1], &["cut off", &format!("{} of {n} bytes", n - 1)]);
    refused(&[&STATE[..], b"\n"].concat(), &["1 bytes too many"]);
    refused(b"\x89PNG\r\n\x1a\n", &["not the state", "\\x89PNG"]);
    refused(b"care-map....", &["of detections, expected one of segmentations"]);
    refused(&with(8, 2), &["format 2", "reads 1", "newer"]);
    refused(&with(HEAD + 9, STATE[HEAD + 9] ^ 4), &["damaged", "checksum"]);
    refused(&with(19, 0xff), &["damaged"]);
    let body = &STATE[HEAD..n - 4];
    refused(&sealed(&[]), &["damaged", "classes"]);
    refused(&sealed(b"\x00\x00\x00\x00\x00\x00"), &["damaged", "0 classes"]);
    // 2^62 classes, and pixels of a pair that is not there.
    refused(&sealed(b"\x80\x80\x80\x80\x80\x80\x80\x80\x40"), &["classes", "items", "left"]);
    refused(&sealed(&[body, b"\x63\x01"].concat()), &["counts", "5 classes"]);
    refused(&sealed(&[body, b"\x00"].concat()), &["counts", "0 are left"]);
    let huge = [&b"\x01\x01a\x00\x00\x00\x00"[..], &[0xff; 9], b"\x01\x00\x01"].concat();
    refused(&sealed(&huge), &["2^64 pixels"]);
    let many = names(MAX_CLASSES + 1);
    assert_eq!(SegEvaluator::new(many, None).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn evaluators_of_different_things_are_not_merged() {
    let with = |classes: Vec<String>, ignore, truth: &str, results: &str| {
        let source = SegSource { ground_truth: truth.into(), results: results.into() };
        SegEvaluator::new(classes, ignore).unwrap().with_source(source)
    };
    let renamed = vec!["class 0".into(), "sky".into(), "class 2".into(), "class 3".into(), "class 4".into()];
    let cases: [(SegEvaluator, &[&str]); 6] = [
        (with(names(4), Some(255), "gt", "weights"), &["class 4", "\"class 4\" here (5", "nothing there (4"]),
        (with(renamed, Some(255), "gt", "weights"), &["class 1", "\"sky\" there"]),
        (with(names(5), None, "gt", "weights"), &["ignored value: 255 here and none there"]),
        (with(names(5), Some(255), "other", "weights"), &["ground truth", "\"gt\"", "\"other\""]),
        (with(names(5), Some(255), "gt", "x"), &["results", "\"weights\"", "\"x\""]),
        (example(), &["2 of 2 pictures", "a.png"]),
    ];
    for (other, words) in cases {
        let mut all = example();
        let e = all.merge(other).unwrap_err();
        let text = e.to_string();
        assert!(e.kind() == ErrorKind::Input && words.iter().all(|w| text.contains(w)), "{text}: {words:?}");
        assert_eq!(all, example());
    }
}

#[test]
fn a_picture_counts_once_or_not_at_all() {
    let mut evaluator = example();
    let e = add(&mut evaluator, "a.png", &[(0, 0)]).unwrap_err();
    assert!(e.kind() == ErrorKind::Input && e.to_string().contains("a.png: was counted before"), "{e}");
    let e = add(&mut evaluator, "b.png", &[(0, 7)]).unwrap_err();
    assert!(e.to_string().contains("b.png: prediction 7"), "{e}");
    assert!(!evaluator.contains("b.png") && evaluator.contains("a.png"));
    assert_eq!(evaluator, example());
    assert!(evaluator.pictures().eq(["a.png", "é.png"]));
}
