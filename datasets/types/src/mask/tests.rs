use super::*;

#[test]
fn mask_round_trip_is_column_major() {
    let mask = [0, 1, 1, 0, 1, 0];
    let rle = Rle::from_mask(&mask, 2, 3).unwrap();
    assert_eq!(rle.counts(), [2, 3, 1]);
    assert_eq!(rle.to_mask(), mask);
    assert_eq!(rle.area(), 3);
    assert_eq!(rle.bbox(), BoxXywh::new(1.0, 0.0, 2.0, 2.0));
}

#[test]
fn runs_that_do_not_fill_the_picture_are_refused() {
    for counts in [vec![5], vec![7], vec![], vec![0, 5, u32::MAX, u32::MAX]] {
        assert!(Rle::from_counts(2, 3, &counts).is_err(), "{counts:?}");
    }
    assert_eq!(Rle::from_counts(2, 3, &[1, 0, 2, 3, 0, 0]).unwrap().counts(), [3, 3]);
    assert_eq!(Rle::from_counts(0, 3, &[]).unwrap().counts(), [0]);
}

#[test]
fn a_long_polygon_far_outside_costs_nothing() {
    let rle = Rle::from_polygon(&[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9, -1e9, 1e9], 10, 10).unwrap();
    assert_eq!(rle.counts(), [0, 100]);
}

#[test]
fn empty_masks_have_no_box_and_meet_nothing() {
    let empty = Rle::empty(4, 3).unwrap();
    let full = Rle::from_counts(4, 3, &[0, 12]).unwrap();
    assert_eq!((empty.bbox(), empty.area()), (BoxXywh::default(), 0));
    assert_eq!(full.bbox(), BoxXywh::new(0.0, 0.0, 3.0, 4.0));
    assert_eq!((empty.iou(&full, false).unwrap(), empty.iou(&empty, true).unwrap()), (0.0, 0.0));
    assert!(empty.iou(&Rle::empty(3, 4).unwrap(), false).is_err());
    assert!(Rle::merge(&[]).is_err());
    assert!(Rle::empty(1 << 16, 1 << 16).is_err());
}

#[test]
fn degenerate_polygons_enclose_nothing() {
    for ring in [vec![], vec![3.0, 3.0], vec![1.0, 1.0, 5.0, 5.0], vec![2.0; 8]] {
        assert!(Rle::from_polygon(&ring, 10, 10).unwrap().is_empty(), "{ring:?}");
    }
    assert!(Rle::from_polygon(&[1.0, 2.0, 3.0], 10, 10).is_err());
    assert!(Rle::from_polygon(&[1.0, f64::NAN], 10, 10).is_err());
}

