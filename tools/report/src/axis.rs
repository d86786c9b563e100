//! An axis of a chart: its range, and round numbers along it.

/// The values from one end to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    /// Between two marks: 1, 2 or 5 times a power of ten.
    step: f64,
}

impl Axis {
    /// An axis over all values, which are finite, with at most `marks` marks; none without values.
    pub(crate) fn over(values: impl Iterator<Item = f64>, marks: usize) -> Option<Self> {
        let mut whole = true;
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            whole &= v.fract() == 0.0;
            (low.min(v), high.max(v))
        });
        if low > high {
            return None;
        }
        // A flat line stands in the middle; so does one whose differences are rounding errors.
        let least = low.abs().max(high.abs()) * 1e-9;
        let (low, high) = match high - low > least.max(1e-290) {
            true => (low, high),
            false if low.abs() < 1e-290 => (-1.0, 1.0),
            false => (low - low.abs() / 10.0, high + high.abs() / 10.0),
        };
        let step = round_step((high - low) / (marks - 1) as f64);
        Some(Self { low, high, step: if whole { step.max(1.0) } else { step } })
    }

    /// The same axis, stretched to the marks around its values.
    pub(crate) fn to_marks(self) -> Self {
        let low = (self.low / self.step + 1e-6).floor() * self.step;
        let high = (self.high / self.step - 1e-6).ceil() * self.step;
        Self { low, high, ..self }
    }

    /// Where a value stands: 0 at the low end, 1 at the high end.
    pub(crate) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The marks inside the range, with their words.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        let largest = self.low.abs().max(self.high.abs());
        let first = (self.low / self.step - 1e-6).ceil();
        let count = ((self.high / self.step + 1e-6).floor() - first).clamp(0.0, 20.0) as usize;
        let marks = (0..=count).map(|i| (first + i as f64) * self.step);
        marks.map(|at| (at, words(at, self.step, largest))).collect()
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powi(least.log10().floor() as i32);
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|t| t * power >= least * (1.0 - 1e-9)).unwrap_or(10.0);
    times * power
}

/// A mark's number with the digits that the step needs: 0.25, 1500, 20k, 1.5M, 2e-5.
fn words(at: f64, step: f64, largest: f64) -> String {
    if at.abs() < step / 2.0 {
        return "0".into();
    }
    let digits_below = |unit: f64| (-(step / unit * (1.0 + 1e-9)).log10().floor()).max(0.0) as usize;
    let plain = |unit: f64, suffix: &str| format!("{:.*}{suffix}", digits_below(unit), at / unit);
    match largest {
        l if !(1e-3..1e9).contains(&l) => {
            let digits = ((at.abs() / step).log10() + 1e-9).floor().clamp(0.0, 6.0) as usize;
            let text = format!("{at:.digits$e}");
            // 2.0e5 says no more than 2e5.
            match text.split_once('e') {
                Some((front, power)) if front.contains('.') => {
                    format!("{}e{power}", front.trim_end_matches('0').trim_end_matches('.'))
                }
                _ => text,
            }
        }
        l if l >= 1e6 => plain(1e6, "M"),
        l if l >= 1e4 => plain(1e3, "k"),
        _ => plain(1.0, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(values: &[f64]) -> Vec<String> {
        Axis::over(values.iter().copied(), 6).unwrap().ticks().into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn marks_are_round_numbers_with_the_digits_they_need() {
        assert_eq!(marks(&[0.0, 5.0]), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(marks(&[0.03, 0.97]), ["0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(marks(&[0.5, 0.55]), ["0.50", "0.51", "0.52", "0.53", "0.54", "0.55"]);
        assert_eq!(marks(&[0.0, 90_000.0]), ["0", "20k", "40k", "60k", "80k"]);
        assert_eq!(marks(&[1.0, 2_400_000.0]), ["0.5M", "1.0M", "1.5M", "2.0M"]);
        assert_eq!(marks(&[0.0, 1e-4]), ["0", "2e-5", "4e-5", "6e-5", "8e-5", "1e-4"]);
        assert_eq!(marks(&[-3.0, 2.0]), ["-3", "-2", "-1", "0", "1", "2"]);
        let stretched = Axis::over([0.03, 0.97].into_iter(), 6).unwrap().to_marks();
        assert_eq!((stretched.low, stretched.high), (0.0, 1.0));
        assert_eq!(marks(&[1.0, 3.0]), ["1", "2", "3"]); // whole numbers: epochs have no halves
    }

    #[test]
    fn a_flat_line_stands_in_the_middle() {
        for value in [0.0, 3.5, -2.0, 1e-12, 1e12] {
            let axis = Axis::over([value; 3].into_iter(), 5).unwrap();
            assert!((axis.share(value) - 0.5).abs() < 1e-9, "{value}: {axis:?}");
        }
        assert_eq!(Axis::over([].into_iter(), 5), None);
    }
}
