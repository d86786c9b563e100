//! What networks are made of: parameters, checkpoints, differentiable ops and layers on candle tensors.
//!
//! Activations are channels-last `[N, H, W, C]`; parameters keep the names and the layout of PyTorch.

#![forbid(unsafe_code)]

pub mod batch_stats;
pub mod checkpoint;
pub mod error;
pub mod init;
pub mod keymap;
pub mod layers;
pub mod load;
pub mod ops;
pub mod params;
pub mod purpose;
pub mod recipe;

pub use batch_stats::{BatchStat, BatchStats};
pub use checkpoint::{Checkpoint, Select, StoredTensor};
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use init::{Fan, Init};
pub use keymap::KeyMap;
pub use load::{LoadOptions, LoadReport, load_strict, to_checkpoint};
pub use params::{Builder, Param, ParamStore, Role};
pub use purpose::{Conv3x3, NormMode, Purpose};
