//! A run from its first or any later step to its end, with its folder.

use super::batch::{Batch, TaskSample};
use super::data::ValData;
use super::feed::FeedPlan;
use super::learner::{Learner, Rates, StepReport, Stepped};
use super::metrics::{MetricsLine, TimingLine};
use super::snapshot::{self, Progress};
use super::start::Plan;
use super::validate::{Validation, validate};
use crate::clock;
use crate::config::{RunConfig, ScaledRate};
use crate::error::{Error, Result};
use crate::machine;
use crate::measure::Phases;
use crate::program;
use crate::run_dir::{self, Environment, Lines, RunDir};
use crate::stop::Stop;
use crate::weights::{self, Provenance, Spec, TrainedOn};
use care_data::rng::rng;
use care_heads::{Draw, Task};
use care_kernels::pages::keep_freed;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Stack of the threads that train: back-propagation walks the graph recursively.
const STACK: usize = 64 << 20;

/// Runs work on threads with a stack that back-propagation fits on.
pub(super) fn in_training_pool<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let threads = rayon::current_num_threads();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build();
    pool.map_err(|e| Error::internal(format!("{threads} threads: {e}")))?.install(work)
}

/// Told what happens; prints, draws, or counts.
pub trait Observer: Send {
    /// A line for people.
    fn say(&mut self, line: &str);
    /// A step of `total` was taken.
    fn stepped(&mut self, report: &StepReport, total: u64);
    /// An evaluation is at `done` of `of`.
    fn validating(&mut self, done: usize, of: usize);
    /// An evaluation is done; charts and pictures may go into the folder.
    ///
    /// # Errors
    /// What ends the run.
    fn validated(&mut self, dir: &RunDir, data: &ValData, validation: &Validation) -> Result<()>;
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All steps were taken, or no evaluation was better for `train.patience` of them.
    Finished(RunSummary),
    /// It was asked to stop; `resume` goes on.
    Interrupted(RunSummary),
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Steps taken.
    pub step: u64,
    /// Steps planned.
    pub total: u64,
    /// What the score is called: AP or mIoU.
    pub score_name: &'static str,
    /// Best score, and the step it was reached at.
    pub best: Option<(f64, u64)>,
    /// Training pictures that could not be used, and why.
    pub failed: Vec<String>,
}

/// A run with its folder.
pub struct Run {
    dir: RunDir,
    config: RunConfig,
    spec: Spec,
    provenance: Provenance,
    val: Option<Arc<ValData>>,
    learner: Learner,
    feed: FeedPlan,
    rates: Rates,
    steps_per_epoch: u64,
    total: u64,
    progress: Progress,
    metrics: Lines,
    timings: Lines,
    log: std::fs::File,
    notes: Vec<String>,
}

impl Run {
    /// Makes the folder of a new run, which must not exist.
    ///
    /// # Errors
    /// `Config` when the folder exists or cannot be made.
    pub fn create(out: &Path, plan: Plan) -> Result<Self> {
        let environment = Environment {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instruction_set: machine::instruction_set()?,
            cpu_features: machine::cpu_features(),
            threads: rayon::current_num_threads(),
            train_data: plan.data.fingerprints[0].clone(),
            val_data: plan.data.fingerprints[1].clone(),
            start_weights: plan.start_hash.clone(),
        };
        let dir = RunDir::create(out, &plan.config, &environment)?;
        let mut run = Self::assemble(dir, plan, None)?;
        run.save()?;
        Ok(run)
    }

    /// Opens the folder of a run and goes back to its last snapshot.
    ///
    /// # Errors
    /// `Config` when it is not the folder of a run, `Input` when its data changed since, `Weights` when the snapshot is
    /// damaged.
    pub fn resume(path: &Path) -> Result<Self> {
        Self::reopen(path, run_dir::SNAPSHOT)
    }

    fn reopen(path: &Path, snapshot: &str) -> Result<Self> {
        let (dir, config, environment) = RunDir::open(path)?;
        let plan = Plan::new(config)?;
        let before = [&environment.train_data, &environment.val_data];
        for (part, (was, now)) in
            ["training", "validation"].iter().zip(before.iter().zip(&plan.data.fingerprints))
        {
            if *was != now {
                return Err(Error::input(format!(
                    "{}: the {part} pictures or their annotations changed since the run began; it would not go on with the \
                     same numbers. Put them back, or start a new run with --weights {}",
                    plan.config.data.path,
                    dir.file(run_dir::LAST).display()
                )));
            }
        }
        if environment.start_weights != plan.start_hash {
            return Err(Error::weights("the file that the run started from has changed since"));
        }
        let mut plan = plan;
        let now = machine::instruction_set()?;
        if environment.instruction_set != now {
            plan.notes.push(format!(
                "the run began with {}, this is {now}: it goes on, but not with the bits it would have had there",
                environment.instruction_set
            ));
        }
        let snapshot = dir.file(snapshot);
        Self::assemble(dir, plan, Some(&snapshot).filter(|s| s.is_file()).map(|s| s.as_path()))
    }

