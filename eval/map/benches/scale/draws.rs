//! Seeded draws: sizes, places, shapes and scores as they are spread in COCO.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::f64::consts::TAU;

pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Draws(ChaCha8Rng::seed_from_u64(seed))
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 to n - 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// Normal, mean 0, variance 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        (1..list.len()).rev().for_each(|i| list.swap(i, self.below(i + 1)));
    }

    /// A class, the first ones far more often than the last ones, as persons and hair dryers.
    pub(crate) fn class(&mut self, classes: usize) -> usize {
        let skewed = self.unit().powf(2.2);
        (skewed * classes as f64) as usize
    }

    /// A blob somewhere in a picture of `w` x `h` pixels: two fifths of them small, a quarter large, as in COCO.
    pub(crate) fn blob(&mut self, [w, h]: [f64; 2]) -> Blob {
        let side = (3.75 + 1.05 * self.normal()).exp();
        let aspect = (0.45 * self.normal()).exp();
        let half = [(side * aspect).clamp(4.0, w * 0.96) / 2.0, (side / aspect).clamp(4.0, h * 0.96) / 2.0];
        let centre = [self.between(half[0], w - half[0]), self.between(half[1], h - half[1])];
        let corners = (6.0 + side.sqrt() * self.between(0.8, 2.4)) as usize;
        let radii = (0..corners).map(|_| self.between(0.55, 1.0)).collect();
        Blob { centre, half, radii }
    }

    /// The same blob as a detector finds it: moved and scaled by about `noise` of its size.
    pub(crate) fn near(&mut self, blob: &Blob, noise: f64) -> Blob {
        let mut moved = blob.clone();
        for axis in 0..2 {
            moved.centre[axis] += noise * self.normal() * blob.half[axis];
            moved.half[axis] = (blob.half[axis] * (noise * self.normal()).exp()).max(1.0);
        }
        moved.radii.iter_mut().for_each(|r| *r = (*r + noise * self.normal()).clamp(0.3, 1.0));
        moved
    }
}

/// A star-shaped outline around a centre, in pixels.
#[derive(Clone)]
pub(crate) struct Blob {
    centre: [f64; 2],
    half: [f64; 2],
    radii: Vec<f64>,
}

impl Blob {
    /// `x, y` of each corner, inside a picture of `w` x `h` pixels.
    pub(crate) fn corners(&self, [w, h]: [f64; 2]) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.radii.iter().enumerate().map(move |(i, r)| {
            let angle = TAU * i as f64 / self.radii.len() as f64;
            let x = self.centre[0] + self.half[0] * r * angle.cos();
            let y = self.centre[1] + self.half[1] * r * angle.sin();
            [x.clamp(0.0, w), y.clamp(0.0, h)]
        })
    }

    /// The corners with two decimals, as COCO writes them.
    pub(crate) fn ring(&self, extent: [f64; 2]) -> Vec<f64> {
        self.corners(extent).flatten().map(two_decimals).collect()
    }

    /// `x, y, w, h` around the corners.
    pub(crate) fn bounds(&self, extent: [f64; 2]) -> [f64; 4] {
        let [mut x0, mut y0, mut x1, mut y1] = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
        for [x, y] in self.corners(extent) {
            (x0, x1) = (x0.min(x), x1.max(x));
            (y0, y1) = (y0.min(y), y1.max(y));
        }
        [x0, y0, x1 - x0, y1 - y0]
    }
}

pub(crate) fn two_decimals(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}

/// Area inside a ring.
pub(crate) fn area(ring: &[f64]) -> f64 {
    let n = ring.len();
    let twice: f64 =
        (0..n).step_by(2).map(|i| ring[i] * ring[(i + 3) % n] - ring[(i + 2) % n] * ring[i + 1]).sum();
    twice.abs() / 2.0
}
