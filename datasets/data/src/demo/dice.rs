//! The demo set's random numbers: a counter hashed with a key, so that any picture can be drawn without the others.

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits with full avalanche.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random integers that depends on nothing but its key.
pub(super) struct Dice {
    key: u64,
    drawn: u64,
}

impl Dice {
    /// The stream of (seed, split, picture, …): every part changes all numbers.
    pub(super) fn new(key_parts: &[u64]) -> Self {
        let key = key_parts.iter().fold(0, |key, &part| mix(key ^ mix(part.wrapping_add(GOLDEN))));
        Self { key, drawn: 0 }
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.key.wrapping_add(self.drawn.wrapping_mul(GOLDEN)))
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: i32, high: i32) -> i32 {
        let count = (i64::from(high) - i64::from(low) + 1) as u64;
        (i64::from(low) + (((self.next() >> 32) * count) >> 32) as i64) as i32
    }

    /// True `percent` times in a hundred.
    pub(super) fn chance(&mut self, percent: i32) -> bool {
        self.between(0, 99) < percent
    }

    /// One of `options`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.between(0, options.len() as i32 - 1) as usize]
    }

    /// A key for a [`Grain`].
    pub(super) fn grain(&mut self) -> Grain {
        Grain(self.next())
    }
}

/// Random values attached to grid points: the same point always has the same value.
#[derive(Clone, Copy)]
pub(super) struct Grain(u64);

impl Grain {
    /// 0..=255 at an integer point.
    pub(super) fn at(self, x: i32, y: i32) -> i32 {
        let point = (u64::from(x as u32) << 32) | u64::from(y as u32);
        (mix(self.0 ^ point.wrapping_mul(GOLDEN)) >> 56) as i32
    }

    /// 0..=255, varying smoothly over cells of `cell` pixels (value noise with a cubic ease).
    pub(super) fn smooth(self, x: i32, y: i32, cell: i32) -> i32 {
        let (cx, cy) = (x.div_euclid(cell), y.div_euclid(cell));
        let (tx, ty) = (ease(x.rem_euclid(cell), cell), ease(y.rem_euclid(cell), cell));
        let top = lerp(self.at(cx, cy), self.at(cx + 1, cy), tx);
        let bottom = lerp(self.at(cx, cy + 1), self.at(cx + 1, cy + 1), tx);
        lerp(top, bottom, ty)
    }
}

/// `3t² − 2t³` of `t = at / of`, as 0..=256.
fn ease(at: i32, of: i32) -> i32 {
    let t = at * 256 / of;
    (t * t * (768 - 2 * t)) >> 16
}

/// Between `a` (t = 0) and `b` (t = 256).
pub(super) fn lerp(a: i32, b: i32, t: i32) -> i32 {
    a + (((b - a) * t) >> 8)
}

/// sin of 0, 1/64, …, 64/64 of a quarter turn, times 16384.
const QUARTER: [i32; 65] = [
    0, 402, 804, 1205, 1606, 2006, 2404, 2801, 3196, 3590, 3981, 4370, 4756, 5139, 5520, 5897, 6270, 6639,
    7005, 7366, 7723, 8076, 8423, 8765, 9102, 9434, 9760, 10080, 10394, 10702, 11003, 11297, 11585, 11866,
    12140, 12406, 12665, 12916, 13160, 13395, 13623, 13842, 14053, 14256, 14449, 14635, 14811, 14978, 15137,
    15286, 15426, 15557, 15679, 15791, 15893, 15986, 16069, 16143, 16207, 16261, 16305, 16340, 16364, 16379,
    16384,
];

/// Sine of `angle` 256ths of a turn, times 16384.
pub(super) fn sin(angle: i32) -> i32 {
    let angle = angle.rem_euclid(256) as usize;
    match angle {
        0..=64 => QUARTER[angle],
        65..=128 => QUARTER[128 - angle],
        129..=192 => -QUARTER[angle - 128],
        _ => -QUARTER[256 - angle],
    }
}

/// Cosine of `angle` 256ths of a turn, times 16384.
pub(super) fn cos(angle: i32) -> i32 {
    sin(angle + 64)
}
