use crate::check::{Input, check_grad, check_threads};
use candle_core::Tensor;
use care_nn::ops::{conv_transpose2d, conv2d, depthwise_conv2d, linear, linear_attention};

/// Kernel, stride, padding, input (height, width).
type ConvCase = ((usize, usize), usize, (usize, usize), (usize, usize));

#[test]
fn conv2d_gradients() {
    let cases: &[ConvCase] = &[
        ((1, 1), 1, (0, 0), (3, 5)),
        ((3, 3), 1, (1, 1), (5, 7)),
        ((3, 3), 1, (0, 0), (4, 6)),
        ((3, 3), 2, (1, 1), (7, 10)),
        ((3, 3), 2, (1, 1), (1, 1)),
        ((2, 2), 2, (0, 0), (7, 5)),
        ((4, 4), 4, (0, 0), (9, 13)),
        ((11, 1), 1, (5, 0), (4, 3)),
        ((2, 1), 3, (0, 0), (8, 7)),
        ((1, 1), 1, (1, 2), (3, 2)),
        ((1, 1), 2, (0, 0), (5, 4)),
        ((5, 5), 2, (4, 3), (3, 4)),
    ];
    for &(kernel, stride, pad, (h, w)) in cases {
        let name = format!("conv2d {kernel:?} stride {stride} pad {pad:?} on {h}x{w}");
        let inputs =
            [Input::new(&[2, h, w, 3], 1), Input::new(&[5, 3, kernel.0, kernel.1], 2), Input::new(&[5], 3)];
        check_grad(&name, &inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), stride, pad));
        check_grad(&name, &inputs[..2], |t| conv2d(&t[0], &t[1], None, stride, pad));
    }
}

/// More than one band and group of rows in the weight gradient, and several bands in the folded data gradient.
#[test]
fn conv2d_gradients_of_larger_maps_do_not_depend_on_threads() {
    for (kernel, stride, pad, dims, co) in [
        (1, 1, 0, [2, 100, 101, 4], 6),
        (3, 1, 1, [2, 100, 101, 4], 6),
        (3, 2, 1, [2, 150, 151, 4], 6),
        (4, 4, 0, [1, 131, 129, 3], 20),
        (3, 1, 1, [1, 6, 5, 160], 150),
    ] {
        let name = format!("conv2d {kernel}x{kernel} stride {stride} on {dims:?}");
        let inputs =
            [Input::new(&dims, 1), Input::new(&[co, dims[3], kernel, kernel], 2), Input::new(&[co], 3)];
        check_threads(&name, &inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), stride, (pad, pad)));
        check_grad(&name, &inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), stride, (pad, pad)));
    }
}

#[test]
fn linear_gradients_for_any_number_of_axes() {
    for lead in [&[][..], &[4], &[2, 3], &[2, 3, 2]] {
        let shape = [lead, &[6]].concat();
        let inputs = [Input::new(&shape, 1), Input::new(&[4, 6], 2), Input::new(&[4], 3)];
        check_grad(&format!("linear {shape:?}"), &inputs, |t| linear(&t[0], &t[1], Some(&t[2])));
    }
    let big = [Input::new(&[3, 1000], 1), Input::new(&[200, 1000], 2), Input::new(&[200], 3)];
    check_threads("linear", &big, |t| linear(&t[0], &t[1], Some(&t[2])));
}

#[test]
fn depthwise_gradients() {
    for (kernel, dims) in [
        ((3, 3), [2, 5, 7, 19]),
        ((7, 7), [1, 4, 9, 8]),
        ((11, 1), [2, 4, 3, 5]),
        ((1, 11), [1, 3, 13, 16]),
        ((5, 9), [1, 3, 4, 2]),
        ((3, 3), [1, 1, 1, 1]),
    ] {
        let name = format!("depthwise {kernel:?} on {dims:?}");
        let c = dims[3];
        let inputs = [Input::new(&dims, 1), Input::new(&[c, 1, kernel.0, kernel.1], 2), Input::new(&[c], 3)];
        check_grad(&name, &inputs, |t| depthwise_conv2d(&t[0], &t[1], Some(&t[2])));
        check_grad(&name, &inputs[..2], |t| depthwise_conv2d(&t[0], &t[1], None));
    }
    let big = [Input::new(&[3, 150, 23, 40], 1), Input::new(&[40, 1, 7, 7], 2), Input::new(&[40], 3)];
    check_threads("depthwise", &big, |t| depthwise_conv2d(&t[0], &t[1], Some(&t[2])));
}

