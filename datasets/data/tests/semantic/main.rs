//! Segmentation data: real and golden sets, tiny folders of every format, files that are wrong, training samples.

mod broken;
mod folder;
mod formats;
mod real;
mod samples;
