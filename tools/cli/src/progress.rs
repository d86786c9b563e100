//! Progress of long work: a bar on a terminal, a plain line every few seconds otherwise, nothing with `-q`.

use crate::console::Console;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Between two plain lines; frequent enough to see life, rare enough for a log file.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Counts finished items and shows rate and time left.
pub struct Progress {
    console: Console,
    bar: Option<ProgressBar>,
    what: &'static str,
    total: usize,
    done: usize,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts counting `total` items called `what` (a plural: "pictures").
    pub fn start(console: Console, what: &'static str, total: usize) -> Self {
        let bar = console.draws_bars().then(|| bar(what, total));
        let now = Instant::now();
        Self { console, bar, what, total, done: 0, started: now, last_line: now }
    }

    /// One more item is done.
    pub fn tick(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        } else if self.last_line.elapsed() >= PLAIN_EVERY {
            self.last_line = Instant::now();
            self.console.say(&self.line());
        }
    }

    /// A line for people that does not disturb the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.console.say(line)),
            None => self.console.say(line),
        }
    }

    /// Ends the display and leaves one plain line with the rate.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.done as f64 / seconds.max(1e-9);
        self.console
            .say(&format!("{} of {} {} in {:.1} s, {rate:.2}/s", self.done, self.total, self.what, seconds));
    }

    fn line(&self) -> String {
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = (self.total - self.done.min(self.total)) as f64 / rate.max(1e-9);
        let (done, total, what) = (self.done, self.total, self.what);
        format!("{done}/{total} {what}, {rate:.2}/s, {} left", clock(left))
    }
}

/// The same for work that is counted by its own numbers and has something to say with each.
pub struct Steps {
    console: Console,
    bar: Option<ProgressBar>,
    what: &'static str,
    first: u64,
    total: u64,
    started: Instant,
    last_line: Option<Instant>,
}

impl Steps {
    /// Starts after `first` of `total`.
    pub fn start(console: Console, what: &'static str, first: u64, total: u64) -> Self {
        let bar = console.draws_bars().then(|| bar(what, total as usize));
        if let Some(bar) = &bar {
            bar.set_position(first);
            bar.reset_eta();
        }
        Self { console, bar, what, first, total, started: Instant::now(), last_line: None }
    }

    /// Number `done` is done; `note` is shown with it.
    pub fn at(&mut self, done: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {note}", self.what));
            bar.set_position(done);
        } else if self.last_line.is_none_or(|t| t.elapsed() >= PLAIN_EVERY) {
            self.last_line = Some(Instant::now());
            let rate = (done - self.first) as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
            let left = clock((self.total - done.min(self.total)) as f64 / rate.max(1e-9));
            let (total, what, gap) = (self.total, self.what, if note.is_empty() { "" } else { ", " });
            self.console.say(&format!("{done}/{total} {what}{gap}{note}, {left} left"));
        }
    }

    /// A line for people that does not disturb the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.console.say(line)),
            None => self.console.say(line),
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str, total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}  {per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total as u64).with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Seconds as people read them: `42 s`, `3 min 10 s`, `2 h 05 min`.
pub(crate) fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..=59 => format!("{s} s"),
        60..=3599 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn time_left_reads_like_a_clock() {
        let table = [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (60.0, "1 min 00 s"),
            (190.2, "3 min 10 s"),
            (7500.0, "2 h 05 min"),
        ];
        for (seconds, words) in table {
            assert_eq!(clock(seconds), words);
        }
    }
}
