//! The learning rate as a pure function of the step, with mmengine's formulas (`LinearLR`, `MultiStepLR`, `PolyLR`,
//! `CosineAnnealingLR`): nothing to save, nothing to resume.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Linear warm-up, then a decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps until the full rate; 0 for none.
    pub warmup_steps: u64,
    /// The first step's share of the full rate.
    pub warmup_factor: f64,
    /// What follows.
    pub decay: Decay,
}

/// How the rate falls after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// By a factor at the beginning of epochs. Counts from the first step, as mmdetection's 1× recipe does.
    Step {
        /// Epochs, from 0, at whose beginning the rate falls; fractions are allowed.
        milestones: Vec<f64>,
        /// The factor.
        gamma: f64,
    },
    /// `(1 - k/n)^power` between the end of the warm-up and the last step, which has `min_lr`.
    Poly {
        /// The exponent.
        power: f64,
        /// Rate at the end.
        min_lr: f64,
    },
    /// Half a cosine from the end of the warm-up towards `min_lr`, which the step after the last would have.
    Cosine {
        /// Rate at the end.
        min_lr: f64,
    },
}

impl Schedule {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, got: f64, expected: &str| {
            Err(Error::config(format!("schedule.{key} is {got}, expected {expected}")))
        };
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !(0.0..=1.0).contains(&self.warmup_factor) {
            return wrong("warmup_factor", self.warmup_factor, "0 to 1");
        }
        match &self.decay {
            Decay::Constant => {}
            Decay::Step { milestones, gamma } => {
                if !positive(*gamma) || *gamma > 1.0 {
                    return wrong("decay.gamma", *gamma, "above 0 and at most 1");
                }
                if let Some(at) = milestones.iter().find(|m| !(m.is_finite() && **m >= 0.0)) {
                    return wrong("decay.milestones", *at, "epochs, 0 or more");
                }
            }
            Decay::Poly { power, .. } if !positive(*power) => {
                return wrong("decay.power", *power, "above 0");
            }
            Decay::Poly { min_lr, .. } | Decay::Cosine { min_lr } => {
                if !(min_lr.is_finite() && *min_lr >= 0.0) {
                    return wrong("decay.min_lr", *min_lr, "0 or more");
                }
            }
        }
        Ok(())
    }

    /// The rate of step `step` (from 0) of `total`, for the full rate `base`. Steps after the last keep the last rate.
    pub fn lr(&self, base: f64, step: u64, steps_per_epoch: u64, total: u64) -> f64 {
        let warmup = self.warmup_steps.min(total);
        let decayed = self.decay.lr(base, step, steps_per_epoch, (warmup, total));
        // mmengine reaches the full rate one step early: at the last step of the warm-up
        if step + 1 >= warmup {
            return decayed;
        }
        let share = step as f64 / (warmup - 1) as f64;
        decayed * (self.warmup_factor + (1.0 - self.warmup_factor) * share)
    }
}

impl Decay {
    fn lr(&self, base: f64, step: u64, steps_per_epoch: u64, (warmup, total): (u64, u64)) -> f64 {
        let k = step.saturating_sub(warmup) as f64;
        let n = total.saturating_sub(warmup);
        match self {
            Decay::Constant => base,
            Decay::Step { milestones, gamma } => {
                let reached = |m: &&f64| step as f64 >= *m * steps_per_epoch as f64;
                base * gamma.powi(milestones.iter().filter(reached).count() as i32)
            }
            Decay::Poly { power, min_lr } => {
                let left = 1.0 - (k / n.saturating_sub(1).max(1) as f64).min(1.0);
                min_lr + (base - min_lr) * left.powf(*power)
            }
            Decay::Cosine { min_lr } => {
                let k = k.min(n.saturating_sub(1) as f64);
                let half = (std::f64::consts::PI * k / n.max(1) as f64).cos();
                min_lr + (base - min_lr) * (1.0 + half) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_longer_than_the_run_ends_with_it() {
        let s = Schedule { warmup_steps: 500, warmup_factor: 0.1, decay: Decay::Cosine { min_lr: 0.0 } };
        let rates: Vec<f64> = (0..10).map(|i| s.lr(1.0, i, 5, 10)).collect();
        assert!(rates.windows(2).all(|w| w[0] < w[1]), "{rates:?}");
        assert!((rates[9] - 1.0).abs() < 1e-12 && (rates[0] - 0.1).abs() < 1e-12, "{rates:?}");
    }

    #[test]
    fn every_decay_is_finite_for_runs_of_one_step() {
        let decays = [
            Decay::Constant,
            Decay::Step { milestones: vec![0.5], gamma: 0.1 },
            Decay::Poly { power: 0.9, min_lr: 0.0 },
            Decay::Cosine { min_lr: 0.0 },
        ];
        for decay in decays {
            for warmup_steps in [0, 1, 2] {
                let s = Schedule { warmup_steps, warmup_factor: 0.001, decay: decay.clone() };
                for step in 0..3 {
                    assert!(s.lr(0.1, step, 1, 1).is_finite(), "{s:?}");
                }
            }
        }
    }

    #[test]
    fn milestones_may_be_fractions_of_an_epoch() {
        let decay = Decay::Step { milestones: vec![0.5, 1.0], gamma: 0.1 };
        let s = Schedule { warmup_steps: 0, warmup_factor: 1.0, decay };
        let rates: Vec<f64> = [0, 4, 5, 9, 10].iter().map(|&i| s.lr(1.0, i, 10, 20)).collect();
        for (got, want) in rates.iter().zip([1.0, 1.0, 0.1, 0.1, 0.01]) {
            assert!((got - want).abs() < 1e-12, "{rates:?}");
        }
    }
}
