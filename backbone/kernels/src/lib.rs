//! CPU kernels of the CARE detectors: slices in, slices out, f32, channels last.
//!
//! Every kernel exists as a [`reference`](mod@reference) definition and as one generic body over the vector width, compiled for each instruction set
//! ([`isa::Isa`]) and chosen once per process. Entries check all shapes and panic when one does not fit; what follows rests on these checks.

pub mod act;
pub mod attention;
pub mod backward;
pub mod buffer;
pub mod conv;
pub mod count;
pub mod depthwise;
pub mod environment;
pub mod epilogue;
mod gelu_row;
pub mod gemm;
pub mod inverted_residual;
pub mod isa;
pub mod label_map;
pub mod map;
pub mod nms;
pub mod pages;
mod par;
pub mod paste_mask;
pub mod peak;
pub mod reference;
pub mod resample;
pub mod roi_align;
pub mod scratch;
mod simd;
pub mod team;
pub mod winograd;
