//! AdamW with decoupled weight decay and state that belongs to us (candle's is private and cannot be saved).
//!
//! The rule, in this order (Loshchilov & Hutter, <https://arxiv.org/abs/1711.05101>, as PyTorch does it):
//! `p -= lr*wd*p`, then the Adam step with both moments corrected for their start at zero, epsilon added after
//! the square root of the corrected second moment. All arithmetic in f32; every element is independent, so the
//! result does not depend on how the work is split over threads.

use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp2, Layout, Var};
use rayon::prelude::*;
use std::cell::RefCell;

/// Elements one task updates: four arrays of this many floats stay in the L2 cache.
const CHUNK: usize = 1 << 14;

/// Settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay of the parameters that decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { lr: 1e-4, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1e-4 }
    }
}

/// One parameter and its state.
#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    decays: bool,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// The optimiser: a list of parameters in a fixed order, two moments each, and the number of steps taken.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    steps: u64,
    slots: Vec<Slot>,
}

impl AdamW {
    /// An optimiser over named parameters; those for which `decays` answers false get no weight decay.
    pub fn new(
        params: impl IntoIterator<Item = (String, Var)>,
        config: AdamWConfig,
        decays: impl Fn(&str, &[usize]) -> bool,
    ) -> Self {
        let slot = |(name, var): (String, Var)| {
            let n = var.elem_count();
            Slot { decays: decays(&name, var.dims()), first: vec![0.0; n], second: vec![0.0; n], name, var }
        };
        Self { config, steps: 0, slots: params.into_iter().map(slot).collect() }
    }

    /// The usual rule of this lineage: biases, norms and layer scales (all of them vectors) do not decay.
    pub fn decays_matrices(_name: &str, shape: &[usize]) -> bool {
        shape.len() > 1
    }

    /// Changes the learning rate from the next step on.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// One step along `grads`. A parameter that took no part in the loss keeps its value and its state.
    ///
    /// # Errors
    /// `Internal` when a gradient has another shape or type than its parameter.
    pub fn step(&mut self, grads: &GradStore) -> Result<()> {
        self.steps += 1;
        let rule = Rule::new(&self.config, self.steps);
        for slot in &mut self.slots {
            let Some(grad) = grads.get(slot.var.as_tensor()) else { continue };
            let grad = grad.contiguous()?;
            let rule = if slot.decays { rule } else { Rule { keep: 1.0, ..rule } };
            let update = Update { rule, state: RefCell::new((&mut slot.first, &mut slot.second)) };
            slot.var.inplace_op2(&grad, &update).map_err(|e| Error::from(e).context(&slot.name))?;
        }
        Ok(())
    }
}

/// The factors of one step, the same for every element.
#[derive(Clone, Copy)]
struct Rule {
    keep: f32,
    beta1: f32,
    beta2: f32,
    rate: f32,
    root_correction: f32,
    eps: f32,
}

impl Rule {
    fn new(c: &AdamWConfig, steps: u64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
        Self {
            keep: (1.0 - c.lr * c.weight_decay) as f32,
            beta1: c.betas.0 as f32,
            beta2: c.betas.1 as f32,
            rate: (c.lr / correction(c.betas.0)) as f32,
            root_correction: (1.0 / correction(c.betas.1).sqrt()) as f32,
            eps: c.eps as f32,
        }
    }

    fn apply(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *m = self.beta1 * *m + (1.0 - self.beta1) * g;
            *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
            *p = *p * self.keep - self.rate * *m / (v.sqrt() * self.root_correction + self.eps);
        }
    }
}

