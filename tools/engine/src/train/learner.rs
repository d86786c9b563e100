//! One optimiser step: forward, losses, backward, clip, move, average. No files, no data sets.

use super::batch::Batch;
use crate::config::{RunConfig, ScaledRate};
use crate::ema::Ema;
use crate::error::{Error, Result};
use crate::grads::Gradients;
use crate::measure::Phases;
use crate::optim::{BackboneRate, Optimizer, param_groups};
use candle_core::Var;
use care_heads::Network;
use care_nn::params::{Builder, Role};
use care_nn::{NormMode, ParamStore, Purpose};
use serde::Serialize;

/// PyTorch's share of a batch in the running statistics.
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// A network in training, with everything that a step changes.
pub(crate) struct Learner {
    pub(crate) store: ParamStore,
    pub(crate) optimizer: Optimizer,
    pub(crate) ema: Option<Ema>,
    network: Network,
    root: Builder,
    params: Vec<(String, Var)>,
    clip_norm: f64,
}

/// What a step measured; all of it is reproducible to the bit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps taken, this one included.
    pub step: u64,
    /// Epoch that the step belongs to, from 1.
    pub epoch: u64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Sum of the losses, mean over the passes of the step.
    pub loss: f64,
    /// Each loss, in the network's order.
    pub losses: Vec<(&'static str, f64)>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
}

/// How a step ended.
pub(crate) enum Stepped {
    Done {
        losses: Vec<(&'static str, f64)>,
        grad_norm: f64,
    },
    /// The named loss or gradient is not finite; nothing was changed.
    Diverged(String),
}

impl Learner {
    pub(crate) fn new(config: &RunConfig, store: ParamStore) -> Result<Self> {
        freeze(&store, config.train.frozen_stages)?;
        let norm = if config.train.norm_eval { NormMode::Frozen } else { NormMode::Batch };
        let root = store.root(Purpose::Train { norm });
        let network = config.network.build(&root)?;
        let groups = param_groups(
            &store,
            config.optimizer.weight_decay(),
            config.train.decay,
            BackboneRate { scale: config.train.backbone_lr, per_stage: config.train.layer_decay },
        );
        let optimizer = Optimizer::new(config.optimizer.clone(), groups);
        let ema = if config.train.ema > 0.0 { Some(Ema::new(&store, config.train.ema)?) } else { None };
        let params = store.trainable().into_iter().map(|p| (p.name, p.var)).collect();
        Ok(Self { store, optimizer, ema, network, root, params, clip_norm: config.train.clip_norm })
    }

    /// The weights that are scored and saved.
    pub(crate) fn averaged(&self) -> &ParamStore {
        self.ema.as_ref().map_or(&self.store, Ema::store)
    }

    /// One step over the passes of `batches`, at learning rate `lr`. A pass counts by its pictures: the last may have fewer.
    pub(crate) fn step(&mut self, batches: Vec<Batch>, lr: f64, phases: &mut Phases) -> Result<Stepped> {
        let pictures: usize = batches.iter().map(Batch::len).sum();
        let (mut sums, mut gradients): (Vec<(&'static str, f64)>, Option<Gradients>) = (Vec::new(), None);
        for batch in batches {
            let share = batch.len() as f64 / pictures as f64;
            let losses = phases.time("forward", || batch.losses(&self.network))?;
            let parts = losses.iter().map(|(name, t)| Ok((name, f64::from(t.to_scalar::<f32>()?))));
            let parts: Vec<(&'static str, f64)> = parts.collect::<Result<_>>()?;
            if let Some((name, value)) = parts.iter().find(|(_, v)| !v.is_finite()) {
                self.root.batch_stats().take();
                return Ok(Stepped::Diverged(format!("the loss {name} is {value}")));
            }
            add_parts(&mut sums, &parts, share);
            let total = (losses.total()? * share)?;
            let grads = phases.time("backward", || total.backward())?;
            let new = Gradients::collect(&self.params, &grads)?;
            match &mut gradients {
                Some(sum) => sum.add(&new)?,
                None => gradients = Some(new),
            }
        }
        let mut gradients = gradients.ok_or_else(|| Error::internal("a step without pictures"))?;
        let stats = self.root.batch_stats().take();
        if let Some(name) = gradients.first_non_finite() {
            return Ok(Stepped::Diverged(format!("the gradient of {name} is not finite")));
        }
        let grad_norm = if self.clip_norm > 0.0 { gradients.clip(self.clip_norm) } else { gradients.norm() };
        phases.time("optimizer", || self.optimizer.step(&gradients, lr))?;
        self.store.commit_batch_stats(&stats, BATCH_NORM_MOMENTUM)?;
        if let Some(ema) = &self.ema {
            phases.time("average", || ema.update(&self.store, self.optimizer.steps()))?;
        }
        Ok(Stepped::Done { losses: sums, grad_norm })
    }

    /// Parameters that the losses of a batch do not reach.
    pub(crate) fn without_gradient(&self, batch: &Batch) -> Result<Vec<String>> {
        let grads = batch.losses(&self.network)?.total()?.backward()?;
        self.root.batch_stats().take();
        let gradients = Gradients::collect(&self.params, &grads)?;
        Ok(gradients.without_gradient().into_iter().map(str::to_owned).collect())
    }
}

fn add_parts(sums: &mut Vec<(&'static str, f64)>, parts: &[(&'static str, f64)], share: f64) {
    if sums.is_empty() {
        sums.extend(parts.iter().map(|(name, _)| (*name, 0.0)));
    }
    for (sum, part) in sums.iter_mut().zip(parts) {
        sum.1 += part.1 * share;
    }
}

/// Freezes the stem and the first stages: `1` is the stem, `5` the whole backbone. What was frozen before stays so.
fn freeze(store: &ParamStore, stages: usize) -> Result<()> {
    let frozen = |name: &str| match name.strip_prefix("backbone.") {
        Some(rest) => {
            let stage = rest.strip_prefix("stages.").and_then(|r| r.split('.').next()?.parse::<usize>().ok());
            stages >= stage.map_or(1, |s| s + 2)
        }
        None => false,
    };
    Ok(store.set_roles(|name, role| if frozen(name) { Role::Frozen } else { role })?)
}

/// Learning rates of a run.
pub(crate) struct Rates {
    base: f64,
    schedule: crate::schedule::Schedule,
    steps_per_epoch: u64,
    total: u64,
}

impl Rates {
    pub(crate) fn new(config: &RunConfig, steps_per_epoch: u64, total: u64) -> Self {
        Self {
            base: ScaledRate::of(config).rate(),
            schedule: config.schedule.clone(),
            steps_per_epoch,
            total,
        }
    }

    /// The rate of the step with this number, from 0.
    pub(crate) fn at(&self, step: u64) -> f64 {
        self.schedule.lr(self.base, step, self.steps_per_epoch, self.total)
    }
}
