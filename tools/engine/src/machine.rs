//! What this process computes with.

use crate::error::{Error, Result};
use care_kernels::isa::Isa;

/// Name of the instruction set that the kernels use.
///
/// # Errors
/// `Config` when `CARE_ISA` names one that is unknown or not on this processor.
pub fn instruction_set() -> Result<String> {
    let isa = Isa::from_env().map_err(|e| Error::config(e.to_string()))?;
    Ok(isa.name().to_owned())
}

/// Names of the instruction sets that the kernels could use on this processor.
pub fn cpu_features() -> Vec<String> {
    Isa::available().into_iter().map(|isa| isa.name().to_owned()).collect()
}

/// Runs `work` on a thread of rayon's pool. A network that runs outside of it waits, after each of its hundred or more
/// parallel loops, for helpers that have just been woken; inside, the caller does their part itself.
///
/// Not for work that waits for something else: it would block a thread that others need.
pub(crate) fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
