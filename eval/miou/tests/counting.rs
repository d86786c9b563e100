//! The public way of counting against a naive loop: any maps, any order, any threads; and what must be refused.
use care_miou::{ConfusionMatrix, ErrorKind, MAX_CLASSES, Result, SegMap, Size};
use proptest::prelude::*;
use rayon::prelude::*;

/// Label, prediction, width; sizes are small, so that all parts of a pass meet their ends.
type Picture = (Vec<u8>, Vec<u8>, usize);

const IGNORE: u8 = 255;

fn size(width: usize, pixels: usize) -> Size {
    Size::new(width as u32, (pixels / width.max(1)) as u32)
}

fn update(
    matrix: &mut ConfusionMatrix,
    (label, prediction, width): &Picture,
    ignore: Option<u16>,
) -> Result<()> {
    let size = size(*width, label.len());
    matrix.update(SegMap::new(label, size)?, SegMap::new(prediction, size)?, ignore)
}

/// A picture of `height` rows, each value repeated up to `run` times.
fn picture(classes: usize) -> impl Strategy<Value = Picture> {
    let shape = (1..90usize, 0..90usize, prop_oneof![Just(1usize), Just(8), Just(300)]);
    let value = 0..=classes; // the last one is the ignored label
    (shape, prop::collection::vec((value, 0..classes, any::<u16>()), 1..400)).prop_map(
        move |((width, height, run), values)| {
            let pairs = values.iter().cycle().flat_map(|&(l, p, n)| {
                let label = if l == classes { IGNORE } else { l as u8 };
                std::iter::repeat_n((label, p as u8), usize::from(n) % run + 1)
            });
            let (label, prediction) = pairs.take(width * height).unzip();
            (label, prediction, width)
        },
    )
}

