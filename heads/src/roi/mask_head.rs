//! Masks of regions: mmdetection's `FCNMaskHead`.
//!
//! Names: `convs.{i}.conv`, `upsample` (transposed convolution 2×2, stride 2), `conv_logits`.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/roi_heads/mask_heads/fcn_mask_head.py>

use crate::conv_module::NormKind;
use crate::dense::Tower;
use crate::losses::tracked_zero;
use crate::pyramid::Pyramid;
use candle_core::Tensor;
use care_kernels::epilogue::{Act, Epilogue};
use care_kernels::gemm::{PackedMatrix, conv1x1};
use care_kernels::map::Map;
use care_nn::params::Builder;
use care_nn::{Error, Fan, Init, Result, ops};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskHeadConfig {
    /// Rows and columns of a region's features; masks have twice as many.
    pub roi_size: usize,
    /// 3×3 convolutions.
    pub num_convs: usize,
    /// Their channels.
    pub conv_channels: usize,
    /// What follows them.
    #[serde(default, skip_serializing_if = "NormKind::is_none")]
    pub norm: NormKind,
}

impl Default for MaskHeadConfig {
    fn default() -> Self {
        Self { roi_size: 14, num_convs: 4, conv_channels: 256, norm: NormKind::None }
    }
}

/// Every layer of the head starts for a ReLU behind it.
const INIT: Init = Init::KaimingNormal { fan: Fan::Out };

/// The head.
pub struct MaskHead {
    tower: Tower,
    last: Last,
    channels: usize,
    num_classes: usize,
}

/// Upsampling and logits.
enum Last {
    Train {
        up: (Tensor, Tensor),
        logits: (Tensor, Tensor),
    },
    /// One matrix per quarter of the 2×2 kernel; logits as rows of weights, one per class.
    Infer {
        quarters: Vec<PackedMatrix>,
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
}

impl MaskHead {
    /// Declares the parameters under `b` (`roi_head.mask_head` in a detector); `ci` is the width of the pyramid.
    ///
    /// # Errors
    /// `Config` for a head without layers, cells, channels or classes.
    pub fn new(b: &Builder, config: &MaskHeadConfig, ci: usize, num_classes: usize) -> Result<Self> {
        let &MaskHeadConfig { roi_size, num_convs, conv_channels: width, norm } = config;
        if roi_size == 0 || num_convs == 0 || width == 0 || num_classes == 0 {
            return Err(Error::config(format!(
                "mask_head: expected roi_size, num_convs, conv_channels and num_classes >= 1, got {roi_size}, {num_convs}, \
                 {width} and {num_classes}"
            )));
        }
        let tower = Tower::of(&b.sub("convs"), num_convs, (ci, width), norm, INIT)?;
        let (up, out) = (b.sub("upsample"), b.sub("conv_logits"));
        let up = (up.param("weight", &[width, width, 2, 2], INIT)?, up.param("bias", &[width], Init::Zeros)?);
        let logits = (
            out.param("weight", &[num_classes, width, 1, 1], INIT)?,
            out.param("bias", &[num_classes], Init::Zeros)?,
        );
        let last = if b.purpose().is_train() {
            Last::Train { up, logits }
        } else {
            let bias = up.1.to_vec1::<f32>()?;
            let quarter = |q: usize| -> Result<PackedMatrix> {
                let weight = up.0.narrow(2, q / 2, 1)?.narrow(3, q % 2, 1)?.flatten_from(1)?.t()?;
                Ok(PackedMatrix::pack(&weight.flatten_all()?.to_vec1::<f32>()?, width, width, Some(&bias)))
            };
            Last::Infer {
                quarters: (0..4).map(quarter).collect::<Result<_>>()?,
                weight: logits.0.flatten_all()?.to_vec1()?,
                bias: logits.1.to_vec1()?,
            }
        };
        Ok(Self { tower, last, channels: width, num_classes })
    }

    /// Features `[regions, size, size, C]` to mask logits `[regions, 2 size, 2 size, classes]`; differentiable when built for
    /// training.
    ///
    /// # Errors
    /// `Internal` when the features do not have the width the head was built for.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Last::Train { up, logits } = &self.last else { return self.infer_all(x) };
        let x = self.tower.shared(std::slice::from_ref(x))?.swap_remove(0);
        let x = ops::relu(&ops::conv_transpose2d(&x, &up.0, Some(&up.1), 2)?)?;
        ops::conv2d(&x, &logits.0, Some(&logits.1), 1, (0, 0))
    }

    /// A zero that hangs on every parameter, for a batch without masks: they get a gradient of 0, and no statistics are recorded.
    pub(crate) fn untouched(&self) -> Result<Tensor> {
        let Last::Train { up, logits } = &self.last else {
            return Err(Error::internal("a head built for inference in training"));
        };
        let mut parameters = self.tower.parameters();
        parameters.extend([&up.0, &up.1, &logits.0, &logits.1].map(Tensor::clone));
        let zero = tracked_zero(&parameters[0])?;
        parameters[1..].iter().try_fold(zero, |sum, p| Ok((sum + tracked_zero(p)?)?))
    }

    fn infer_all(&self, x: &Tensor) -> Result<Tensor> {
        let regions = x.dim(0)?;
        let one = |class: usize| -> Result<Tensor> {
            let pyramid = Pyramid::from_tensors(std::slice::from_ref(x))?;
            let masks = self.run(pyramid, &vec![class; regions])?;
            let side = 2 * x.dim(1)?;
            Ok(Tensor::from_vec(masks.concat(), (regions, side, side), x.device())?)
        };
        let classes = (0..self.num_classes).map(one).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&classes, 3)?)
    }

    /// Mask logits of each region for its own class, row by row, built for inference. `x` holds one map
    /// `[regions, size, size, C]`.
    pub(crate) fn run(&self, x: Pyramid, classes: &[usize]) -> Result<Vec<Vec<f32>>> {
        let Last::Infer { quarters, weight, bias } = &self.last else {
            return Err(Error::internal("a head built for training has no packed weights"));
        };
        let width = self.channels;
        let shapes = x.shapes_with(width);
        let [regions, size, _, _] = shapes[0];
        let (mut a, mut b) = (Pyramid::new(shapes.clone()), Pyramid::new(shapes));
        self.tower.run(&x, &mut a, &mut b)?;
        drop(x);
        let mut masks = vec![vec![0.0; 4 * size * size]; regions];
        for (q, matrix) in quarters.iter().enumerate() {
            conv1x1(a.maps()[0], matrix, &Epilogue::act(Act::Relu), b.maps_mut().swap_remove(0));
            let up: Map<'_> = b.maps()[0];
            masks.par_iter_mut().zip(classes).enumerate().for_each(|(region, (mask, &class))| {
                let of_class = &weight[class * width..][..width];
                for cell in 0..size * size {
                    let (y, x) = (2 * (cell / size) + q / 2, 2 * (cell % size) + q % 2);
                    let pixel = up.pixel(region * size * size + cell);
                    mask[y * 2 * size + x] = dot(pixel, of_class) + bias[class];
                }
            });
        }
        Ok(masks)
    }
}

/// Products summed in lanes, which vectorises, where one running sum would not.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest
}
