//! A chain must be what its links are one by one: the same bits, forward and backward, at any thread count.

use candle_core::{Device, Tensor, Var};
use care_nn::ops::{self, Chain};
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

fn chained(v: &[Tensor], train: bool, residual: bool, record: &BatchStats) -> Result<Tensor> {
    let x = Chain::on(&v[0]);
    let x = if train {
        x.batch_norm_train(&v[1], &v[2], 1e-5, (record, "norm"))?
    } else {
        x.batch_norm_frozen(&v[1], &v[2], (&frozen_mean(), &frozen_var()), 1e-5)?
    };
    let x = x.conv2d(&v[3], Some(&v[4]), 1, (0, 0))?.gelu()?.depthwise_conv2d(&v[5], Some(&v[6]))?;
    let x = x.conv2d(&v[7], Some(&v[8]), 1, (0, 0))?;
    if residual { x.plus_input()?.run() } else { x.relu()?.run() }
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
fn a_chain_has_the_bits_of_its_links() {
    let vars = variables();
    for train in [true, false] {
        for residual in [true, false] {
            let record = BatchStats::default();
            let chain = run(&vars, |v| chained(v, train, residual, &record));
            let single = run(&vars, |v| one_by_one(v, train, residual));
            for (i, (chain, single)) in chain.iter().zip(&single).enumerate() {
                assert_eq!(chain, single, "train {train}, residual {residual}, entry {i}");
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
    let y = chained(&tensors, true, true, &BatchStats::default()).unwrap().sqr().unwrap().sum_all().unwrap();
    let grads = |_| bits(y.backward().unwrap().get(vars[3].as_tensor()).unwrap());
    let [first, second] = [0, 1].map(grads);
    assert_eq!(first, second);
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let vars = variables();
    let mut tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().detach()).collect();
    let all = run(&vars, |v| chained(v, false, true, &BatchStats::default()));
    let dy = recipe::uniform("chain", "dy", vars[0].dims(), 0.0, 1.0).unwrap();
    for i in [0, 3] {
        let detached = std::mem::replace(&mut tensors[i], vars[i].as_tensor().clone());
        let y = chained(&tensors, false, true, &BatchStats::default()).unwrap();
        let grads = (&y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(bits(grads.get(vars[i].as_tensor()).unwrap()), all[1 + i], "variable {i} alone");
        tensors[i] = detached;
    }
    let y = chained(&tensors, true, true, &BatchStats::default()).unwrap();
    assert!(!y.track_op(), "nothing tracked, nothing recorded");
}

#[test]
fn the_thread_count_does_not_change_a_bit() {
    let vars = variables();
    let at = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&vars, |v| chained(v, true, true, &BatchStats::default())))
    };
    let one = at(1);
    assert!(at(2) == one && at(4) == one);
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let x = Tensor::zeros((1, 2, 2, C), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(Chain::on(&x).run().is_err(), "empty");
    assert!(Chain::on(&x).relu().unwrap().plus_input().is_err(), "a residual after an activation");
    let w = Tensor::zeros((3, C, 1, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let narrower = Chain::on(&x).conv2d(&w, None, 1, (0, 0)).unwrap();
    assert!(narrower.plus_input().is_err(), "a residual of another width");
    assert!(Chain::on(&x).conv2d(&w, None, 1, (0, 0)).unwrap().conv2d(&w, None, 1, (0, 0)).is_err());
}

#[test]
fn a_convolution_over_levels_is_that_of_each_level() {
    let grids = [[2, 5, 7], [2, 3, 4], [2, 1, 1]];
    let (w, b) = (var("w", &[WIDE, C, 3, 3]), var("b", &[WIDE]));
    let levels: Vec<Var> =
        grids.iter().enumerate().map(|(i, [n, h, w])| var(&format!("l{i}"), &[*n, *h, *w, C])).collect();
    let rows = |x: &Tensor| x.flatten_to(2).unwrap();
    let joined: Vec<Tensor> = levels.iter().map(|x| rows(x.as_tensor())).collect();
    let chain = Chain::on(&Tensor::cat(&joined, 0).unwrap());
    let chain = chain
        .conv2d_levels(&grids, w.as_tensor(), Some(b.as_tensor()))
        .unwrap()
        .relu()
        .unwrap()
        .run()
        .unwrap();
    let single: Vec<Tensor> = levels
        .iter()
        .map(|x| ops::conv2d(x.as_tensor(), w.as_tensor(), Some(b.as_tensor()), 1, (1, 1)).unwrap())
        .map(|y| rows(&ops::relu(&y).unwrap()))
        .collect();
    let single = Tensor::cat(&single, 0).unwrap();
    assert_eq!(bits(&chain), bits(&single));
    let dy = recipe::uniform("chain", "dlevels", chain.dims(), 0.0, 1.0).unwrap();
    let grads = |y: &Tensor| (y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
    let (chain, single) = (grads(&chain), grads(&single));
    for (i, x) in levels.iter().enumerate() {
        assert_eq!(bits(chain.get(x).unwrap()), bits(single.get(x).unwrap()), "level {i}");
    }
    // sums over levels may be added up in another order
    for v in [&w, &b] {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in values(chain.get(v).unwrap()).iter().zip(values(single.get(v).unwrap())) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }
    let narrow = Tensor::zeros((10, C), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(Chain::on(&narrow).conv2d_levels(&grids, w.as_tensor(), None).is_err());
}