    fn assemble(dir: RunDir, plan: Plan, snapshot: Option<&Path>) -> Result<Self> {
        let (feed, (steps_per_epoch, total)) = (plan.feed(), plan.steps());
        let Plan { config, data, weights, notes, .. } = plan;
        let mut learner = Learner::new(&config, weights.store)?;
        let progress = match snapshot {
            Some(path) => snapshot::load(path, &mut learner)?,
            None => Progress::default(),
        };
        let mut provenance = weights.provenance;
        provenance.trained_on =
            Some(TrainedOn { pictures: data.indices.len(), fingerprint: data.fingerprints[0].clone() });
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.file(run_dir::LOG));
        let log = log.map_err(|e| Error::config(format!("{}: {e}", dir.file(run_dir::LOG).display())))?;
        if let Err(std::fs::TryLockError::WouldBlock) = log.try_lock() {
            let folder = dir.path().display();
            return Err(Error::config(format!("{folder}: another process is training in this folder")));
        }
        Ok(Self {
            metrics: dir.lines(run_dir::METRICS, Some(progress.metrics_bytes))?,
            timings: dir.lines(run_dir::TIMINGS, None)?,
            log,
            rates: Rates::new(&config, steps_per_epoch, total),
            spec: weights.spec,
            val: data.val.map(Arc::new),
            dir,
            config,
            provenance,
            learner,
            feed,
            steps_per_epoch,
            total,
            progress,
            notes,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// What the network is for.
    pub fn task(&self) -> Task {
        self.config.network.task()
    }

    /// Takes the steps that are left.
    ///
    /// # Errors
    /// `Internal` naming the loss or gradient that is not finite (the state before the step is kept for
    /// [`Run::replay`]); `Input` when none of a step's pictures can be read; `Config` when the disk is full.
    pub fn train(&mut self, stop: &Stop, observer: &mut dyn Observer) -> Result<Ending> {
        keep_freed();
        in_training_pool(|| self.drive(stop, observer))
    }

    fn drive(&mut self, stop: &Stop, observer: &mut dyn Observer) -> Result<Ending> {
        self.introduce(observer);
        let mut samples = self.feed.start(self.progress.step, self.total);
        let (mut phases, mut since, mut lap) = (Phases::default(), self.progress.step, Instant::now());
        let mut skipped = 0;
        loop {
            if self.evaluation_is_due() {
                if !self.evaluate(stop, observer)? {
                    break;
                }
                lap = Instant::now();
            }
            if self.progress.finished || self.progress.step >= self.total || stop.requested() {
                break;
            }
            let step = self.progress.step;
            let batch = phases.time("data", || self.gather(&mut samples, observer))?;
            if batch.is_empty() {
                self.skip_step(&mut skipped)?;
            } else {
                let report = self.take_step(step, batch, &mut phases)?;
                (self.progress.step, skipped) = (report.step, 0);
                self.progress.updates += 1;
                self.metrics.push(&MetricsLine::of_step(&report))?;
                observer.stepped(&report, self.total);
            }
            let every = self.config.train.snapshot_every;
            if self.at_epoch_end() || (every > 0 && self.progress.step.is_multiple_of(every)) {
                self.push_timing(&mut phases, &mut since, &mut lap)?;
                self.save()?;
            }
        }
        self.end(stop)
    }

    fn introduce(&mut self, observer: &mut dyn Observer) {
        let (epochs, pictures) = (self.total.div_ceil(self.steps_per_epoch), self.config.step_pictures());
        let mut lines = std::mem::take(&mut self.notes);
        lines.push(ScaledRate::of(&self.config).to_string());
        lines.push(format!(
            "{} steps of {pictures} pictures, {} an epoch, {epochs} epochs",
            self.total, self.steps_per_epoch
        ));
        if self.progress.step > 0 {
            lines.push(format!("going on after step {}", self.progress.step));
        }
        for line in lines {
            self.say(observer, &line);
        }
    }

    /// What is said is also kept; a log that cannot be written does not end a run.
    fn say(&mut self, observer: &mut dyn Observer, line: &str) {
        observer.say(line);
        let _ = writeln!(self.log, "{line}");
    }

    fn at_epoch_end(&self) -> bool {
        self.progress.step.is_multiple_of(self.steps_per_epoch) || self.progress.step == self.total
    }

    fn evaluation_is_due(&self) -> bool {
        let (step, every) = (self.progress.step, self.config.validation.every);
        let due = |every| step % (every * self.steps_per_epoch) == 0 || step == self.total;
        self.val.is_some() && step > 0 && step != self.progress.evaluated && every > 0 && due(every)
    }

    /// The pictures of a step that can be read, as batches.
    fn gather(
        &mut self,
        samples: &mut impl Iterator<Item = Result<TaskSample>>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Batch>> {
        let mut good = Vec::with_capacity(self.feed.per_step);
        for sample in samples.take(self.feed.per_step) {
            match sample {
                Ok(sample) => good.push(sample),
                Err(e) => self.leave_out(observer, &e.to_string()),
            }
        }
        passes(good, &self.config, self.progress.step)
    }

    /// Says once why a picture is left out, and keeps it for the summary.
    fn leave_out(&mut self, observer: &mut dyn Observer, why: &str) {
        if !self.progress.failed.iter().any(|known| known == why) {
            self.progress.failed.push(why.to_owned());
            self.say(observer, &format!("left out: {why}"));
        }
    }

    /// A step none of whose pictures can be used changes nothing; an epoch of them is an error.
    fn skip_step(&mut self, skipped: &mut u64) -> Result<()> {
        (self.progress.step, *skipped) = (self.progress.step + 1, *skipped + 1);
        if *skipped < self.steps_per_epoch {
            return Ok(());
        }
        let why = self.progress.failed.last().cloned().unwrap_or_default();
        Err(Error::input(format!("no picture of the training part can be used; the last one: {why}")))
    }

    fn take_step(&mut self, step: u64, batches: Vec<Batch>, phases: &mut Phases) -> Result<StepReport> {
        let lr = self.rates.at(step);
        match self.learner.step(batches, lr, phases)? {
            Stepped::Done { losses, grad_norm } => Ok(StepReport {
                step: step + 1,
                epoch: step / self.steps_per_epoch + 1,
                lr,
                loss: losses.iter().map(|(_, v)| v).sum(),
                losses,
                grad_norm,
            }),
            Stepped::Diverged(what) => {
                snapshot::save(&self.dir.file(run_dir::DIVERGED), &self.learner, &self.progress)?;
                let (folder, program) = (self.dir.path().display(), program(self.task()));
                Err(Error::internal(format!(
                    "step {}: {what}, at learning rate {lr}. The state before the step is in {folder}/{}; `{program} resume \
                     {folder} --replay` takes it again. A lower train.lr, a longer schedule.warmup_steps, or \
                     train.clip_norm usually helps",
                    step + 1,
                    run_dir::DIVERGED,
                )))
            }
        }
    }

    /// False when it was interrupted.
    fn evaluate(&mut self, stop: &Stop, observer: &mut dyn Observer) -> Result<bool> {
        let Some(val) = self.val.clone() else { return Ok(true) };
        let what = (&*val, self.config.validation.limit);
        let mut tick = |done, of| observer.validating(done, of);
        let Some(found) = validate(self.learner.averaged(), &self.spec, what, stop, &mut tick)? else {
            return Ok(false);
        };
        let (all, failed) = (found.positions.len(), found.failed.len());
        for (_, e) in &found.failed {
            self.leave_out(observer, &format!("validation: {e}"));
        }
        if failed == all {
            let why = self.progress.failed.last().cloned().unwrap_or_default();
            return Err(Error::input(format!(
                "none of the {all} validation pictures can be used; the last one: {why}"
            )));
        }
        let (step, score) = (self.progress.step, found.score());
        let best = self.progress.best.is_none_or(|before| score > before);
        if best {
            (self.progress.best, self.progress.best_step, self.progress.stale) = (Some(score), step, 0);
            self.write_weights(run_dir::BEST, Some(score))?;
        } else {
            self.progress.stale += 1;
        }
        self.write_weights(run_dir::LAST, Some(score))?;
        let epoch = step.div_ceil(self.steps_per_epoch);
        self.metrics.push(&MetricsLine::of_validation(&found, step, epoch, best))?;
        observer.validated(&self.dir, &val, &found)?;
        let note = if best { ", the best so far" } else { "" };
        let (scores, loss) = (found.in_words(), found.loss());
        let line = format!("epoch {epoch}, step {step}: {scores}, validation loss {loss:.4}{note}");
        self.say(observer, &line);
        self.progress.evaluated = step;
        let patience = self.config.train.patience;
        if patience > 0 && self.progress.stale >= patience {
            self.progress.finished = true;
            let name = found.score_name();
            self.say(observer, &format!("no better {name} in {patience} evaluations: ending"));
        }
        self.save()?;
        Ok(true)
    }

    fn write_weights(&self, name: &str, score: Option<f64>) -> Result<()> {
        let provenance = Provenance { steps: self.progress.step, score, ..self.provenance.clone() };
        weights::write(&self.dir.file(name), &self.spec, &provenance, self.learner.averaged())
    }

    fn push_timing(&mut self, phases: &mut Phases, since: &mut u64, lap: &mut Instant) -> Result<()> {
        let (steps, seconds) = (self.progress.step - *since, lap.elapsed().as_secs_f64());
        self.timings.push(&TimingLine {
            step: self.progress.step,
            epoch: self.progress.step.div_ceil(self.steps_per_epoch),
            steps,
            seconds,
            images_per_s: (steps as usize * self.feed.per_step) as f64 / seconds.max(1e-9),
            ms: phases.milliseconds().into_iter().collect(),
            peak_mb: clock::peak_mb(),
        })?;
        (*phases, *since, *lap) = (Phases::default(), self.progress.step, Instant::now());
        Ok(())
    }

    /// The lines first, then the snapshot that knows how many there are.
    fn save(&mut self) -> Result<()> {
        self.progress.metrics_bytes = self.metrics.settle()?;
        snapshot::save(&self.dir.file(run_dir::SNAPSHOT), &self.learner, &self.progress)
    }

    fn end(&mut self, stop: &Stop) -> Result<Ending> {
        let all = self.progress.step >= self.total && !self.evaluation_is_due();
        if all && !self.progress.finished {
            self.progress.finished = true;
            if self.val.is_none() {
                self.write_weights(run_dir::LAST, None)?;
            }
        }
        self.save()?;
        let summary = RunSummary {
            step: self.progress.step,
            total: self.total,
            score_name: match self.config.network.task() {
                Task::Detection => "AP",
                Task::Segmentation => "mIoU",
            },
            best: self.progress.best.map(|ap| (ap, self.progress.best_step)),
            failed: self.progress.failed.clone(),
        };
        debug_assert!(self.progress.finished || stop.requested());
        Ok(if self.progress.finished { Ending::Finished(summary) } else { Ending::Interrupted(summary) })
    }

    /// Takes the step again that was not finite, and tells what it saw: one line each for the pictures and the outcome.
    ///
    /// # Errors
    /// `Config` when no step of the run at `path` was not finite.
    pub fn replay(path: &Path) -> Result<Vec<String>> {
        if !path.join(run_dir::DIVERGED).is_file() {
            return Err(Error::config(format!(
                "{}: there is no step to replay (no {})",
                path.display(),
                run_dir::DIVERGED
            )));
        }
        let (_, config, _) = RunDir::open(path)?;
        let plan = Plan::new(config)?;
        let (feed, (per_epoch, total)) = (plan.feed(), plan.steps());
        let rates = Rates::new(&plan.config, per_epoch, total);
        let mut learner = Learner::new(&plan.config, plan.weights.store)?;
        let step = snapshot::load(&path.join(run_dir::DIVERGED), &mut learner)?.step;
        let mut lines: Vec<String> = feed.files(step);
        let samples = feed.start(step, step + 1).filter_map(Result::ok).collect::<Vec<_>>();
        let batches = passes(samples, &plan.config, step)?;
        let outcome = in_training_pool(|| learner.step(batches, rates.at(step), &mut Phases::default()))?;
        lines.push(match outcome {
            Stepped::Diverged(what) => format!("step {}: {what}", step + 1),
            Stepped::Done { losses, grad_norm } => {
                format!("step {}: finite this time, losses {losses:?}, gradient norm {grad_norm}", step + 1)
            }
        });
        Ok(lines)
    }
}

/// The pictures of a step as batches, one per pass, each with random choices of its own.
fn passes(samples: Vec<TaskSample>, config: &RunConfig, step: u64) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut samples = samples.into_iter().peekable();
    while samples.peek().is_some() {
        let batch = Batch::of(samples.by_ref().take(config.train.batch).collect())?;
        let seed = rng(config.train.seed, step, batches.len() as u64, "losses").below(usize::MAX) as u64;
        batches.push(batch.with_draw(Draw { seed }));
    }
    Ok(batches)
}
