use crate::check::{Input, check_grad, check_threads};
use candle_core::Tensor;
use care_nn::ops::{batch_norm_frozen, batch_norm_train, layer_norm};

fn parameters(c: usize) -> [Input; 2] {
    [Input::new(&[c], 2).map(|v| 1.0 + 0.3 * v), Input::new(&[c], 3)]
}

fn inputs(shape: &[usize]) -> Vec<Input> {
    let [w, b] = parameters(*shape.last().unwrap());
    vec![Input::new(shape, 1).map(|v| 2.0 * v + 0.5), w, b]
}

#[test]
fn batch_norm_gradients_with_batch_statistics() {
    for shape in [&[2, 3, 5, 4][..], &[1, 2, 2, 19], &[6, 3]] {
        let name = format!("batch_norm_train {shape:?}");
        check_grad(&name, &inputs(shape), |t| Ok(batch_norm_train(&t[0], &t[1], &t[2], 1e-5)?.y));
    }
    check_threads("batch_norm_train", &inputs(&[3, 100, 60, 24]), |t| {
        Ok(batch_norm_train(&t[0], &t[1], &t[2], 1e-5)?.y)
    });
}

#[test]
fn batch_norm_gradients_with_frozen_statistics() {
    let stats = |c: usize, seed: u32, f: fn(f64) -> f64| {
        let values: Vec<f32> = (0..c).map(|i| f((i as f64 + f64::from(seed)).sin()) as f32).collect();
        Tensor::from_vec(values, c, &candle_core::Device::Cpu).unwrap()
    };
    for shape in [&[2, 3, 5, 4][..], &[1, 1, 1, 3], &[5, 2]] {
        let c = *shape.last().unwrap();
        let (mean, var) = (stats(c, 1, |v| 0.5 * v), stats(c, 2, |v| 1.0 + 0.5 * v));
        check_grad(&format!("batch_norm_frozen {shape:?}"), &inputs(shape), |t| {
            batch_norm_frozen(&t[0], &t[1], &t[2], (&mean, &var), 1e-5)
        });
    }
}

#[test]
fn layer_norm_gradients() {
    for shape in [&[3, 24][..], &[2, 3, 2, 5], &[7]] {
        check_grad(&format!("layer_norm {shape:?}"), &inputs(shape), |t| {
            layer_norm(&t[0], &t[1], &t[2], 1e-6)
        });
    }
    check_threads("layer_norm", &inputs(&[9000, 40]), |t| layer_norm(&t[0], &t[1], &t[2], 1e-6));
}

/// Many chunks, a large offset: a sum of squares in f32 would lose every digit of the variance.
#[test]
fn batch_statistics_keep_their_digits_far_from_zero() {
    let (rows, c) = (30_000, 3);
    let values: Vec<f32> =
        (0..rows * c).map(|i| 1000.0 + ((i * 7919 % 1000) as f32 - 499.5) * 0.01).collect();
    let x = Tensor::from_vec(values.clone(), (rows, c), &candle_core::Device::Cpu).unwrap();
    let ones = Tensor::ones(c, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let out = batch_norm_train(&x, &ones, &ones, 1e-5).unwrap();
    assert!(!out.mean.track_op() && !out.var_unbiased.track_op());
    let (mean, var) = (out.mean.to_vec1::<f32>().unwrap(), out.var_unbiased.to_vec1::<f32>().unwrap());
    for ch in 0..c {
        let column: Vec<f64> = values.iter().skip(ch).step_by(c).map(|&v| f64::from(v)).collect();
        let m = column.iter().sum::<f64>() / rows as f64;
        let v = column.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (rows - 1) as f64;
        assert!((f64::from(mean[ch]) - m).abs() < 1e-4, "mean {} {m}", mean[ch]);
        assert!((f64::from(var[ch]) / v - 1.0).abs() < 1e-4, "variance {} {v}", var[ch]);
    }
}
