//! Shapes, inputs and comparison shared by the checks.

use care_kernels::map::{Map, MapMut};

/// A map that is a channel slice of a wider one, so that strides and neighbours are tested with every shape.
pub(crate) struct Field {
    pub(crate) shape: [usize; 4],
    stride: usize,
    first: usize,
    data: Vec<f32>,
}

/// What lies around the slice of an output; a kernel that writes there is caught.
const SENTINEL: f32 = 1234.5;

impl Field {
    /// Values in [-amp, amp] from a fixed formula; `margin` foreign channels lie on either side.
    pub(crate) fn random(shape: [usize; 4], margin: usize, seed: u32, amp: f32) -> Field {
        let mut field = Field::output(shape, margin);
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        for v in &mut field.data {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *v = ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * amp;
        }
        field
    }

    /// Adds `by` to every value.
    pub(crate) fn shift(&mut self, by: f32) {
        self.data.iter_mut().for_each(|v| *v += by);
    }

    pub(crate) fn output(shape: [usize; 4], margin: usize) -> Field {
        let [n, h, w, c] = shape;
        let stride = c + 2 * margin;
        Field { shape, stride, first: margin, data: vec![SENTINEL; n * h * w * stride] }
    }

    fn whole(&self) -> [usize; 4] {
        [self.shape[0], self.shape[1], self.shape[2], self.stride]
    }

    pub(crate) fn map(&self) -> Map<'_> {
        Map::dense(&self.data, self.whole()).channels(self.first..self.first + self.shape[3])
    }

    pub(crate) fn map_mut(&mut self) -> MapMut<'_> {
        let whole = self.whole();
        MapMut::dense(&mut self.data, whole).channels(self.first..self.first + self.shape[3])
    }

    /// The slice, dense.
    pub(crate) fn values(&self) -> Vec<f32> {
        let c = self.shape[3];
        self.data
            .chunks_exact(self.stride.max(1))
            .flat_map(|p| p[self.first..self.first + c].to_vec())
            .collect()
    }

    pub(crate) fn surroundings_untouched(&self) -> bool {
        let slice = self.first..self.first + self.shape[3];
        self.data
            .chunks_exact(self.stride.max(1))
            .all(|p| p.iter().enumerate().all(|(i, &v)| slice.contains(&i) || v == SENTINEL))
    }
}

pub(crate) fn random(len: usize, seed: u32, amp: f32) -> Vec<f32> {
    Field::random([1, 1, 1, len], 0, seed, amp).values()
}

/// Collects failing rows, so that one run names all of them.
#[derive(Default)]
pub(crate) struct Failures(Vec<String>);

impl Failures {
    pub(crate) fn close(&mut self, row: &str, got: &[f32], want: &[f32], atol: f32, rtol: f32) {
        assert_eq!(got.len(), want.len(), "{row}: lengths");
        let bad = |g: f32, w: f32| (g - w).abs() > atol + rtol * w.abs() || g.is_nan() != w.is_nan();
        if let Some(i) = (0..got.len()).find(|&i| bad(got[i], want[i])) {
            self.0.push(format!(
                "{row}: element {i} of {} is {} but {} is right",
                got.len(),
                got[i],
                want[i]
            ));
        }
    }

    pub(crate) fn check(&mut self, row: &str, holds: bool, what: &str) {
        if !holds {
            self.0.push(format!("{row}: {what}"));
        }
    }
}

impl Drop for Failures {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{} rows fail:\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}

/// Runs `f` on pools of 1, 2 and 5 threads, asleep and awake between loops, and returns what each gave.
pub(crate) fn on_pools<T: Send>(f: impl Fn() -> T + Sync) -> Vec<T> {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let asleep = [1, 2, 5].map(|threads| pool(threads).install(&f));
    let awake = [2, 5].map(|threads| pool(threads).install(|| care_kernels::team::with(&f)));
    asleep.into_iter().chain(awake).collect()
}
