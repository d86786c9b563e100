//! Single differentiable operations with their gradients.

use super::Runner;
use candle_core::{Tensor, Var};
use care_golden::{Case, Checker};
use care_nn::{Result, ops};
use std::collections::BTreeMap;

pub(super) const RUNNERS: &[(&str, Runner)] = &[("op", op)];

/// Forward, then backward from `dy`, and every output of the case compared.
fn op(case: &Case) -> std::result::Result<(), String> {
    let mut vars = BTreeMap::new();
    let mut constants = BTreeMap::new();
    for name in ["x", "w", "b", "g", "z", "mean", "var", "dy"].into_iter().filter(|n| case.has(n)) {
        let array = case.input(name)?;
        let is_map = matches!(name, "x" | "dy") && array.shape.len() == 4;
        let tensor = if is_map { array.nhwc() } else { array.tensor() };
        if case.has(&format!("grad/{name}")) {
            vars.insert(name, Var::from_tensor(&tensor).map_err(|e| e.to_string())?);
        } else {
            constants.insert(name, tensor);
        }
    }
    let mut check = Checker::new(case);
    let get = |name: &str| match (vars.get(name), constants.get(name)) {
        (Some(v), _) => v.as_tensor().clone(),
        (_, Some(t)) => t.clone(),
        _ => panic!("{}: the case has no `{name}`", case.name),
    };
    compare(&case.name, get, &vars, &mut check).map_err(|e| e.to_string())?;
    check.finish()
}

fn compare(
    name: &str,
    get: impl Fn(&str) -> Tensor,
    vars: &BTreeMap<&str, Var>,
    check: &mut Checker<'_>,
) -> Result<()> {
    let y = if name == "batchnorm_train" {
        let out = ops::batch_norm_train(&get("x"), &get("w"), &get("b"), 1e-5)?;
        let after = |old: &str, new: &Tensor| (get(old) * 0.9)? + (new * 0.1)?;
        check.tensor("running_mean_after", &after("mean", &out.mean)?);
        check.tensor("running_var_after", &after("var", &out.var_unbiased)?);
        out.y
    } else {
        forward(name, &get)?
    };
    let grads = (&y * get("dy"))?.sum_all()?.backward()?;
    compare_any("y", &y, true, check);
    for (name, var) in vars {
        let grad = grads.get(var).expect("every variable gets a gradient");
        compare_any(&format!("grad/{name}"), grad, *name == "x", check);
    }
    Ok(())
}

/// Activations are channels-last here and channels-first in the set; parameters and grids are the same in both.
fn compare_any(name: &str, tensor: &Tensor, activation: bool, check: &mut Checker<'_>) {
    match (activation, tensor.rank()) {
        (true, 4) => check.nhwc(name, tensor),
        _ => check.tensor(name, tensor),
    }
}

fn forward(name: &str, get: &impl Fn(&str) -> Tensor) -> Result<Tensor> {
    let x = get("x");
    let conv = |stride, pad| ops::conv2d(&x, &get("w"), Some(&get("b")), stride, (pad, pad));
    match name {
        "gelu_erf" => ops::gelu(&x),
        "elu" => ops::elu(&x),
        "sigmoid" => ops::sigmoid(&x),
        "log_softmax" => ops::log_softmax(&x),
        "layernorm_tinyvar" => ops::layer_norm(&x, &get("w"), &get("b"), 1e-6),
        "batchnorm_eval_tinyvar" => {
            ops::batch_norm_frozen(&x, &get("w"), &get("b"), (&get("mean"), &get("var")), 1e-5)
        }
        "conv_patch4" => conv(4, 0),
        "conv_down2" => conv(2, 0),
        "conv3x3_s2_p1" => conv(2, 1),
        "dwconv_11x1" | "dwconv_1x11" | "dwconv_7x7" | "dwconv_3x3" => {
            ops::depthwise_conv2d(&x, &get("w"), Some(&get("b")))
        }
        "conv_transpose_2x2" => ops::conv_transpose2d(&x, &get("w"), Some(&get("b")), 2),
        "maxpool_k1s2" => ops::max_pool(&x, 1, 2, 0),
        "global_mean" => ops::global_avg_pool(&x),
        "bce_with_logits" => ops::bce_with_logits(&x, &get("z").gt(0.0)?.to_dtype(x.dtype())?),
        "grid_sample" => ops::grid_sample(&x, &get("g")),
        resize => {
            let (_, h, w, _) = get("dy").dims4()?;
            match resize.split('_').next() {
                Some("nearest") => ops::resize_nearest(&x, (h, w)),
                Some("bilinear") => ops::resize_bilinear(&x, (h, w), resize == "bilinear_align_corners"),
                _ => Err(care_nn::Error::internal(format!("no op for the case `{resize}`"))),
            }
        }
    }
}