/// Writes the new values into the parameter's own storage: a step allocates nothing.
struct Update<'a> {
    rule: Rule,
    state: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        param: &mut CpuStorage,
        param_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(p), CpuStorage::F32(g)) = (param, grad) else {
            candle_core::bail!("parameters and gradients must be f32");
        };
        let (Some((p0, p1)), Some((g0, g1))) =
            (param_layout.contiguous_offsets(), grad_layout.contiguous_offsets())
        else {
            candle_core::bail!("parameters and gradients must be contiguous");
        };
        if param_layout.shape() != grad_layout.shape() {
            candle_core::bail!(
                "gradient {:?} of a parameter {:?}",
                grad_layout.shape(),
                param_layout.shape()
            );
        }
        let mut state = self.state.borrow_mut();
        let (m, v) = &mut *state;
        let rule = self.rule;
        p[p0..p1]
            .par_chunks_mut(CHUNK)
            .zip(g[g0..g1].par_chunks(CHUNK))
            .zip(m.par_chunks_mut(CHUNK))
            .zip(v.par_chunks_mut(CHUNK))
            .for_each(|(((p, g), m), v)| rule.apply(p, g, m, v));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    /// The definition, element by element in f64.
    fn reference(c: &AdamWConfig, start: f64, grads: &[f64]) -> f64 {
        let (b1, b2) = c.betas;
        let (mut p, mut m, mut v) = (start, 0.0, 0.0);
        for (i, g) in grads.iter().enumerate() {
            let t = (i + 1) as f64;
            p -= c.lr * c.weight_decay * p;
            m = b1 * m + (1.0 - b1) * g;
            v = b2 * v + (1.0 - b2) * g * g;
            p -= c.lr * (m / (1.0 - b1.powf(t))) / ((v / (1.0 - b2.powf(t))).sqrt() + c.eps);
        }
        p
    }

    /// Takes steps along `d(loss)/dp = g` with `loss = sum(p*g)`.
    fn run(c: AdamWConfig, start: &[f32], grads: &[Vec<f32>], decay: bool) -> Result<Vec<f32>> {
        let var = Var::from_tensor(&Tensor::new(start, &Device::Cpu)?)?;
        let mut opt = AdamW::new([("p".to_owned(), var.clone())], c, |_, _| decay);
        for g in grads {
            let loss = (var.as_tensor() * Tensor::new(g.as_slice(), &Device::Cpu)?)?.sum_all()?;
            opt.step(&loss.backward()?)?;
        }
        Ok(var.to_vec1()?)
    }

    #[test]
    fn five_steps_equal_the_definition() -> Result<()> {
        let n = CHUNK + 7; // more than one task
        let start: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        let grads: Vec<Vec<f32>> = (0..5)
            .map(|s| (0..n).map(|i| (i as f32 * 0.11 + s as f32).cos() * 10f32.powi(-s)).collect())
            .collect();
        for (decay, wd) in [(true, 0.05), (false, 0.0)] {
            let c = AdamWConfig { lr: 0.01, weight_decay: 0.05, ..AdamWConfig::default() };
            let got = run(c, &start, &grads, decay)?;
            for i in (0..n).step_by(101).chain([n - 1]) {
                let column: Vec<f64> = grads.iter().map(|g| f64::from(g[i])).collect();
                let want = reference(&AdamWConfig { weight_decay: wd, ..c }, f64::from(start[i]), &column);
                assert!((f64::from(got[i]) - want).abs() < 2e-6, "{i}: got {}, want {want}", got[i]);
            }
        }
        Ok(())
    }

    #[test]
    fn a_parameter_outside_the_loss_keeps_its_value() -> Result<()> {
        let used = Var::from_tensor(&Tensor::new(&[1f32, 2.0], &Device::Cpu)?)?;
        let idle = Var::from_tensor(&Tensor::new(&[3f32], &Device::Cpu)?)?;
        let params = [("used".to_owned(), used.clone()), ("idle".to_owned(), idle.clone())];
        let mut opt = AdamW::new(params, AdamWConfig::default(), |_, _| true);
        opt.step(&used.as_tensor().sum_all()?.backward()?)?;
        assert_eq!(idle.to_vec1::<f32>()?, [3.0]);
        assert!(used.to_vec1::<f32>()?[0] < 1.0);
        Ok(())
    }

    #[test]
    fn vectors_do_not_decay() {
        assert!(AdamW::decays_matrices("w", &[4, 4, 1, 1]));
        assert!(!AdamW::decays_matrices("b", &[4]));
    }
}