/// The definition: walk the outline in steps of a fifth of a pixel, then keep the steps that cross a column's middle.
fn walked(ring: &[f64], height: u32, width: u32) -> Vec<u32> {
    let fifth = |v: f64| (5.0 * v + 0.5) as i32;
    let points: Vec<(i32, i32)> = ring.chunks(2).map(|p| (fifth(p[0]), fifth(p[1]))).collect();
    let mut path = Vec::new();
    for (i, &(x0, y0)) in points.iter().enumerate() {
        let (x1, y1) = points[(i + 1) % points.len()];
        let (dx, dy) = ((x1 - x0).abs(), (y1 - y0).abs());
        let back = if dx >= dy { x0 > x1 } else { y0 > y1 };
        let ((xs, ys), (xe, ye)) = if back { ((x1, y1), (x0, y0)) } else { ((x0, y0), (x1, y1)) };
        let steps = dx.max(dy);
        for d in 0..=steps {
            let t = if back { steps - d } else { d };
            path.push(if dx >= dy {
                let slope = f64::from(ye - ys) / f64::from(dx);
                (xs + t, (f64::from(ys) + slope * f64::from(t) + 0.5) as i32)
            } else {
                let slope = f64::from(xe - xs) / f64::from(dy);
                ((f64::from(xs) + slope * f64::from(t) + 0.5) as i32, ys + t)
            });
        }
    }
    let mut mask = vec![false; (height * width) as usize + 1];
    for pair in path.windows(2).filter(|p| p[0].0 != p[1].0) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let column = (f64::from(if x1 < x0 { x1 } else { x1 - 1 }) + 0.5) / 5.0 - 0.5;
        if column.floor() != column || column < 0.0 || column > f64::from(width) - 1.0 {
            continue;
        }
        let row = ((f64::from(y0.min(y1)) + 0.5) / 5.0 - 0.5).clamp(0.0, height.into()).ceil();
        let position = column as usize * height as usize + row as usize;
        mask[position] = !mask[position];
    }
    let mut runs = Runs::default();
    let mut inside = false;
    for toggle in &mask[..mask.len() - 1] {
        inside ^= toggle;
        runs.push(inside, 1);
    }
    runs.finish()
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn coordinate() -> impl Strategy<Value = f64> {
        prop_oneof![
            -20.0..80.0f64,
            (-20..80i32).prop_map(f64::from),
            (-40..160i32).prop_map(|v| f64::from(v) / 2.0),
            (-2000..8000i32).prop_map(|v| f64::from(v) / 100.0),
        ]
    }

    fn mask() -> impl Strategy<Value = (u32, u32, Vec<u8>)> {
        (1..12u32, 1..12u32)
            .prop_flat_map(|(h, w)| (Just(h), Just(w), proptest::collection::vec(0..2u8, (h * w) as usize)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn polygons_equal_the_walked_outline(
            ring in proptest::collection::vec(coordinate(), 3..9),
            more in proptest::collection::vec(coordinate(), 3..9),
            (h, w) in (1..60u32, 1..60u32),
        ) {
            let ring: Vec<f64> = ring.iter().zip(&more).flat_map(|(x, y)| [*x, *y]).collect();
            let got = Rle::from_polygon(&ring, h, w).unwrap();
            prop_assert_eq!(got.counts(), &walked(&ring, h, w)[..]);
            // The same with a pen that was used before.
            let mut pen = Pen::default();
            for rings in [vec![ring.clone(), ring.iter().map(|v| v / 2.0).collect()], vec![ring]] {
                let mask = Segmentation::Polygons(rings);
                let (size, mut spans) = (Size::new(w, h), vec![(7, 9)]);
                let facts = pen.draw(&mask, size, &mut spans).unwrap();
                let rle = mask.to_rle(size).unwrap();
                prop_assert_eq!(facts, MaskFacts::of(&rle));
                let pixels: Vec<u32> = spans[1..].iter().flat_map(|&(from, to)| from..to).collect();
                let inside: Vec<u32> = rle.foreground().flat_map(|(from, to)| from..to).collect();
                prop_assert_eq!(pixels, inside);
            }
        }

        #[test]
        fn any_polygon_gives_a_mask_of_the_picture(
            ring in proptest::collection::vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO, 0..12),
            (h, w) in (0..50u32, 0..50u32),
        ) {
            if let Ok(rle) = Rle::from_polygon(&ring, h, w) {
                prop_assert_eq!(rle.counts().iter().sum::<u32>(), h * w);
            }
        }

        #[test]
        fn masks_survive_every_form((h, w, bits) in mask()) {
            let rle = Rle::from_mask(&bits, h, w).unwrap();
            prop_assert_eq!(rle.to_mask(), &bits[..]);
            prop_assert_eq!(&Rle::from_counts(h, w, rle.counts()).unwrap(), &rle);
            prop_assert_eq!(&Rle::from_compressed_str(h, w, &rle.to_compressed_string()).unwrap(), &rle);
            prop_assert_eq!(rle.area() as usize, bits.iter().filter(|b| **b == 1).count());
        }

        #[test]
        fn boxes_unions_and_ious_are_those_of_the_pixels((h, w, a) in mask(), seed in any::<u64>(), crowd in any::<bool>()) {
            let b: Vec<u8> = (0..a.len()).map(|i| (seed.rotate_left(i as u32 * 7) & 1) as u8).collect();
            let (ra, rb) = (Rle::from_mask(&a, h, w).unwrap(), Rle::from_mask(&b, h, w).unwrap());
            let pixels = |f: fn(u8, u8) -> u8| a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect::<Vec<u8>>();
            let (either, both) = (pixels(|a, b| a | b), pixels(|a, b| a & b));
            prop_assert_eq!(Rle::merge(&[ra.clone(), rb.clone()]).unwrap().to_mask(), &either[..]);
            prop_assert_eq!(Rle::intersect(&[ra.clone(), rb.clone()]).unwrap().to_mask(), &both[..]);
            let count = |v: &[u8]| f64::from(v.iter().map(|&b| u32::from(b)).sum::<u32>());
            let over = if crowd { count(&a) } else { count(&either) };
            let iou = if count(&both) == 0.0 { 0.0 } else { count(&both) / over };
            prop_assert_eq!(ra.iou(&rb, crowd).unwrap(), iou);
            let [mut sa, mut sb] = [Vec::new(), Vec::new()];
            ra.append_spans(&mut sa);
            rb.append_spans(&mut sb);
            prop_assert_eq!(f64::from(common_pixels(&sa, &sb)), count(&both));
            let inside: Vec<(u32, u32)> = (0..h * w).filter(|&p| a[p as usize] == 1).map(|p| (p % w, p / w)).collect();
            let range = |v: Vec<u32>| (v.iter().min().copied(), v.iter().max().copied());
            let expected = match (range(inside.iter().map(|p| p.0).collect()), range(inside.iter().map(|p| p.1).collect())) {
                ((Some(x0), Some(x1)), (Some(y0), Some(y1))) => {
                    // A run that crosses columns makes the reference's box full height.
                    let crosses = ra.foreground().any(|(s, e)| s / h != (e - 1) / h);
                    let (y0, y1) = if crosses { (0, h - 1) } else { (y0, y1) };
                    BoxXywh::new(x0.into(), y0.into(), f64::from(x1 - x0 + 1), f64::from(y1 - y0 + 1))
                }
                _ => BoxXywh::default(),
            };
            prop_assert_eq!(ra.bbox(), expected);
        }

        #[test]
        fn hostile_strings_and_runs_never_panic(
            text in "[0-o]{0,40}|.{0,20}",
            counts in proptest::collection::vec(any::<u32>(), 0..10),
            (h, w) in (any::<u32>(), any::<u32>()),
            (small_h, small_w) in (0..9u32, 0..9u32),
        ) {
            for (h, w) in [(h, w), (small_h, small_w)] {
                for rle in [Rle::from_compressed_str(h, w, &text), Rle::from_counts(h, w, &counts)].into_iter().flatten() {
                    prop_assert_eq!(rle.counts().iter().map(|&c| u64::from(c)).sum::<u64>(), u64::from(h) * u64::from(w));
                    prop_assert_eq!(Rle::from_compressed_str(h, w, &rle.to_compressed_string()).unwrap(), rle);
                }
            }
        }
    }
}
