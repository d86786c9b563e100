//! A fully connected layer, `weight` `[co, ci]` and `bias` `[co]`.

use candle_core::Tensor;
use care_kernels::epilogue::{Act, Epilogue};
use care_kernels::gemm::{PackedMatrix, conv1x1};
use care_kernels::map::{Map, MapMut};
use care_kernels::scratch::{self, Scratch};
use care_nn::params::Builder;
use care_nn::{Error, Init, Result, ops};

/// Built for one purpose.
pub(crate) enum Linear {
    Train { weight: Tensor, bias: Tensor },
    Infer(PackedMatrix),
}

impl Linear {
    /// Declares the parameters under `b`. `cells` is the number of pixels that the input was flattened from, channel by channel
    /// (1 for a plain vector); built for inference the layer takes them pixel by pixel.
    pub(crate) fn new(b: &Builder, (ci, cells): (usize, usize), co: usize, init: Init) -> Result<Self> {
        let weight = b.param("weight", &[co, ci * cells], init)?;
        let bias = b.param("bias", &[co], Init::Zeros)?;
        if b.purpose().is_train() {
            return Ok(Self::Train { weight, bias });
        }
        let weight = weight.reshape((co, ci, cells))?.transpose(1, 2)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self::Infer(PackedMatrix::pack(&weight, co, ci * cells, Some(&bias.to_vec1::<f32>()?))))
    }

    /// `[rows, ci * cells]`, channel by channel, to `[rows, co]`; differentiable.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Train { weight, bias } => ops::linear(x, weight, Some(bias)),
            Self::Infer(_) => Err(Error::internal("a layer built for inference in training")),
        }
    }

    /// `[rows, cells * ci]`, pixel by pixel, to `[rows, co]`.
    pub(crate) fn run(&self, x: &[f32], rows: usize, act: Act) -> Result<Scratch> {
        let Self::Infer(matrix) = self else {
            return Err(Error::internal("a layer built for training has no packed weights"));
        };
        let mut out = scratch::take(rows * matrix.n_out());
        let x = Map::dense(&x[..rows * matrix.k()], [1, 1, rows, matrix.k()]);
        conv1x1(x, matrix, &Epilogue::act(act), MapMut::dense(&mut out, [1, 1, rows, matrix.n_out()]));
        Ok(out)
    }
}
