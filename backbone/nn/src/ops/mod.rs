//! Differentiable ops on candle tensors: activations `[N, H, W, C]` (f32, CPU), parameters in PyTorch's layout.
//!
//! Every op has a gradient that was checked by finite differences, with its input used once and twice. The arithmetic is
//! in `care-kernels`; here are shapes, checks and the bookkeeping of gradients. Inputs may have any strides (a copy is
//! made when they are not contiguous), results are contiguous.
//!
//! Gradients are the same bits at any thread count. An input that does not track gradients costs none.
//!
//! # Errors
//! Every op returns [`ErrorKind::Internal`](crate::ErrorKind::Internal) when shapes do not fit together (layers and heads
//! check what users give), and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for another device or type, or
//! when an input for which there is no gradient tracks one.

mod act;
mod attention;
mod channels;
mod conv;
mod loss;
mod norm;
mod pool;
mod resample;
mod roi;
mod slice_op;
mod softmax;
mod tape;

pub use act::{elu, gelu, relu, sigmoid};
pub use attention::linear_attention;
pub use channels::{add, cat_channels, narrow_channels, scale_add, scale_channels, split_channels};
pub use conv::{conv_transpose2d, conv2d, depthwise_conv2d, linear};
pub use loss::{
    IouMode, bce_with_logits, cross_entropy, cross_entropy_ignoring, iou_loss, l1, pixel_cross_entropy,
    sigmoid_focal, sigmoid_focal_sum, smooth_l1,
};
pub use norm::{BatchNormed, batch_norm_frozen, batch_norm_train, layer_norm};
pub use pool::{global_avg_pool, max_pool};
pub use resample::{grid_sample, resize_bilinear, resize_nearest};
pub use roi::roi_align;
pub use slice_op::{Values, refuse_tracked, values};
pub use softmax::{log_softmax, softmax};
pub use tape::{Node, Tape};
