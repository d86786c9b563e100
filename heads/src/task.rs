//! What detectors and segmenters are: pictures in, losses or findings out.

use crate::draw::Draw;
use candle_core::Tensor;
use care_nn::{Error, Result};
use care_types::{BoxXyxy, DetTarget, Geometry, RawDetection, RawSemantic, SegTarget, Size};

/// Where the picture lies in its slot of the batch, and how it was scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageInfo {
    /// The picture itself, at the top left; boxes are clipped to it.
    pub valid: Size,
    /// The picture with its own padding. Cells that start beyond it learn nothing (in a training batch the
    /// slot can be larger than this).
    pub padded: Size,
    /// Network pixels per original pixel, (width, height): overlaps of detections are judged in original
    /// pixels.
    pub scale: (f64, f64),
}

impl ImageInfo {
    /// A picture that fills its slot, not scaled.
    pub fn whole(width: u32, height: u32) -> Self {
        let size = Size { width, height };
        Self { valid: size, padded: size, scale: (1.0, 1.0) }
    }
}

impl ImageInfo {
    /// A box of this picture in original pixels, by the division (in f64, rounded once) of [`Geometry::to_original`].
    pub(crate) fn rescaled(&self, b: &BoxXyxy) -> [f32; 4] {
        let (x, y) =
            (|v: f32| (f64::from(v) / self.scale.0) as f32, |v: f32| (f64::from(v) / self.scale.1) as f32);
        [x(b.x0), y(b.y0), x(b.x1), y(b.y1)]
    }
}

impl From<&Geometry> for ImageInfo {
    fn from(g: &Geometry) -> Self {
        Self { valid: g.resized, padded: g.padded, scale: (g.scale_w, g.scale_h) }
    }
}

/// A batch.
#[derive(Clone, Debug)]
pub struct Images {
    /// Normalised pixels `[N, H, W, 3]`, 0 in the padding.
    pub pixels: Tensor,
    /// One entry per picture.
    pub info: Vec<ImageInfo>,
    /// What random choices of a training step follow from; `None` outside of training, where nothing is dropped.
    pub draw: Option<Draw>,
}

impl Images {
    /// # Errors
    /// `Internal` when the shape is not `[N, H, W, 3]` with one `info` per picture, or a picture does not fit
    /// its slot.
    pub fn new(pixels: Tensor, info: Vec<ImageInfo>) -> Result<Self> {
        let (n, h, w, c) = pixels.dims4()?;
        if c != 3 || n != info.len() {
            let got = info.len();
            return Err(Error::internal(format!(
                "a batch is [N, H, W, 3] with N entries of info, got [{n}, {h}, {w}, {c}] and {got}"
            )));
        }
        let fits = |s: Size| s.width as usize <= w && s.height as usize <= h;
        if let Some(bad) = info.iter().find(|i| !fits(i.padded) || !fits(i.valid)) {
            return Err(Error::internal(format!(
                "a picture of {bad:?} does not fit a slot of {h} x {w} pixels"
            )));
        }
        Ok(Self { pixels, info, draw: None })
    }

    /// The same batch with other random choices.
    pub fn with_draw(self, draw: Draw) -> Self {
        Self { draw: Some(draw), ..self }
    }
}

/// Named scalar losses of a step, in a fixed order.
#[derive(Clone, Debug)]
pub struct Losses(Vec<(&'static str, Tensor)>);

impl Losses {
    /// Scalars with the names that logs show.
    pub fn new(parts: Vec<(&'static str, Tensor)>) -> Self {
        Self(parts)
    }

    /// The parts in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The sum to differentiate.
    ///
    /// # Errors
    /// `Internal` when there is no part or one is not a scalar.
    pub fn total(&self) -> Result<Tensor> {
        let (first, rest) = self.0.split_first().ok_or_else(|| Error::internal("a step without losses"))?;
        rest.iter().try_fold(first.1.clone(), |sum, (_, part)| Ok((sum + part)?))
    }
}

/// # Errors
/// `Unsupported` for a network that was built for inference.
pub(crate) fn require_train(is_train: bool) -> Result<()> {
    if is_train {
        return Ok(());
    }
    Err(Error::unsupported("this network was built for inference and has no losses; build it for training"))
}

/// # Errors
/// `Input` unless there is one target per picture.
pub(crate) fn require_targets(images: &Images, targets: usize) -> Result<()> {
    let pictures = images.info.len();
    if targets == pictures {
        return Ok(());
    }
    Err(Error::input(format!("{targets} targets for a batch of {pictures} pictures")))
}

/// A network that finds objects.
pub trait Detector: Send + Sync {
    /// Losses of a batch against one target per picture (boxes in network pixels).
    ///
    /// # Errors
    /// `Unsupported` when the network was built for inference; `Input` when a target does not fit the batch
    /// or the classes.
    fn losses(&self, images: &Images, targets: &[DetTarget]) -> Result<Losses>;

    /// Detections of each picture, best first, in network pixels.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    fn detect(&self, images: &Images) -> Result<Vec<Vec<RawDetection>>> {
        self.detect_observed(images, &mut |_| ())
    }

    /// As [`Detector::detect`]; `phase` is told the name of each phase when it ends, for timings.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    fn detect_observed(
        &self,
        images: &Images,
        phase: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<Vec<RawDetection>>>;

    /// Number of classes the network tells apart.
    fn num_classes(&self) -> usize;
}

/// A network that gives every pixel a class.
pub trait Segmenter: Send + Sync {
    /// Losses of a batch against one label map per picture, of the size of the batch's pictures.
    ///
    /// # Errors
    /// `Unsupported` when the network was built for inference; `Input` when a label map does not fit the batch or the classes.
    fn losses(&self, images: &Images, targets: &[SegTarget]) -> Result<Losses>;

    /// Class logits of each picture on the network's grid, padding included.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    fn segment(&self, images: &Images) -> Result<Vec<RawSemantic>> {
        self.segment_observed(images, &mut |_| ())
    }

    /// As [`Segmenter::segment`]; `phase` is told the name of each phase when it ends, for timings.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    fn segment_observed(
        &self,
        images: &Images,
        phase: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<RawSemantic>>;

    /// Number of classes the network tells apart.
    fn num_classes(&self) -> usize;
}
