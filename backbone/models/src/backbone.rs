//! What every backbone offers to a neck or a head.

use candle_core::Tensor;
use care_nn::Result;

/// What a level of a pyramid is, written where the stage is built; necks and heads size themselves from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureInfo {
    /// `c2`, `c3`, … by the power of two of the stride.
    pub name: &'static str,
    /// Channels of the map.
    pub channels: usize,
    /// Input pixels per feature pixel. Sizes are floored at every reduction, so `side / stride` is an upper bound.
    pub stride: usize,
}

/// One map per level, `[N, H, W, C]`, finest first, in the order of [`Backbone::info`].
#[derive(Debug, Clone)]
pub struct Features {
    /// The maps.
    pub maps: Vec<Tensor>,
}

/// A network that turns pictures into a feature pyramid.
pub trait Backbone {
    /// Normalised pictures `[N, H, W, 3]` to one map per level.
    fn features(&self, x: &Tensor) -> Result<Features>;

    /// The levels, finest first.
    fn info(&self) -> &[FeatureInfo];
}
