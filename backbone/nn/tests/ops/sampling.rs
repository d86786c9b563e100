use crate::check::{Input, check_grad, check_threads};
use candle_core::{Device, Tensor, Var};
use care_nn::ops::{global_avg_pool, grid_sample, max_pool, resize_bilinear, resize_nearest};

#[test]
fn resize_gradients() {
    for (from, to) in [
        ([1, 6, 10, 2], (12, 20)),
        ([2, 12, 20, 3], (25, 41)),
        ([1, 3, 5, 1], (7, 8)),
        ([1, 7, 9, 2], (3, 4)),
        ([2, 1, 2, 3], (3, 1)),
    ] {
        let x = || [Input::new(&from, 1)];
        let name = format!("{from:?} to {to:?}");
        check_grad(&format!("resize_nearest {name}"), &x(), |t| resize_nearest(&t[0], to));
        check_grad(&format!("resize_bilinear {name}"), &x(), |t| resize_bilinear(&t[0], to, false));
        check_grad(&format!("resize_bilinear aligned {name}"), &x(), |t| resize_bilinear(&t[0], to, true));
    }
    let big = || [Input::new(&[2, 40, 30, 16], 1)];
    check_threads("resize_bilinear", &big(), |t| resize_bilinear(&t[0], (77, 61), false));
    check_threads("resize_nearest", &big(), |t| resize_nearest(&t[0], (77, 61)));
}

#[test]
fn pooling_gradients() {
    for (dims, kernel, stride, pad) in [
        ([2, 5, 7, 3], 3, 2, 1),
        ([1, 7, 10, 2], 1, 2, 0),
        ([1, 6, 5, 2], 2, 2, 0),
        ([1, 4, 6, 1], 3, 1, 1),
        ([1, 5, 5, 1], 2, 3, 1),
    ] {
        let name = format!("max_pool {dims:?} kernel {kernel} stride {stride} pad {pad}");
        check_grad(&name, &[Input::new(&dims, 1).distinct()], |t| max_pool(&t[0], kernel, stride, pad));
    }
    check_grad("global_avg_pool", &[Input::new(&[3, 4, 5, 6], 1)], |t| global_avg_pool(&t[0]));
    check_threads("max_pool", &[Input::new(&[3, 30, 31, 8], 1)], |t| max_pool(&t[0], 3, 2, 1));
    check_threads("global_avg_pool", &[Input::new(&[3, 90, 70, 8], 1)], |t| global_avg_pool(&t[0]));
}

#[test]
fn max_pool_gives_ties_to_the_first_and_spreads_nan() {
    let x = Var::new(&[[[[2f32], [2.0], [1.0], [f32::NAN]]]], &Device::Cpu).unwrap();
    let y = max_pool(x.as_tensor(), 1, 1, 0).unwrap();
    assert!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap()[3].is_nan());
    let row = Var::new(&[[[[2f32], [2.0]], [[2.0], [2.0]]]], &Device::Cpu).unwrap();
    let grads = max_pool(row.as_tensor(), 2, 2, 0).unwrap().sum_all().unwrap().backward().unwrap();
    let dx = grads.get(&row).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(dx, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn grid_sample_gradients_to_picture_and_places() {
    // Places in the middle between pixel centres and edges, also outside: a step never crosses a pixel.
    let (h, w) = (4usize, 8usize);
    let spots: Vec<f32> = (0..2 * 3 * 5)
        .flat_map(|i| {
            let x = ((i * 5 % 10) as f32 - 0.5) * 2.0 / w as f32 - 1.0;
            let y = ((i * 7 % 6) as f32 - 0.5) * 2.0 / h as f32 - 1.0;
            [x + 0.125, y + 0.25]
        })
        .collect();
    let inputs = [Input::new(&[2, h, w, 3], 1), Input::of(&[2, 3, 5, 2], spots)];
    check_grad("grid_sample", &inputs, |t| grid_sample(&t[0], &t[1]));
    check_threads("grid_sample", &inputs, |t| grid_sample(&t[0], &t[1]));
}

#[test]
fn sampling_sizes_that_do_not_fit_are_errors() {
    let x = Tensor::zeros((1, 3, 4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(resize_nearest(&x, (0, 3)).is_err());
    assert!(
        max_pool(&x, 5, 1, 0).is_err() && max_pool(&x, 2, 0, 0).is_err() && max_pool(&x, 2, 1, 2).is_err()
    );
    assert!(grid_sample(&x, &x).is_ok() && grid_sample(&x, &x.narrow(3, 0, 1).unwrap()).is_err());
    let none = Tensor::zeros((1, 0, 4, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(global_avg_pool(&none).is_err() && resize_bilinear(&none, (2, 2), false).is_err());
}
