use crate::check::{Input, check_grad, check_threads};
use candle_core::Tensor;
use care_nn::ops::{add, cat_channels, narrow_channels, scale_add, scale_channels, split_channels};

#[test]
fn split_and_cat_gradients() {
    let x = || Input::new(&[2, 3, 2, 10], 1);
    check_grad("narrow_channels", &[x()], |t| narrow_channels(&t[0], 3, 4));
    check_grad("narrow_channels of all", &[x()], |t| narrow_channels(&t[0], 0, 10));
    check_grad("split and cat in another order", &[x()], |t| {
        let parts = split_channels(&t[0], &[1, 2, 3, 4])?;
        cat_channels(&[&parts[3], &parts[1], &parts[0], &parts[2], &parts[1]])
    });
    let parts = [Input::new(&[2, 3, 4], 1), Input::new(&[2, 3, 1], 2), Input::new(&[2, 3, 7], 3)];
    check_grad("cat_channels", &parts, |t| cat_channels(&[&t[0], &t[1], &t[2]]));
    check_threads("split", &[Input::new(&[2, 90, 50, 40], 1)], |t| {
        let p = split_channels(&t[0], &[8, 8, 24])?;
        cat_channels(&[&p[2], &p[0], &p[1]])
    });
}

#[test]
fn parts_are_the_channels_they_name() {
    let x = Tensor::arange(0f32, 12.0, &candle_core::Device::Cpu).unwrap().reshape((1, 2, 1, 6)).unwrap();
    let parts = split_channels(&x, &[2, 0, 4]).unwrap();
    assert_eq!(parts[0].flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0, 6.0, 7.0]);
    assert_eq!(parts[1].dims(), [1, 2, 1, 0]);
    let back = cat_channels(&parts.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(
        back.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    );
    assert!(split_channels(&x, &[2, 3]).is_err() && narrow_channels(&x, 4, 3).is_err());
    assert!(cat_channels(&[]).is_err() && cat_channels(&[&x, &x.narrow(1, 0, 1).unwrap()]).is_err());
}

#[test]
fn add_and_scale_gradients() {
    let (a, b, s) =
        (|| Input::new(&[2, 3, 4, 5], 1), || Input::new(&[2, 3, 4, 5], 2), || Input::new(&[5], 3));
    check_grad("add", &[a(), b()], |t| add(&t[0], &t[1]));
    check_grad("add to itself", &[a()], |t| add(&t[0], &t[0]));
    check_grad("scale_channels", &[a(), s()], |t| scale_channels(&t[0], &t[1]));
    check_grad("scale_add", &[a(), b(), s()], |t| scale_add(&t[0], &t[1], &t[2]));
    check_grad("scale_add of one tensor", &[a(), s()], |t| scale_add(&t[0], &t[0], &t[1]));
    let big = [Input::new(&[2, 80, 60, 24], 1), Input::new(&[2, 80, 60, 24], 2), Input::new(&[24], 3)];
    check_threads("scale_add", &big, |t| scale_add(&t[0], &t[1], &t[2]));
}
