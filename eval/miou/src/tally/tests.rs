//! Every instruction set against the definition: `totals[bins.of(label, prediction)] += 1`.
use super::*;
use crate::isa::Portable;
use proptest::prelude::*;

/// Values in runs, so that a map has parts counted by runs and parts counted by pixels.
fn runs(values: u16) -> impl Strategy<Value = Vec<u16>> {
    let run = prop_oneof![
        4 => (0..values, 1..6usize).boxed(),
        2 => (0..values, 1..200usize).boxed(),
        1 => (0..values, 500..3000usize).boxed(),
    ];
    prop::collection::vec(run, 0..200)
        .prop_map(|runs| runs.into_iter().flat_map(|(value, n)| std::iter::repeat_n(value, n)).collect())
}

fn definition<L: Pixel, P: Pixel>(bins: Bins, label: &[L], prediction: &[P]) -> Vec<u64> {
    let mut totals = vec![0; bins.len()];
    for (l, p) in label.iter().zip(prediction) {
        totals[bins.of(l.value(), p.value())] += 1;
    }
    totals
}

/// Counts twice into the same matrix, so that what a pass leaves behind is seen.
fn twice<L: Pixel, P: Pixel>(
    bins: Bins,
    label: &[L],
    prediction: &[P],
    run: impl Fn(Tally<'_, L, P>),
) -> Vec<u64> {
    let mut counts = Counts { totals: vec![0; bins.len()], scatter: None };
    for _ in 0..2 {
        run(Tally { bins, counts: &mut counts, label, prediction });
    }
    assert!(counts.totals.iter().all(|n| n % 2 == 0), "both passes count the same");
    counts.totals.iter().map(|n| n / 2).collect()
}

fn check_types<L: Pixel, P: Pixel>(bins: Bins, label: &[L], prediction: &[P]) {
    let expected = definition(bins, label, prediction);
    assert_eq!(twice(bins, label, prediction, |t| t.run(Portable)), expected, "portable");
    #[cfg(target_arch = "x86_64")]
    if let Some(isa) = crate::isa::Avx2::detect() {
        assert_eq!(twice(bins, label, prediction, |t| isa.dispatch(t)), expected, "avx2");
    }
}

/// All four combinations of types, where the values fit.
fn check(bins: Bins, label: &[u16], prediction: &[u16]) {
    let n = label.len().min(prediction.len());
    let (label, prediction) = (&label[..n], &prediction[..n]);
    check_types(bins, label, prediction);
    let narrow = |values: &[u16]| values.iter().map(|&v| v as u8).collect::<Vec<u8>>();
    if label.iter().chain(prediction).all(|&v| v < 256) {
        check_types(bins, &narrow(label), &narrow(prediction));
        check_types(bins, &narrow(label), prediction);
        check_types(bins, label, &narrow(prediction));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_counts_what_the_definition_counts(
        classes in prop_oneof![1..9usize, 15..25usize, 60..70usize, 148..152usize, 253..260usize, 700..701usize],
        ignore in prop_oneof![Just(None), Just(Some(0u16)), Just(Some(255)), Just(Some(u16::MAX))],
        (label, prediction) in prop_oneof![Just(3u16), Just(20), Just(152), Just(256), Just(1000)]
            .prop_flat_map(|values| (runs(values), runs(values))),
        shifted in any::<bool>(),
    ) {
        let bins = Bins::new(classes, ignore);
        if shifted {
            check(bins, &label, &label[label.len().min(5)..]);
        } else {
            check(bins, &label, &prediction);
        }
    }
}

#[test]
fn every_length_up_to_two_chunks_and_every_position_of_a_single_step() {
    let bins = Bins::new(150, Some(255));
    let noise: Vec<u16> = (0..2200u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u16 % 150).collect();
    let flat = vec![7u16; noise.len()];
    for n in (0..200).chain(1015..1100).chain(2040..2120) {
        check(bins, &noise[..n], &flat[..n]);
        check(bins, &flat[..n], &flat[..n]);
    }
    for step in (0..1300).step_by(7).chain(1020..1030) {
        let mut label = flat.clone();
        label[step..].fill(149);
        check(bins, &label, &flat);
    }
}

#[test]
fn a_counter_of_sixteen_bits_is_emptied_before_it_is_full() {
    // As many pixels of one pair as runs allow that are counted by pixels; a period of 4 puts the other pair into one lane.
    for period in [4, 7] {
        let label: Vec<u8> = (0..900_000).map(|i| u8::from(i % period == 0)).collect();
        for classes in [2, 150] {
            let bins = Bins::new(classes, None);
            assert!(Scatter::suits(bins, label.len()));
            check_types(bins, &label, &label);
        }
    }
}
