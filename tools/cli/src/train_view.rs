//! What a training run looks like from outside: progress, and charts and pictures in its folder.

use crate::console::Console;
use crate::progress::Steps;
use care_engine::run_dir::RunDir;
use care_engine::train::{Observer, StepReport, ValData, Validation};

/// Prints what happens and draws after every evaluation.
pub struct View {
    console: Console,
    steps: Option<Steps>,
    validating: Option<Steps>,
}

impl View {
    /// Nothing has happened yet.
    pub fn new(console: Console) -> Self {
        Self { console, steps: None, validating: None }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        self.steps.take().into_iter().chain(self.validating.take()).for_each(Steps::finish);
    }
}

impl Observer for View {
    fn say(&mut self, line: &str) {
        match &self.steps {
            Some(steps) => steps.say(line),
            None => self.console.say(line),
        }
    }

    fn stepped(&mut self, report: &StepReport, total: u64) {
        let console = self.console;
        let steps = self.steps.get_or_insert_with(|| Steps::start(console, "steps", report.step - 1, total));
        let StepReport { epoch, loss, lr, .. } = report;
        steps.at(report.step, &format!("epoch {epoch}, loss {loss:.3}, lr {lr:.2e}"));
    }

    fn validating(&mut self, done: usize, of: usize) {
        let console = self.console;
        let bar = self.validating.get_or_insert_with(|| Steps::start(console, "validation", 0, of as u64));
        bar.at(done as u64, "");
        if done == of {
            self.validating.take().into_iter().for_each(Steps::finish);
        }
    }

    fn validated(
        &mut self,
        dir: &RunDir,
        data: &ValData,
        validation: &Validation,
    ) -> care_engine::Result<()> {
        // what people look at is not worth the run
        let drawn = crate::train_pictures::charts(dir)
            .and_then(|()| crate::train_pictures::predictions(dir, data, validation));
        if let Err(e) = drawn {
            self.say(&format!("charts and pictures could not be drawn: {e}"));
        }
        Ok(())
    }
}
