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
