//! Gradients of the kernels, and the forward passes that only training needs. Slices in, slices out, f32, channels-last.
//!
//! Two rules hold everywhere here:
//!
//! - **Same bits at any thread count.** Work is cut into pieces whose size depends on the shape alone, every piece is
//!   computed by one thread, and partial sums are added in the order of the pieces.
//! - **No im2col of a whole batch.** Weight gradients walk over bands of rows whose copies stay near the L2 cache.
//!
//! Loops are written so that the compiler vectorises them; [`vectorised!`] compiles each body once per instruction
//! set and picks one at run time.

mod attention;
mod columns;
mod conv;
mod conv_levels;
mod depthwise;
mod depthwise_taps;
mod elementwise;
mod gemm;
mod grid_sample;
mod loss;
mod math;
mod norm;
mod pixel_loss;
mod pool;
mod resample;
mod softmax;

pub use attention::linear_attention_grad;
pub use columns::{add_columns, add_to_rows, column_dots, column_sums, copy_columns};
pub use conv::{ConvGeometry, conv_weight_grad_direct};
pub use conv_levels::{
    conv, conv_data_grad, conv_levels, conv_levels_data_grad, conv_levels_weight_grad, conv_weight_grad,
};
pub use depthwise::{depthwise_data_grad, depthwise_weight_grad, depthwise_weight_grad_with};
pub use elementwise::{add, add_to, elu_grad, relu_grad, scale_add, scale_channels, sigmoid_grad};
pub use grid_sample::{GridSampleShape, grid_sample, grid_sample_grad};
pub use loss::{
    bce_with_logits, bce_with_logits_grad, cross_entropy, cross_entropy_grad, sigmoid_focal,
    sigmoid_focal_grad, sigmoid_focal_sum, sigmoid_focal_sum_grad,
};
pub use norm::{
    BatchStats, LayerNormGrad, batch_norm, batch_norm_frozen_grad, batch_norm_train_grad, batch_stats,
    layer_norm, layer_norm_grad,
};
pub use pixel_loss::{PixelLabels, pixel_cross_entropy, pixel_cross_entropy_grad};
pub use pool::{PoolShape, global_avg_pool, global_avg_pool_grad, max_pool, max_pool_grad};
pub use resample::{bilinear_grad, nearest_grad};
pub use softmax::{log_softmax, log_softmax_grad, softmax, softmax_grad};

/// Elements that one task handles in elementwise loops: small enough to balance, large enough that waking a thread is noise.
pub(crate) const CHUNK: usize = 32 * 1024;

/// `a * b + c`, fused where the instruction set has it (`FMA`), two roundings elsewhere (libm's software fma is slow).
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Defines `fn name(isa, args…)` that runs `body::<FMA>(args…)` compiled for the given instruction set.
///
/// `body` must be `#[inline(always)]`, so that it takes on the features of the wrapper that calls it.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                match isa {
                    // SAFETY: `isa` is `Isa::current()` or one of `Isa::available()`, both checked on this processor.
                    crate::isa::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    crate::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            // 64-bit ARM has fused multiply-add in its base instruction set, so plain code is the NEON path.
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use vectorised;
