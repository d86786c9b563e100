//! What a matrix kernel does to a tile of results while it is still in cache.

use crate::map::Map;

/// Activation after the bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN or becomes 0, as the instruction set has it.
    Relu,
    /// The exact (erf) form, `x/2 · (1 + erf(x/√2))`.
    Gelu,
}

/// Something to add to the result: `map`, or `scale[channel] · map`.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// Of the shape of the result, with any pixel stride.
    pub map: Map<'a>,
    /// One factor per channel.
    pub scale: Option<&'a [f32]>,
}

impl<'a> Residual<'a> {
    /// Adds the map as it is.
    pub fn plain(map: Map<'a>) -> Residual<'a> {
        Residual { map, scale: None }
    }
}

/// `out = act(acc + bias) + Σ residuals`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Applied before the residuals.
    pub act: Act,
    /// At most [`MAX_RESIDUALS`].
    pub residuals: &'a [Residual<'a>],
}

/// CARE needs two: the shortcut of the branch and the scaled shortcut of the block.
pub const MAX_RESIDUALS: usize = 2;

impl Epilogue<'_> {
    /// Only an activation.
    pub fn act(act: Act) -> Epilogue<'static> {
        Epilogue { act, residuals: &[] }
    }
}

/// Panics unless the residuals fit a result of that shape.
pub(crate) fn check_residuals(residuals: &[Residual<'_>], shape: [usize; 4]) {
    assert!(residuals.len() <= MAX_RESIDUALS, "{} residuals, at most {MAX_RESIDUALS}", residuals.len());
    for residual in residuals {
        residual.map.check();
        assert_eq!(residual.map.shape(), shape, "the residual's shape is not that of the result");
        if let Some(scale) = residual.scale {
            assert_eq!(scale.len(), shape[3], "one scale per channel of the residual");
        }
    }
}
