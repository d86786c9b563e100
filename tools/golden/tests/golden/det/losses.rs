//! Losses and their gradients.

use candle_core::{Device, Tensor, Var};
use care_golden::{Array, Case, Checker};
use care_heads::losses::{self, BoxLoss, Weighting};

fn labels(array: &Array) -> Result<Tensor, String> {
    Tensor::from_vec(array.i64(), array.shape.clone(), &Device::Cpu).map_err(|e| e.to_string())
}

pub(super) fn box_loss(config: &serde_json::Value) -> Result<BoxLoss, String> {
    Ok(match config["type"].as_str() {
        Some("L1Loss") => BoxLoss::L1,
        Some("SmoothL1Loss") => BoxLoss::SmoothL1 { beta: config["beta"].as_f64().unwrap_or(1.0) },
        Some("GIoULoss") => BoxLoss::Giou,
        Some("IoULoss") => BoxLoss::IouLog,
        other => return Err(format!("unknown box loss {other:?}")),
    })
}

pub(super) fn loss(case: &Case) -> Result<(), String> {
    let config = &case.json["config"];
    let target = case.input("target")?;
    let weight = if case.has("weight") { Some(case.input("weight")?.tensor()) } else { None };
    let how = Weighting { weight: weight.as_ref(), avg_factor: case.json["avg_factor"].as_f64() };
    let run = || -> care_heads::Result<(Tensor, Tensor)> {
        let mask = config["use_mask"] == true;
        let pred = case.input("pred").map_err(care_heads::Error::internal)?;
        let pred = Var::from_tensor(&if mask { pred.nhwc() } else { pred.tensor() })?;
        let ids = || labels(&target).map_err(care_heads::Error::internal);
        let number = |key: &str| config[key].as_f64().unwrap_or(1.0);
        let loss = match (config["type"].as_str().unwrap_or_default(), config["use_sigmoid"] == true) {
            ("FocalLoss", _) => losses::sigmoid_focal(&pred, &ids()?, number("gamma"), number("alpha"), how)?,
            ("CrossEntropyLoss", _) if mask => {
                let classes = case.input("labels").map_err(care_heads::Error::internal)?.i64();
                let classes: Vec<usize> = classes.into_iter().map(|c| c as usize).collect();
                losses::mask_bce(&pred, &target.tensor(), &classes)?.reshape(1)?
            }
            ("CrossEntropyLoss", true) => losses::one_hot_bce(&pred, &ids()?, how)?,
            ("CrossEntropyLoss", false) => losses::cross_entropy(&pred, &ids()?, how)?,
            _ => box_loss(config).map_err(care_heads::Error::internal)?.of(&pred, &target.tensor(), how)?,
        };
        let loss = (loss * number("loss_weight"))?;
        let grads = loss.backward()?;
        let grad = grads
            .get(&pred)
            .ok_or_else(|| care_heads::Error::internal("no gradient reached the prediction"))?;
        let grad = if mask { grad.permute((0, 3, 1, 2))?.contiguous()? } else { grad.clone() };
        Ok((loss, grad))
    };
    let (loss, grad) = run().map_err(|e| e.to_string())?;
    let mut check = Checker::new(case);
    check.tensor("loss", &loss);
    check.tensor("grad_pred", &grad);
    check.finish()
}
