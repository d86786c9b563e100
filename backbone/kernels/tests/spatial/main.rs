//! The element-wise and spatial kernels: every entry × every instruction set of this CPU × a grid of shapes (one pixel, odd,
//! empty, channels that do not fill a vector, maps smaller than the kernel, strided channel slices) against
//! `care_kernels::reference`, at the tolerance written beside each check.

mod act;
mod attention;
mod depthwise;
mod grid;
mod nms;
mod resample;
