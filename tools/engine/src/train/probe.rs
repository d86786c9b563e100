//! A minute before a run of hours: is the data what was meant, does the network learn at all, what will it cost?

use super::batch::Batch;
use super::learner::{Learner, Rates, Stepped};
use super::run::in_training_pool;
use super::start::Plan;
use super::validate::validate;
use crate::clock;
use crate::error::Result;
use crate::measure::Phases;
use crate::stop::Stop;
use std::time::{Duration, Instant};

/// Steps on one batch, at most, and how long they may take: enough to see a loss fall.
const STEPS: usize = 24;
const AT_MOST: Duration = Duration::from_secs(40);
/// Pictures that are evaluated to learn what an evaluation costs.
const SCORED: usize = 4;

/// What a probe found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Probe {
    /// Losses of the same pictures, step by step.
    pub losses: Vec<f64>,
    /// Trained parameters that get no gradient from these pictures.
    pub without_gradient: Vec<String>,
    /// Loss or gradient that was not finite.
    pub diverged: Option<String>,
    /// Steps of the full run.
    pub steps: u64,
    /// Seconds per step, median.
    pub seconds_per_step: f64,
    /// Seconds that the evaluations of the full run take.
    pub validation_seconds: f64,
    /// Seconds of the full run on this machine.
    pub total_seconds: f64,
    /// Most memory held so far, MiB.
    pub peak_mb: Option<f64>,
    /// It was stopped before it was done.
    pub interrupted: bool,
}

impl Probe {
    /// The loss at the end is lower than at the start, by more than its jitter.
    pub fn learns(&self) -> bool {
        let third = (self.losses.len() / 3).max(1);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
        let (first, last) = (
            mean(&self.losses[..third.min(self.losses.len())]),
            mean(&self.losses[self.losses.len().saturating_sub(third)..]),
        );
        self.diverged.is_none() && self.losses.len() > 1 && last < 0.95 * first
    }
}

/// Trains on one batch again and again, without a folder.
///
/// # Errors
/// As a run.
pub fn probe(plan: Plan, stop: &Stop, tick: &mut (dyn FnMut(usize, f64) + Send)) -> Result<Probe> {
    in_training_pool(|| probe_here(plan, stop, tick))
}

fn probe_here(plan: Plan, stop: &Stop, tick: &mut (dyn FnMut(usize, f64) + Send)) -> Result<Probe> {
    let (feed, (per_epoch, steps)) = (plan.feed(), plan.steps());
    let (mut samples, mut why) = (Vec::new(), None);
    for sample in feed.start(0, 1) {
        match sample {
            Ok(sample) => samples.push(sample),
            Err(e) => why = Some(e),
        }
    }
    if let (true, Some(e)) = (samples.is_empty(), why) {
        return Err(e);
    }
    let batches = || -> Result<Vec<_>> {
        samples.chunks(plan.config.train.batch).map(|part| Batch::of(part.to_vec())).collect()
    };
    let mut learner = Learner::new(&plan.config, plan.weights.store)?;
    let without_gradient = learner.without_gradient(&batches()?.swap_remove(0))?;
    // the highest rate of the warm-up's first steps would show nothing: use the full one
    let lr =
        (0..steps.min(2000)).map(|s| Rates::new(&plan.config, per_epoch, steps).at(s)).fold(0.0, f64::max);
    let (mut losses, mut times, mut diverged) = (Vec::new(), Vec::new(), None);
    let begun = Instant::now();
    while losses.len() < STEPS && begun.elapsed() < AT_MOST && !stop.requested() {
        let start = Instant::now();
        // a ramp of eight steps: no optimiser state yet
        let ramp = ((losses.len() + 1) as f64 / 8.0).min(1.0);
        match learner.step(batches()?, lr * ramp, &mut Phases::default())? {
            Stepped::Done { losses: parts, .. } => losses.push(parts.iter().map(|(_, v)| v).sum()),
            Stepped::Diverged(what) => {
                diverged = Some(what);
                break;
            }
        }
        times.push(start.elapsed().as_secs_f64());
        tick(losses.len(), losses[losses.len() - 1]);
    }
    times.sort_by(f64::total_cmp);
    let seconds_per_step = times.get(times.len() / 2).copied().unwrap_or(0.0);
    let mut validation_seconds = 0.0;
    if let Some(val) = &plan.data.val {
        let start = Instant::now();
        let spec = &plan.weights.spec;
        validate(learner.averaged(), spec, (val, SCORED), stop, &mut |_, _| ())?;
        let pictures = val.select(plan.config.validation.limit)?.len();
        let evaluations = steps.div_ceil(per_epoch * plan.config.validation.every.max(1));
        let each = start.elapsed().as_secs_f64() / SCORED.min(pictures).max(1) as f64;
        validation_seconds = each * pictures as f64 * evaluations as f64;
    }
    Ok(Probe {
        losses,
        without_gradient,
        diverged,
        steps,
        seconds_per_step,
        validation_seconds,
        total_seconds: seconds_per_step * steps as f64 + validation_seconds,
        peak_mb: clock::peak_mb(),
        interrupted: stop.requested(),
    })
}
