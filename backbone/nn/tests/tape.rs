//! A tape must be what its steps are one by one: the same bits, forward and backward, at any thread count.

use candle_core::{Device, Tensor, Var};
use care_nn::ops::{self, Tape};
use care_nn::{BatchStats, Result, recipe};

const C: usize = 6;
const WIDE: usize = 10;

fn var(key: &str, shape: &[usize]) -> Var {
    Var::from_tensor(&recipe::uniform("chain", key, shape, 0.1, 1.0).unwrap()).unwrap()
}

/// Input, norm, 1×1, depthwise, 1×1 back; the last two entries are running statistics.
fn variables() -> Vec<Var> {
    let shapes: [&[usize]; 9] = [
        &[2, 5, 7, C],
        &[C],
        &[C],
        &[WIDE, C, 1, 1],
        &[WIDE],
        &[WIDE, 1, 3, 3],
        &[WIDE],
        &[C, WIDE, 1, 1],
        &[C],
    ];
    shapes.iter().enumerate().map(|(i, shape)| var(&format!("v{i}"), shape)).collect()
}

fn on_tape(v: &[Tensor], train: bool, residual: bool, record: &BatchStats) -> Result<Tensor> {
    let (mut tape, x) = Tape::on(&v[0]);
    let y = if train {
        tape.batch_norm_train(x, (&v[1], &v[2]), 1e-5, (record, "norm"))?
    } else {
        tape.batch_norm_frozen(x, (&v[1], &v[2]), (&frozen_mean(), &frozen_var()), 1e-5)?
    };
    let y = tape.conv2d(y, (&v[3], Some(&v[4])), 1, (0, 0))?;
    let y = tape.gelu(y)?;
    let y = tape.depthwise_conv2d(y, (&v[5], Some(&v[6])))?;
    let y = tape.conv2d(y, (&v[7], Some(&v[8])), 1, (0, 0))?;
    let y = if residual { tape.add(y, x)? } else { tape.relu(y)? };
    tape.run(y)
}

fn one_by_one(v: &[Tensor], train: bool, residual: bool) -> Result<Tensor> {
    let x = if train {
        ops::batch_norm_train(&v[0], &v[1], &v[2], 1e-5)?.y
    } else {
        ops::batch_norm_frozen(&v[0], &v[1], &v[2], (&frozen_mean(), &frozen_var()), 1e-5)?
    };
    let x = ops::gelu(&ops::conv2d(&x, &v[3], Some(&v[4]), 1, (0, 0))?)?;
    let x = ops::conv2d(&ops::depthwise_conv2d(&x, &v[5], Some(&v[6]))?, &v[7], Some(&v[8]), 1, (0, 0))?;
    if residual { ops::add(&x, &v[0]) } else { ops::relu(&x) }
}

fn frozen_mean() -> Tensor {
    recipe::uniform("chain", "mean", &[C], 0.0, 0.3).unwrap()
}

fn frozen_var() -> Tensor {
    recipe::uniform("chain", "var", &[C], 1.0, 0.5).unwrap()
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// The result and the gradients of all variables, as bits.
fn run(vars: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Vec<u32>> {
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let dy = recipe::uniform("chain", "dy", y.dims(), 0.0, 1.0).unwrap();
    let grads = (&y * dy).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &Var| bits(grads.get(v.as_tensor()).expect("every variable gets a gradient"));
    std::iter::once(bits(&y)).chain(vars.iter().map(of)).collect()
}

#[test]
fn a_tape_has_the_bits_of_its_steps() {
    let vars = variables();
    for train in [true, false] {
        for residual in [true, false] {
            let record = BatchStats::default();
            let tape = run(&vars, |v| on_tape(v, train, residual, &record));
            let single = run(&vars, |v| one_by_one(v, train, residual));
            for (i, (tape, single)) in tape.iter().zip(&single).enumerate() {
                assert_eq!(tape, single, "train {train}, residual {residual}, entry {i}");
            }
            let recorded = record.take();
            assert_eq!(recorded.len(), usize::from(train));
            if let Some(stat) = recorded.first() {
                let want = ops::batch_norm_train(&vars[0], &vars[1], &vars[2], 1e-5).unwrap();
                assert_eq!(bits(&stat.mean), bits(&want.mean));
                assert_eq!(bits(&stat.var), bits(&want.var_unbiased));
                assert_eq!(stat.layer, "norm");
            }
        }
    }
}

#[test]
fn a_second_backward_pass_computes_again_what_was_let_go() {
    let vars = variables();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = on_tape(&tensors, true, true, &BatchStats::default()).unwrap().sqr().unwrap().sum_all().unwrap();
    let grads = |_| bits(y.backward().unwrap().get(vars[3].as_tensor()).unwrap());
    let [first, second] = [0, 1].map(grads);
    assert_eq!(first, second);
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let vars = variables();
    let mut tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().detach()).collect();
    let all = run(&vars, |v| on_tape(v, false, true, &BatchStats::default()));
    let dy = recipe::uniform("chain", "dy", vars[0].dims(), 0.0, 1.0).unwrap();
    for i in [0, 3] {
        let detached = std::mem::replace(&mut tensors[i], vars[i].as_tensor().clone());
        let y = on_tape(&tensors, false, true, &BatchStats::default()).unwrap();
        let grads = (&y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(bits(grads.get(vars[i].as_tensor()).unwrap()), all[1 + i], "variable {i} alone");
        tensors[i] = detached;
    }
    let y = on_tape(&tensors, true, true, &BatchStats::default()).unwrap();
    assert!(!y.track_op(), "nothing tracked, nothing recorded");
}

#[test]
fn the_thread_count_does_not_change_a_bit() {
    let vars = variables();
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&vars, |v| on_tape(v, true, true, &BatchStats::default())))
    };
    let one = at(1);
    assert!(at(2) == one && at(4) == one);
}

