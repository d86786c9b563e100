//! AdamW and SGD with state that belongs to us (candle's is private and cannot be saved), as PyTorch computes them.
//!
//! AdamW (Loshchilov & Hutter, <https://arxiv.org/abs/1711.05101>): `p -= lr*wd*p`, then the Adam step with both moments
//! corrected for their start at zero, epsilon added after the square root of the corrected second moment. SGD: the decay is
//! added to the gradient, the first momentum is the gradient itself. All arithmetic in f32; every element is independent, so
//! the result does not depend on how the work is split over threads.

use crate::error::{Error, Result};
use crate::grads::Gradients;
use candle_core::{CpuStorage, InplaceOp1, Layout, Var};
use care_nn::ParamStore;
use care_nn::params::Param;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Elements one task updates: four arrays of this many floats stay in the L2 cache.
const CHUNK: usize = 1 << 14;

/// Which optimiser, and its settings. The learning rate is given with each step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam with decoupled weight decay.
    Adamw {
        /// Decay rates of the first and second moment.
        betas: [f64; 2],
        /// Added to the denominator.
        eps: f64,
        /// Weight decay of the parameters that decay.
        weight_decay: f64,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Share of the last step's direction that is kept; 0 for none.
        momentum: f64,
        /// Look ahead along the momentum.
        nesterov: bool,
        /// Weight decay of the parameters that decay.
        weight_decay: f64,
    },
}

impl OptimizerConfig {
    /// PyTorch's AdamW with the weight decay of this lineage's 1× recipes.
    pub const ADAMW: Self = Self::Adamw { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-4 };

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, got: f64, expected: &str| {
            Err(Error::config(format!("optimizer.{key} is {got}, expected {expected}")))
        };
        let decay = self.weight_decay();
        if !(decay.is_finite() && decay >= 0.0) {
            return wrong("weight_decay", decay, "0 or more");
        }
        match *self {
            Self::Adamw { betas, eps, .. } => {
                if let Some(&beta) = betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
                    return wrong("betas", beta, "two numbers from 0 to below 1");
                }
                if !(eps.is_finite() && eps > 0.0) {
                    return wrong("eps", eps, "above 0");
                }
            }
            Self::Sgd { momentum, .. } => {
                if !(0.0..1.0).contains(&momentum) {
                    return wrong("momentum", momentum, "0 to below 1");
                }
            }
        }
        Ok(())
    }

    /// Weight decay of the parameters that decay.
    pub fn weight_decay(&self) -> f64 {
        match *self {
            Self::Adamw { weight_decay, .. } | Self::Sgd { weight_decay, .. } => weight_decay,
        }
    }

    /// What the state of a parameter is called, in PyTorch's words.
    fn state_names(&self) -> &'static [&'static str] {
        match *self {
            Self::Adamw { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Sgd { momentum, .. } if momentum != 0.0 => &["momentum_buffer"],
            Self::Sgd { .. } => &[],
        }
    }
}

/// Parameters that move alike.
#[derive(Clone, Debug)]
pub struct ParamGroup {
    /// For people.
    pub name: String,
    /// Name and value of each.
    pub params: Vec<(String, Var)>,
    /// Their learning rate relative to the step's.
    pub lr_scale: f64,
    /// Their weight decay.
    pub weight_decay: f64,
}

/// One parameter, how it moves, and its state.
#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    lr_scale: f64,
    weight_decay: f64,
    /// One array per state name.
    state: Vec<Vec<f32>>,
    /// Whether the parameter has moved before.
    begun: bool,
}

/// The optimiser: parameters in a fixed order, their state, and the number of steps taken.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    steps: u64,
    slots: Vec<Slot>,
}

impl Optimizer {
    /// An optimiser that has taken no step.
    pub fn new(config: OptimizerConfig, groups: Vec<ParamGroup>) -> Self {
        let states = config.state_names().len();
        let slot = |(name, var): (String, Var), lr_scale, weight_decay| {
            let state = vec![vec![0.0; var.elem_count()]; states];
            Slot { name, var, lr_scale, weight_decay, state, begun: false }
        };
        let slots = groups.into_iter().flat_map(|g| {
            let ParamGroup { params, lr_scale, weight_decay, .. } = g;
            params.into_iter().map(move |p| slot(p, lr_scale, weight_decay))
        });
        Self { config, steps: 0, slots: slots.collect() }
    }