fn pictures() -> impl Strategy<Value = (usize, Vec<Picture>)> {
    prop_oneof![Just(1usize), 2..9usize, Just(19), Just(150), Just(255)]
        .prop_flat_map(|classes| (Just(classes), prop::collection::vec(picture(classes), 1..6)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_a_naive_loop((classes, pictures) in pictures()) {
        let mut matrix = ConfusionMatrix::new(classes).unwrap();
        let (mut expected, mut ignored) = (vec![0u64; classes * classes], 0);
        for picture in &pictures {
            update(&mut matrix, picture, Some(IGNORE.into())).unwrap();
            for (&l, &p) in picture.0.iter().zip(&picture.1) {
                if l == IGNORE {
                    ignored += 1;
                } else {
                    expected[usize::from(l) * classes + usize::from(p)] += 1;
                }
            }
        }
        prop_assert_eq!(matrix.counts(), expected);
        prop_assert_eq!((matrix.ignored(), matrix.images()), (ignored, pictures.len() as u64));
        let metrics = matrix.metrics();
        for (i, class) in metrics.per_class.iter().enumerate() {
            prop_assert_eq!(class.intersection, matrix.count(i, i));
            prop_assert_eq!(class.labelled, (0..classes).map(|j| matrix.count(i, j)).sum::<u64>());
            prop_assert_eq!(class.predicted, (0..classes).map(|j| matrix.count(j, i)).sum::<u64>());
        }
    }

    #[test]
    fn matrices_of_parts_merge_into_the_matrix_of_all((classes, pictures) in pictures(), threads in 1..4usize) {
        let mut whole = ConfusionMatrix::new(classes).unwrap();
        for picture in &pictures {
            update(&mut whole, picture, Some(IGNORE.into())).unwrap();
        }
        let empty = || ConfusionMatrix::new(classes).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let merged = pool.install(|| {
            let parts = pictures.par_iter().rev().fold(empty, |mut matrix, picture| {
                update(&mut matrix, picture, Some(IGNORE.into())).unwrap();
                matrix
            });
            parts.reduce(empty, |mut a, b| {
                a.merge(&b).unwrap();
                a
            })
        });
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn a_picture_with_one_bad_pixel_changes_nothing((classes, pictures) in pictures(), at in any::<prop::sample::Index>()) {
        prop_assume!(classes < 255 && !pictures[0].0.is_empty());
        let mut matrix = ConfusionMatrix::new(classes).unwrap();
        for picture in &pictures {
            update(&mut matrix, picture, Some(IGNORE.into())).unwrap();
        }
        let before = matrix.clone();
        let (mut bad, width) = (pictures[0].clone(), pictures[0].2);
        let i = at.index(bad.0.len());
        bad.0[i] = classes as u8;
        let error = update(&mut matrix, &bad, Some(IGNORE.into())).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Input);
        let place = format!("label {classes} at row {}, column {} ", i / width, i % width);
        prop_assert!(error.to_string().starts_with(&place), "{}", error);
        prop_assert_eq!(&matrix, &before);
        bad.0[i] = IGNORE;
        bad.1[i] = 255; // hidden by the ignored label
        prop_assert!(update(&mut matrix, &bad, Some(IGNORE.into())).is_ok());
    }
}

#[test]
fn errors_name_the_first_bad_pixel_its_value_and_what_would_be_right() {
    let good = || (vec![0u8, 1, 2, 255, 1, 0], vec![2u8, 1, 0, 9, 1, 0], 3);
    let with = |label: Option<(usize, u8)>, prediction: Option<(usize, u8)>| {
        let mut picture = good();
        label.into_iter().for_each(|(i, v)| picture.0[i] = v);
        prediction.into_iter().for_each(|(i, v)| picture.1[i] = v);
        picture
    };
    let cases: &[(Picture, Option<u16>, &[&str])] = &[
        (
            with(Some((5, 3)), None),
            Some(255),
            &["label 3", "row 1, column 2", "there are 3", "255 is ignored"],
        ),
        (with(Some((4, 254)), Some((5, 77))), Some(255), &["label 254", "row 1, column 1"]),
        (with(None, Some((2, 3))), Some(255), &["prediction 3", "row 0, column 2", "there are 3"]),
        (with(Some((1, 7)), Some((1, 8))), Some(255), &["label 7", "row 0, column 1"]),
        (with(Some((1, 7)), Some((0, 200))), Some(255), &["prediction 200", "row 0, column 0"]),
        (good(), None, &["label 255", "row 1, column 0", "no value is ignored"]),
        (good(), Some(0), &["label 255", "row 1, column 0", "0 is ignored"]),
    ];
    let mut wrong = Vec::new();
    for (picture, ignore, words) in cases {
        let mut matrix = ConfusionMatrix::new(3).unwrap();
        update(&mut matrix, &good(), Some(255)).unwrap();
        let before = matrix.clone();
        let error = update(&mut matrix, picture, *ignore).unwrap_err();
        let text = error.to_string();
        if error.kind() != ErrorKind::Input || words.iter().any(|w| !text.contains(w)) || matrix != before {
            wrong.push(format!("{words:?}: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let mut matrix = ConfusionMatrix::new(2).unwrap();
    let values = [0u8; 6];
    let error = SegMap::new(&values, Size::new(4, 2)).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("2x4"), "{error}");
    let (wide, tall) = (SegMap::new(&values, Size::new(3, 2)), SegMap::new(&values, Size::new(2, 3)));
    let error = matrix.update(wide.unwrap(), tall.unwrap(), None).unwrap_err().to_string();
    assert!(error.contains("label of 2x3, prediction of 3x2"), "{error}");
    assert_eq!(matrix.images(), 0);

    let error = matrix.merge(&ConfusionMatrix::new(3).unwrap()).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("3 classes"), "{error}");
    for classes in [0, MAX_CLASSES + 1] {
        assert_eq!(ConfusionMatrix::new(classes).unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn a_class_can_be_the_ignored_value() {
    let mut matrix = ConfusionMatrix::new(2).unwrap();
    update(&mut matrix, &(vec![0, 0, 1, 1], vec![0, 1, 0, 1], 2), Some(0)).unwrap();
    assert_eq!((matrix.counts(), matrix.ignored()), (&[0, 0, 1, 1][..], 2));
}

#[test]
fn sixteen_bits_count_like_eight_and_reach_further() {
    let size = Size::new(64, 40);
    let label: Vec<u16> = (0..2560).map(|i| if i % 97 == 0 { u16::MAX } else { i / 3 % 847 }).collect();
    let prediction: Vec<u16> = (0..2560).map(|i| i / 5 % 847).collect();
    let maps = (SegMap::new(&label, size).unwrap(), SegMap::new(&prediction, size).unwrap());
    let mut matrix = ConfusionMatrix::new(847).unwrap();
    matrix.update(maps.0, maps.1, Some(u16::MAX)).unwrap();
    assert_eq!(matrix.counts().iter().sum::<u64>() + matrix.ignored(), 2560);
    assert_eq!(matrix.count(500, 300), 3);
    assert_eq!(matrix.count(500, 847), 0, "not a class, so never counted");
    let error = matrix.update(maps.0, maps.1, None).unwrap_err().to_string();
    assert!(error.contains("label 65535 at row 0, column 0"), "{error}");
}

#[test]
fn counts_cannot_overflow() {
    let mut matrix = ConfusionMatrix::new(1).unwrap();
    update(&mut matrix, &(vec![0; 3], vec![0; 3], 3), None).unwrap();
    for _ in 0..62 {
        let other = matrix.clone();
        matrix.merge(&other).unwrap();
    }
    let before = matrix.clone();
    assert_eq!(matrix.merge(&before).unwrap_err().kind(), ErrorKind::Input);
    assert_eq!((matrix.count(0, 0), &matrix), (3 << 62, &before));
}
