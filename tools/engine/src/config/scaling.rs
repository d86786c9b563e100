//! The learning rate is stated for a reference batch and scaled to the one that is used.

use super::RunConfig;

/// A stated learning rate and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaledRate {
    /// As configured, for `reference` pictures a step.
    pub stated: f64,
    /// Pictures a step that it is meant for.
    pub reference: usize,
    /// Pictures a step here.
    pub pictures: usize,
}

impl ScaledRate {
    /// That of a run.
    pub fn of(config: &RunConfig) -> Self {
        Self {
            stated: config.train.lr,
            reference: config.train.reference_batch,
            pictures: config.step_pictures(),
        }
    }

    /// The rate that is used (linear scaling rule, Goyal et al. 2017, <https://arxiv.org/abs/1706.02677>).
    pub fn rate(&self) -> f64 {
        self.stated * self.pictures as f64 / self.reference as f64
    }
}

impl std::fmt::Display for ScaledRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "learning rate {} for {} pictures a step, scaled to {} for {}",
            self.stated,
            self.reference,
            self.rate(),
            self.pictures
        )
    }
}