    /// One step. A parameter without a gradient keeps its value and its state.
    ///
    /// # Errors
    /// `Internal` when a gradient is missing from `grads` or has another size than its parameter.
    pub fn step(&mut self, grads: &Gradients, lr: f64) -> Result<()> {
        self.steps += 1;
        let by_name: std::collections::HashMap<&str, Option<&[f32]>> = grads.iter().collect();
        for slot in &mut self.slots {
            let grad = by_name.get(slot.name.as_str()).copied();
            let Some(grad) = grad.ok_or_else(|| Error::internal(format!("no entry for {}", slot.name)))?
            else {
                continue;
            };
            let rule = Rule::new(&self.config, self.steps, lr * slot.lr_scale, slot.weight_decay, slot.begun);
            let update = Update { rule, grad, state: RefCell::new(&mut slot.state) };
            slot.var.inplace_op1(&update).map_err(|e| Error::from(e).context(&slot.name))?;
            slot.begun = true;
        }
        Ok(())
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Name, shape and values of everything that has to be saved, such as `exp_avg.backbone.stem.0.weight`.
    pub fn state(&self) -> Vec<(String, Vec<usize>, &[f32])> {
        let mut all = Vec::new();
        for slot in &self.slots {
            for (kind, values) in self.config.state_names().iter().zip(&slot.state) {
                all.push((format!("{kind}.{}", slot.name), slot.var.dims().to_vec(), values.as_slice()));
            }
        }
        all
    }

    /// Puts back what [`Optimizer::state`] gave after `steps` steps; `get` finds values by name.
    ///
    /// # Errors
    /// What `get` returns; `Weights` when a size is wrong.
    pub fn load_state(&mut self, get: &mut dyn FnMut(&str) -> Result<Vec<f32>>, steps: u64) -> Result<()> {
        for slot in &mut self.slots {
            for (kind, state) in self.config.state_names().iter().zip(&mut slot.state) {
                let name = format!("{kind}.{}", slot.name);
                let values = get(&name)?;
                if values.len() != state.len() {
                    let (expected, got) = (state.len(), values.len());
                    return Err(Error::weights(format!("{name}: expected {expected} values, got {got}")));
                }
                *state = values;
            }
            slot.begun = steps > 0;
        }
        self.steps = steps;
        Ok(())
    }
}

/// Which parameters decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayRule {
    /// Matrices and kernels; no vector (biases, norms, layer scales). timm's rule, with which CARE was trained.
    #[default]
    Matrices,
    /// All but the weights and biases of norms: mmengine's `norm_decay_mult = 0`.
    AllButNorms,
}

impl DecayRule {
    /// Whether a parameter of `store` decays.
    fn decays(self, store: &ParamStore, param: &Param) -> bool {
        // among vectors, only the factors of norms are called `weight`
        let is_norm_weight =
            |name: &str| name.ends_with(".weight") && store.get(name).is_ok_and(|p| p.shape().len() == 1);
        let norm_of_bias = param.name.strip_suffix(".bias").map(|module| format!("{module}.weight"));
        match self {
            Self::Matrices => param.shape().len() > 1,
            Self::AllButNorms => {
                !is_norm_weight(&param.name) && !norm_of_bias.is_some_and(|weight| is_norm_weight(&weight))
            }
        }
    }
}

/// How fast parameters of the backbone move, relative to the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackboneRate {
    /// All parameters under `backbone.`.
    pub scale: f64,
    /// Each stage relative to the one above it, the stem below the first.
    pub per_stage: f64,
}

impl BackboneRate {
    /// As fast as the rest.
    pub const SAME: Self = Self { scale: 1.0, per_stage: 1.0 };
}

/// The trainable parameters of a detector, by how much they decay and how fast they move.
pub fn param_groups(
    store: &ParamStore,
    weight_decay: f64,
    rule: DecayRule,
    backbone: BackboneRate,
) -> Vec<ParamGroup> {
    let mut groups: Vec<ParamGroup> = Vec::new();
    for param in store.trainable() {
        let depth = depth(&param.name);
        let lr_scale = depth.map_or(1.0, |d| backbone.scale * backbone.per_stage.powi(d));
        let decays = rule.decays(store, &param);
        let part = depth.map_or("head".to_owned(), |d| format!("backbone-{d}"));
        let name = format!("{part}{}", if decays { "" } else { ", no decay" });
        match groups.iter_mut().find(|g| g.name == name) {
            Some(group) => group.params.push((param.name, param.var)),
            None => {
                let weight_decay = if decays { weight_decay } else { 0.0 };
                groups.push(ParamGroup {
                    name,
                    params: vec![(param.name, param.var)],
                    lr_scale,
                    weight_decay,
                });
            }
        }
    }
    groups
}

