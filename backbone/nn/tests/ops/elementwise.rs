use crate::check::{Input, check_grad, check_threads};
use care_nn::ops::{elu, gelu, log_softmax, relu, sigmoid, softmax};

#[test]
fn activation_gradients() {
    for shape in [&[7][..], &[2, 3, 5, 4], &[1, 1]] {
        let wide = || [Input::new(shape, 1).off_zero().map(|v| 4.0 * v)];
        check_grad("gelu", &wide(), |t| gelu(&t[0]));
        check_grad("relu", &wide(), |t| relu(&t[0]));
        check_grad("elu", &wide(), |t| elu(&t[0]));
        check_grad("sigmoid", &wide(), |t| sigmoid(&t[0]));
    }
    let big = [Input::new(&[3, 100, 50, 9], 1)];
    check_threads("gelu", &big, |t| gelu(&t[0]));
}

#[test]
fn softmax_gradients() {
    for shape in [&[9][..], &[4, 1], &[3, 17], &[2, 3, 2, 5]] {
        let wide = || [Input::new(shape, 1).map(|v| 3.0 * v)];
        check_grad("softmax", &wide(), |t| softmax(&t[0]));
        check_grad("log_softmax", &wide(), |t| log_softmax(&t[0]));
    }
}

#[test]
fn softmax_survives_huge_logits() {
    let x = candle_core::Tensor::new(&[[1000f32, 0.0, -1000.0]], &candle_core::Device::Cpu).unwrap();
    assert_eq!(log_softmax(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.0, -1000.0, -2000.0]]);
    let y = softmax(&x).unwrap().to_vec2::<f32>().unwrap();
    assert!(y[0][0] == 1.0 && y[0][1] < 1e-30 && y[0][2] < 1e-30, "{y:?}");
}
