use crate::check::{Input, check_grad, check_threads};
use candle_core::{Device, Tensor, Var};
use care_nn::ErrorKind;
use care_nn::ops::{
    IouMode, bce_with_logits, cross_entropy, cross_entropy_ignoring, iou_loss, l1, sigmoid_focal,
    sigmoid_focal_sum, smooth_l1,
};

fn classes(m: usize, limit: i64) -> Tensor {
    Tensor::from_vec((0..m as i64).map(|i| i * 7 % limit).collect::<Vec<_>>(), m, &Device::Cpu).unwrap()
}

#[test]
fn focal_gradients() {
    for (gamma, alpha) in [(2.0, 0.25), (1.5, 0.4), (0.0, 0.5)] {
        let target = classes(11, 6);
        let x = [Input::new(&[11, 5], 1).map(|v| 3.0 * v)];
        check_grad(&format!("sigmoid_focal {gamma}"), &x, |t| sigmoid_focal(&t[0], &target, gamma, alpha));
        check_grad(&format!("sigmoid_focal_sum {gamma}"), &x, |t| {
            let weights = (0..11).map(|i| [1.0, 0.0, 0.4][i % 3]).collect();
            sigmoid_focal_sum(&t[0], (&target, weights), gamma, alpha, 3.0)
        });
    }
    let target = classes(5000, 21);
    check_threads("sigmoid_focal", &[Input::new(&[5000, 20], 1)], |t| {
        sigmoid_focal(&t[0], &target, 2.0, 0.25)
    });
}

#[test]
fn focal_is_stable_for_extreme_logits() {
    let x = Tensor::new(&[[100f32, -100.0], [-100.0, 100.0], [0.0, 0.0]], &Device::Cpu).unwrap();
    let target = Tensor::new(&[0u32, 0, 2], &Device::Cpu).unwrap();
    let loss = sigmoid_focal(&x, &target, 2.0, 0.25).unwrap().to_vec2::<f32>().unwrap();
    let ln2 = std::f32::consts::LN_2;
    for (got, want) in loss.concat().into_iter().zip([0.0, 0.0, 25.0, 75.0, 0.1875 * ln2, 0.1875 * ln2]) {
        assert!((got - want).abs() < 1e-5, "{got} {want}");
    }
}

#[test]
fn cross_entropy_gradients() {
    let target = classes(9, 5);
    let x = || [Input::new(&[9, 5], 1).map(|v| 3.0 * v)];
    check_grad("cross_entropy", &x(), |t| cross_entropy(&t[0], &target));
    check_grad("cross_entropy_ignoring", &x(), |t| cross_entropy_ignoring(&t[0], &target, 2));
    let loss = cross_entropy_ignoring(
        &Tensor::zeros((9, 5), candle_core::DType::F32, &Device::Cpu).unwrap(),
        &target,
        2,
    )
    .unwrap()
    .to_vec1::<f32>()
    .unwrap();
    for (loss, t) in loss.into_iter().zip(target.to_vec1::<i64>().unwrap()) {
        assert!((loss - if t == 2 { 0.0 } else { 5f32.ln() }).abs() < 1e-6);
    }
}

#[test]
fn regression_gradients() {
    // Differences between 0.2 and 0.3 or between 0.7 and 0.8: away from 0 and from beta.
    let target = Tensor::zeros((7, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let x = || {
        [Input::new(&[7, 4], 1)
            .map(|v| v.signum() * if v.abs() < 0.5 { 0.2 + 0.2 * v.abs() } else { 0.6 + 0.2 * v.abs() })]
    };
    check_grad("l1", &x(), |t| l1(&t[0], &target));
    check_grad("smooth_l1", &x(), |t| smooth_l1(&t[0], &target, 0.5));
    let same = Var::zeros((7, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let grads = l1(same.as_tensor(), &target).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(grads.get(&same).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
    assert_eq!(smooth_l1(&target, &target, 0.0).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn bce_gradients_and_large_logits() {
    let target = Tensor::new(&[[0f32, 1.0, 0.3], [1.0, 0.0, 0.5]], &Device::Cpu).unwrap();
    check_grad("bce_with_logits", &[Input::new(&[2, 3], 1).map(|v| 4.0 * v)], |t| {
        bce_with_logits(&t[0], &target)
    });
    let x = Tensor::new(&[[-80f32, 30.0, 0.0], [30.0, -90.0, 90.0]], &Device::Cpu).unwrap();
    let loss = bce_with_logits(&x, &target).unwrap().to_vec2::<f32>().unwrap().concat();
    let want = [1.8e-35, 9.357_623e-14, std::f32::consts::LN_2, 9.357_623e-14, 8e-40, 45.0];
    for (got, want) in loss.into_iter().zip(want) {
        assert!((got - want).abs() <= 1e-5 * want + 1e-34, "{got} {want}");
    }
}

#[test]
fn iou_loss_gradients() {
    // Overlapping, nested, apart, and flat pairs; corners never within a step of each other.
    let target = [[0.0f32, 0.0, 2.0, 3.0], [1.0, 1.0, 4.0, 5.0], [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 3.0, 4.0]];
    let pred = [[0.5f32, 0.25, 2.5, 2.5], [0.5, 0.5, 5.0, 6.0], [2.0, 3.0, 4.0, 3.5], [1.0, 1.5, 2.5, 3.0]];
    let target = Tensor::new(&target, &Device::Cpu).unwrap();
    let pred = || [Input::of(&[4, 4], pred.concat())];
    for mode in [IouMode::Linear, IouMode::Square, IouMode::Log, IouMode::Giou] {
        check_grad(&format!("iou_loss {mode:?}"), &pred(), |t| iou_loss(&t[0], &target, mode));
    }
    let value = |mode| iou_loss(&pred()[0].tensor(), &target, mode).unwrap().to_vec1::<f32>().unwrap();
    let iou = (1.5 * 2.25) / (6.0 + 4.5 - 1.5 * 2.25);
    assert!((value(IouMode::Linear)[0] - (1.0 - iou)).abs() < 1e-6);
    assert!((value(IouMode::Log)[2] - (-(1e-6f32).ln())).abs() < 1e-4, "boxes apart are clamped");
}

#[test]
fn targets_that_track_gradients_or_name_no_class_are_refused() {
    let x = Var::zeros((2, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let t = x.as_tensor();
    for result in [l1(t, t), smooth_l1(t, t, 1.0), bce_with_logits(t, t), iou_loss(t, t, IouMode::Giou)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    for bad in [[0i64, 5], [-1, 0]] {
        let bad = Tensor::new(&bad, &Device::Cpu).unwrap();
        for result in [sigmoid_focal(t, &bad, 2.0, 0.25), cross_entropy(t, &bad)] {
            let e = result.unwrap_err();
            assert!(e.kind() == ErrorKind::Input && e.to_string().contains("row"), "{e}");
        }
    }
    let background = Tensor::new(&[4u32, 4], &Device::Cpu).unwrap();
    assert!(sigmoid_focal(t, &background, 2.0, 0.25).is_ok() && cross_entropy(t, &background).is_err());
}