/// How far below the neck a backbone parameter is: 0 for the last stage, 4 for the stem; `None` outside.
fn depth(name: &str) -> Option<i32> {
    let rest = name.strip_prefix("backbone.")?;
    let stage = rest.strip_prefix("stages.").and_then(|r| r.split('.').next()?.parse::<i32>().ok());
    Some(match stage {
        Some(stage) => 3 - stage,
        None if rest.starts_with("stem.") => 4,
        None => 0, // norms on the outputs
    })
}

/// The factors of one step of one parameter, the same for every element.
#[derive(Clone, Copy)]
enum Rule {
    AdamW { keep: f32, betas: [f32; 2], rate: f32, root_correction: f32, eps: f32 },
    Sgd { rate: f32, decay: f32, momentum: f32, nesterov: bool, begun: bool },
}

impl Rule {
    fn new(config: &OptimizerConfig, steps: u64, lr: f64, weight_decay: f64, begun: bool) -> Self {
        match *config {
            OptimizerConfig::Adamw { betas, eps, .. } => {
                let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
                Self::AdamW {
                    keep: (1.0 - lr * weight_decay) as f32,
                    betas: betas.map(|b| b as f32),
                    rate: (lr / correction(betas[0])) as f32,
                    root_correction: (1.0 / correction(betas[1]).sqrt()) as f32,
                    eps: eps as f32,
                }
            }
            OptimizerConfig::Sgd { momentum, nesterov, .. } => Self::Sgd {
                rate: lr as f32,
                decay: weight_decay as f32,
                momentum: momentum as f32,
                nesterov,
                begun,
            },
        }
    }

    /// Moves `p` along `g`; `states` are this piece of each state array.
    fn apply(&self, p: &mut [f32], g: &[f32], states: &mut [&mut [f32]]) {
        match (*self, states) {
            (Self::AdamW { keep, betas: [b1, b2], rate, root_correction, eps }, [m, v]) => {
                for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
                    *m = b1 * *m + (1.0 - b1) * g;
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *p = *p * keep - rate * *m / (v.sqrt() * root_correction + eps);
                }
            }
            (Self::Sgd { rate, decay, momentum, nesterov, begun }, [buffer]) => {
                for ((p, &g), buffer) in p.iter_mut().zip(g).zip(buffer.iter_mut()) {
                    let g = g + decay * *p;
                    *buffer = if begun { momentum * *buffer + g } else { g };
                    *p -= rate * if nesterov { g + momentum * *buffer } else { *buffer };
                }
            }
            (Self::Sgd { rate, decay, .. }, _) => {
                for (p, &g) in p.iter_mut().zip(g) {
                    *p -= rate * (g + decay * *p);
                }
            }
            (Self::AdamW { .. }, _) => unreachable!("AdamW has two states"),
        }
    }
}