/// Splits, joins, attends and scales: every kind of step, and nodes that are read more than once.
#[test]
fn values_that_are_read_twice_collect_their_gradients() {
    let (x, gamma) = (var("mx", &[2, 4, 5, 10]), var("gamma", &[10]));
    let (qk, dw) = (var("qk", &[8, 4, 1, 1]), var("dw", &[3, 1, 3, 3]));
    let vars = [x, gamma, qk, dw];
    let tape = run(&vars, |v| {
        let (mut tape, x) = Tape::on(&v[0]);
        let (a, b) = (tape.narrow_channels(x, 1, 4)?, tape.narrow_channels(x, 5, 3)?);
        let c = tape.narrow_channels(x, 7, 3)?;
        let queries_keys = tape.conv2d(a, (&v[2], None), 1, (0, 0))?;
        let attended = tape.linear_attention(queries_keys, a, 2)?;
        let (b, c) = (tape.depthwise_conv2d(b, (&v[3], None))?, tape.depthwise_conv2d(c, (&v[3], None))?);
        let y = tape.cat_channels(&[attended, b, c])?;
        let y = tape.add(y, y)?;
        let y = tape.scale_add(x, y, &v[1])?;
        tape.run(y)
    });
    let single = run(&vars, |v| {
        let part = |start, len| ops::narrow_channels(&v[0], start, len);
        let (a, b, c) = (part(1, 4)?, part(5, 3)?, part(7, 3)?);
        let attended = ops::linear_attention(&ops::conv2d(&a, &v[2], None, 1, (0, 0))?, &a, 2)?;
        let local = |x: &Tensor| ops::depthwise_conv2d(x, &v[3], None);
        let y = ops::cat_channels(&[&attended, &local(&b)?, &local(&c)?])?;
        ops::scale_add(&v[0], &ops::add(&y, &y)?, &v[1])
    });
    assert_eq!(tape[0], single[0], "the result");
    for (i, (tape, single)) in tape.iter().zip(&single).enumerate() {
        for (a, b) in tape.iter().zip(single) {
            let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "entry {i}: {a} {b}"); // sums in another order
        }
    }
}

#[test]
fn two_inputs_get_their_gradients() {
    let vars = [var("first", &[1, 3, 3, 4]), var("second", &[1, 3, 3, 4])];
    let tape = run(&vars, |v| {
        let (mut tape, [a, b]) = Tape::on_two(&v[0], &v[1]);
        let y = tape.cat_channels(&[b, a])?;
        let y = tape.gelu(y)?;
        tape.run(y)
    });
    assert_eq!(tape, run(&vars, |v| ops::gelu(&ops::cat_channels(&[&v[1], &v[0]])?)));
}

#[test]
fn tapes_that_cannot_be_are_refused() {
    let x = Tensor::zeros((1, 2, 2, C), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (tape, node) = Tape::on(&x);
    assert!(tape.run(node).is_err(), "empty");
    let (mut tape, node) = Tape::on(&x);
    let earlier = tape.relu(node).unwrap();
    tape.gelu(earlier).unwrap();
    assert!(tape.run(earlier).is_err(), "not the last value");
    let w = Tensor::zeros((3, C, 1, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (mut tape, node) = Tape::on(&x);
    let narrower = tape.conv2d(node, (&w, None), 1, (0, 0)).unwrap();
    assert!(tape.add(narrower, node).is_err() && tape.conv2d(narrower, (&w, None), 1, (0, 0)).is_err());
    assert!(tape.narrow_channels(node, 4, 3).is_err() && tape.cat_channels(&[]).is_err());
}

#[test]
fn a_convolution_over_levels_is_that_of_each_level() {
    let grids = [[2, 5, 7], [2, 3, 4], [2, 1, 1]];
    let (w, b) = (var("w", &[WIDE, C, 3, 3]), var("b", &[WIDE]));
    let levels: Vec<Var> =
        grids.iter().enumerate().map(|(i, [n, h, w])| var(&format!("l{i}"), &[*n, *h, *w, C])).collect();
    let rows = |x: &Tensor| x.flatten_to(2).unwrap();
    let joined: Vec<Tensor> = levels.iter().map(|x| rows(x.as_tensor())).collect();
    let (mut tape, x) = Tape::on(&Tensor::cat(&joined, 0).unwrap());
    let y = tape.conv2d_levels(x, &grids, (w.as_tensor(), Some(b.as_tensor()))).unwrap();
    let y = tape.relu(y).unwrap();
    let y = tape.run(y).unwrap();
    let single: Vec<Tensor> = levels
        .iter()
        .map(|x| ops::conv2d(x.as_tensor(), w.as_tensor(), Some(b.as_tensor()), 1, (1, 1)).unwrap())
        .map(|y| rows(&ops::relu(&y).unwrap()))
        .collect();
    let single = Tensor::cat(&single, 0).unwrap();
    assert_eq!(bits(&y), bits(&single));
    let dy = recipe::uniform("chain", "dlevels", y.dims(), 0.0, 1.0).unwrap();
    let grads = |y: &Tensor| (y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
    let (tape, single) = (grads(&y), grads(&single));
    for (i, x) in levels.iter().enumerate() {
        assert_eq!(bits(tape.get(x).unwrap()), bits(single.get(x).unwrap()), "level {i}");
    }
    // sums over levels may be added up in another order
    for v in [&w, &b] {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in values(tape.get(v).unwrap()).iter().zip(values(single.get(v).unwrap())) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }
    let narrow = Tensor::zeros((10, C), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (mut tape, x) = Tape::on(&narrow);
    assert!(tape.conv2d_levels(x, &grids, (w.as_tensor(), None)).is_err());
}
