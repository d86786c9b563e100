//! Comparing what was computed with what the set says, tensor by tensor.

use crate::Case;
use candle_core::Tensor;
use std::collections::BTreeSet;

/// Collects the comparisons of one case (in one variant of the network) and reports the worst.
pub struct Checker<'a> {
    case: &'a Case,
    variant: &'a str,
    loosen: f64,
    seen: BTreeSet<String>,
    failures: Vec<(f64, String)>,
}

impl<'a> Checker<'a> {
    /// A checker at the set's own tolerances.
    pub fn new(case: &'a Case) -> Self {
        Self::variant(case, "", 1.0)
    }

    /// A checker for a named variant (`infer, winograd`) that multiplies every tolerance by `loosen`.
    pub fn variant(case: &'a Case, variant: &'a str, loosen: f64) -> Self {
        Self { case, variant, loosen, seen: BTreeSet::new(), failures: Vec::new() }
    }

    /// Compares values in the logical shape and C order of the set.
    pub fn values(&mut self, name: &str, shape: &[usize], got: &[f32]) {
        let wide: Vec<f64> = got.iter().map(|&v| f64::from(v)).collect();
        self.values_f64(name, shape, &wide);
    }

    /// Compares integers (indices, labels, flags).
    pub fn integers(&mut self, name: &str, got: &[i64]) {
        let wide: Vec<f64> = got.iter().map(|&v| v as f64).collect();
        self.values_f64(name, &[got.len()], &wide);
    }

    /// Compares an `[N, H, W, C]` tensor with a `[N, C, H, W]` entry.
    pub fn nhwc(&mut self, name: &str, got: &Tensor) {
        match got.permute((0, 3, 1, 2)).and_then(|t| t.contiguous()) {
            Ok(t) => self.tensor(name, &t),
            Err(e) => self.fail(f64::INFINITY, format!("{name}: {e}")),
        }
    }

    /// Compares a tensor that has the entry's own layout.
    pub fn tensor(&mut self, name: &str, got: &Tensor) {
        match got.flatten_all().and_then(|t| t.to_vec1::<f32>()) {
            Ok(v) => self.values(name, got.dims(), &v),
            Err(e) => self.fail(f64::INFINITY, format!("{name}: {e}")),
        }
    }

    /// Compares f64 values with the entry's rule: tolerance, `exact`, or `mismatch<=N`.
    pub fn values_f64(&mut self, name: &str, shape: &[usize], got: &[f64]) {
        self.seen.insert(name.to_owned());
        let entry = &self.case.json["tensors"][name];
        let want_shape: Vec<usize> = entry["shape"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|v| v.as_u64().unwrap_or_default() as usize)
            .collect();
        if entry.is_null() {
            return self.fail(f64::INFINITY, format!("{name}: not a tensor of the case"));
        }
        if want_shape != shape {
            return self.fail(f64::INFINITY, format!("{name}: expected shape {want_shape:?}, got {shape:?}"));
        }
        let want = match self.case.stored(name) {
            Ok(a) => a.data,
            Err(e) => return self.fail(f64::INFINITY, e),
        };
        let stride =
            if entry["storage"] == "sub" { entry["stride"].as_u64().unwrap_or(1) as usize } else { 1 };
        let got: Vec<f64> = got.iter().step_by(stride).copied().collect();
        if got.len() != want.len() {
            return self
                .fail(f64::INFINITY, format!("{name}: expected {} values, got {}", want.len(), got.len()));
        }
        self.compare(name, entry, &got, &want);
    }

    fn compare(&mut self, name: &str, entry: &serde_json::Value, got: &[f64], want: &[f64]) {
        let check = entry["check"].as_str().unwrap_or("tolerance");
        if check == "none" {
            return;
        }
        let allowed = check.strip_prefix("mismatch<=").and_then(|n| n.parse::<usize>().ok());
        if check == "exact" || allowed.is_some() {
            let wrong = got.iter().zip(want).filter(|(g, w)| g != w).count();
            if wrong > allowed.unwrap_or(0) {
                let at = got.iter().zip(want).position(|(g, w)| g != w).unwrap_or(0);
                self.fail(
                    wrong as f64,
                    format!(
                        "{name}: {wrong} of {} differ, first at {at}: expected {}, got {}",
                        got.len(),
                        want[at],
                        got[at]
                    ),
                );
            }
            return;
        }
        let (atol, rtol) = (entry["atol"].as_f64().unwrap_or(0.0), entry["rtol"].as_f64().unwrap_or(0.0));
        let ratio = |g: f64, w: f64| {
            let limit = self.loosen * (atol + rtol * w.abs());
            let d = (g - w).abs();
            if d <= limit {
                if limit > 0.0 { d / limit } else { 0.0 }
            } else {
                d / limit.max(f64::MIN_POSITIVE)
            }
        };
        let worst = got
            .iter()
            .zip(want)
            .map(|(&g, &w)| if g.is_nan() { f64::INFINITY } else { ratio(g, w) })
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((i, r)) = worst
            && r > 1.0
        {
            self.fail(
                r,
                format!(
                    "{name}: {r:.1} times the tolerance at stored index {i}: expected {}, got {}",
                    want[i], got[i]
                ),
            );
        }
    }

    /// Records a failure that is not a tensor comparison; `badness` orders the report.
    pub fn fail(&mut self, badness: f64, message: String) {
        self.failures.push((badness, message));
    }

    /// Marks an entry as compared by other means (detections matched as sets).
    pub fn compared_otherwise(&mut self, name: &str) {
        self.seen.insert(name.to_owned());
    }

    /// Every output of the case must have been compared; the worst failure names the case's tensor.
    pub fn finish(self) -> Result<(), String> {
        let unseen: Vec<String> =
            self.case.names("output").into_iter().filter(|n| !self.seen.contains(n)).collect();
        if !unseen.is_empty() {
            let variant = self.variant;
            return Err(format!("{variant}: outputs never compared: {}", unseen.join(", ")));
        }
        self.finish_partial()
    }

    /// Like [`Checker::finish`] for a variant that does not produce every output; still fails if nothing was compared.
    pub fn finish_partial(mut self) -> Result<(), String> {
        if self.seen.is_empty() && self.failures.is_empty() {
            return Err(format!("{}: nothing was compared", self.variant));
        }
        self.failures.sort_by(|a, b| b.0.total_cmp(&a.0));
        match self.failures.as_slice() {
            [] => Ok(()),
            all => {
                let lines: Vec<&str> = all.iter().take(8).map(|f| f.1.as_str()).collect();
                Err(format!(
                    "{} {} comparisons fail, worst first:\n  {}",
                    self.variant,
                    all.len(),
                    lines.join("\n  ")
                ))
            }
        }
    }
}