/// Writes the new values into the parameter's own storage: a step allocates nothing.
struct Update<'a> {
    rule: Rule,
    grad: &'a [f32],
    state: RefCell<&'a mut Vec<Vec<f32>>>,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn cpu_fwd(&self, param: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(p) = param else { candle_core::bail!("parameters must be f32") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("parameters must be contiguous")
        };
        let p = &mut p[start..end];
        if p.len() != self.grad.len() {
            candle_core::bail!("a gradient of {} values for a parameter of {}", self.grad.len(), p.len());
        }
        let mut state = self.state.borrow_mut();
        let mut pieces: Vec<Vec<&mut [f32]>> = (0..p.len().div_ceil(CHUNK)).map(|_| Vec::new()).collect();
        for array in state.iter_mut() {
            pieces.iter_mut().zip(array.chunks_mut(CHUNK)).for_each(|(piece, chunk)| piece.push(chunk));
        }
        let rule = self.rule;
        p.par_chunks_mut(CHUNK)
            .zip(self.grad.par_chunks(CHUNK))
            .zip(pieces)
            .for_each(|((p, g), mut states)| rule.apply(p, g, &mut states));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    /// The definition, element by element in f64.
    fn reference(lr: f64, wd: f64, start: f64, grads: &[f64]) -> f64 {
        let (b1, b2, eps) = (0.9f64, 0.999f64, 1e-8);
        let (mut p, mut m, mut v) = (start, 0.0, 0.0);
        for (i, g) in grads.iter().enumerate() {
            let t = (i + 1) as f64;
            p -= lr * wd * p;
            m = b1 * m + (1.0 - b1) * g;
            v = b2 * v + (1.0 - b2) * g * g;
            p -= lr * (m / (1.0 - b1.powf(t))) / ((v / (1.0 - b2.powf(t))).sqrt() + eps);
        }
        p
    }

    fn var(values: &[f32]) -> Result<Var> {
        Ok(Var::from_tensor(&Tensor::new(values, &Device::Cpu)?)?)
    }

    fn group(name: &str, var: &Var, weight_decay: f64) -> ParamGroup {
        let params = vec![(name.to_owned(), var.clone())];
        ParamGroup { name: name.to_owned(), params, lr_scale: 1.0, weight_decay }
    }

    /// The gradient of `sum(p*g)`.
    fn gradient(name: &str, var: &Var, g: &[f32]) -> Result<Gradients> {
        let loss = (var.as_tensor() * Tensor::new(g, &Device::Cpu)?)?.sum_all()?;
        Gradients::collect(&[(name.to_owned(), var.clone())], &loss.backward()?)
    }

    #[test]
    fn five_steps_equal_the_definition_also_after_a_reload() -> Result<()> {
        let n = CHUNK + 7; // more than one task
        let start: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        let grads: Vec<Vec<f32>> = (0..5)
            .map(|s| (0..n).map(|i| (i as f32 * 0.11 + s as f32).cos() * 10f32.powi(-s)).collect())
            .collect();
        for (wd, reload_at) in [(0.05, usize::MAX), (0.0, usize::MAX), (0.05, 3)] {
            let p = var(&start)?;
            let make = || Optimizer::new(OptimizerConfig::ADAMW, vec![group("p", &p, wd)]);
            let mut opt = make();
            for (i, g) in grads.iter().enumerate() {
                if i == reload_at {
                    let saved: Vec<(String, Vec<f32>)> =
                        opt.state().into_iter().map(|(n, _, v)| (n, v.to_vec())).collect();
                    let steps = opt.steps();
                    opt = make();
                    let mut get = |name: &str| {
                        let found = saved.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                        found.ok_or_else(|| Error::weights(name))
                    };
                    opt.load_state(&mut get, steps)?;
                }
                opt.step(&gradient("p", &p, g)?, 0.01)?;
            }
            let got = p.to_vec1::<f32>()?;
            for i in (0..n).step_by(101).chain([n - 1]) {
                let column: Vec<f64> = grads.iter().map(|g| f64::from(g[i])).collect();
                let want = reference(0.01, wd, f64::from(start[i]), &column);
                assert!((f64::from(got[i]) - want).abs() < 2e-6, "{i}: got {}, want {want}", got[i]);
            }
        }
        Ok(())
    }

    #[test]
    fn a_parameter_outside_the_loss_keeps_its_value() -> Result<()> {
        let (used, idle) = (var(&[1.0, 2.0])?, var(&[3.0])?);
        let params = [("used".to_owned(), used.clone()), ("idle".to_owned(), idle.clone())];
        let groups = vec![group("used", &used, 0.1), group("idle", &idle, 0.1)];
        let mut opt = Optimizer::new(OptimizerConfig::ADAMW, groups);
        let grads = Gradients::collect(&params, &used.as_tensor().sum_all()?.backward()?)?;
        opt.step(&grads, 0.1)?;
        assert_eq!(idle.to_vec1::<f32>()?, [3.0]);
        assert!(used.to_vec1::<f32>()?[0] < 1.0);
        Ok(())
    }

    #[test]
    fn backbone_stages_move_slower_the_deeper_they_are() {
        let names = ["backbone.stem.0.weight", "backbone.stages.0.x", "backbone.stages.3.x", "neck.x"];
        assert_eq!(names.map(depth), [Some(4), Some(3), Some(0), None]);
    }
}
