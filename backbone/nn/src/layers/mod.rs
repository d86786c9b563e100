//! Layers: parameters of a [`ParamStore`](crate::params::ParamStore) with a forward pass, built for one
//! [`Purpose`](crate::Purpose).
//!
//! For `Train` a layer holds the store's tensors and calls the differentiable [`ops`](crate::ops). For `Infer` it folds and
//! packs its weights once, here, and runs kernels; [`view`] lets a network run several layers on slices without tensors in
//! between. All activations are `[N, H, W, C]`; parameters have PyTorch's names, shapes and order.

mod affine;
mod conv;
mod dense;
mod norm;
pub mod view;

pub use affine::Affine;
pub use conv::{Conv2d, ConvKernel, ConvParams, ConvSpec, DepthwiseParams};
pub use dense::{LayerNorm, Linear};
pub use norm::{BatchNorm, ConvNorm, NormConv};