#[test]
fn conv_transpose_gradients() {
    for (kernel, stride, (h, w)) in
        [((2, 2), 2, (3, 4)), ((3, 2), 2, (3, 2)), ((3, 3), 1, (4, 3)), ((1, 1), 2, (2, 3))]
    {
        let name = format!("conv_transpose2d {kernel:?} stride {stride} on {h}x{w}");
        let inputs =
            [Input::new(&[2, h, w, 3], 1), Input::new(&[3, 4, kernel.0, kernel.1], 2), Input::new(&[4], 3)];
        check_grad(&name, &inputs, |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), stride));
        check_grad(&name, &inputs[..2], |t| conv_transpose2d(&t[0], &t[1], None, stride));
    }
    let big = [Input::new(&[7, 14, 14, 32], 1), Input::new(&[32, 32, 2, 2], 2), Input::new(&[32], 3)];
    check_threads("conv_transpose2d", &big, |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), 2));
}

#[test]
fn linear_attention_gradients() {
    for (dims, head_dim) in [([2, 3, 5, 8], 4), ([1, 1, 1, 2], 2), ([1, 4, 4, 24], 8), ([2, 2, 3, 6], 3)] {
        let [n, h, w, g] = dims;
        let inputs = [Input::new(&[n, h, w, 2 * g], 1).off_zero().map(|v| 2.0 * v), Input::new(&dims, 2)];
        let name = format!("linear_attention {dims:?} heads of {head_dim}");
        check_grad(&name, &inputs, |t| linear_attention(&t[0], &t[1], head_dim));
    }
    let big = [Input::new(&[3, 25, 21, 64], 1), Input::new(&[3, 25, 21, 32], 2)];
    check_threads("linear_attention", &big, |t| linear_attention(&t[0], &t[1], 16));
}

#[test]
fn views_give_the_same_as_their_copies() {
    let x = Input::new(&[1, 4, 6, 4], 1);
    let w = Input::new(&[5, 2, 3, 3], 2);
    check_grad("conv2d of a narrowed, transposed view", &[x, w], |t| {
        let view = t[0].transpose(1, 2)?.narrow(3, 1, 2)?;
        conv2d(&view, &t[1], None, 1, (1, 1))
    });
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let zeros =
        |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let (x, b) = (zeros(&[1, 4, 4, 3]), zeros(&[5]));
    for (what, result) in [
        ("channels", conv2d(&x, &zeros(&[5, 2, 3, 3]), None, 1, (1, 1))),
        ("stride", conv2d(&x, &zeros(&[5, 3, 3, 3]), None, 0, (1, 1))),
        ("kernel", conv2d(&x, &zeros(&[5, 3, 7, 7]), None, 1, (0, 0))),
        ("bias", conv2d(&x, &zeros(&[4, 3, 3, 3]), Some(&b), 1, (1, 1))),
        ("depthwise", depthwise_conv2d(&x, &zeros(&[3, 2, 3, 3]), None)),
        ("even", depthwise_conv2d(&x, &zeros(&[3, 1, 2, 2]), None)),
        ("linear", linear(&x, &zeros(&[5, 4]), None)),
        ("transpose", conv_transpose2d(&x, &zeros(&[4, 3, 2, 2]), None, 2)),
        ("heads", linear_attention(&zeros(&[1, 2, 2, 6]), &zeros(&[1, 2, 2, 3]), 2)),
        ("qk", linear_attention(&zeros(&[1, 2, 2, 4]), &zeros(&[1, 2, 2, 3]), 3)),
    ] {
        assert!(result.is_err(), "{what}");
    }
}
