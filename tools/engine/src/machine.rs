//! What this process computes with.

use crate::error::{Error, Result};
use care_kernels::environment::set_unless_set;
use care_kernels::isa::Isa;
use care_kernels::pages::give_back_freed;
use care_kernels::peak::measured_gflops;
use care_kernels::team;
use care_nn::ParamStore;

/// Name of the instruction set that the kernels use.
///
/// # Errors
/// `Config` when `CARE_ISA` names one that is unknown or not on this processor.
pub fn instruction_set() -> Result<String> {
    let isa = Isa::from_env().map_err(|e| Error::config(e.to_string()))?;
    Ok(isa.name().to_owned())
}

/// Billions of floating-point operations per second that one thread of this processor can do, measured.
pub fn peak_gflops() -> f64 {
    const RUNS: usize = 50; // of 1 ms: on a busy machine some are undisturbed
    measured_gflops(Isa::current(), RUNS)
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

/// Keeps candle from starting threads of its own beside the pool's, which wait for each other by spinning: a training step of one thread took 15 %
/// more CPU time, and much more wherever another program wanted the core. To be called before anything else; does nothing once there are threads.
pub fn keep_candle_quiet() {
    set_unless_set("CANDLE_NUM_THREADS", "1");
}

/// The same for a pass of a network: the pool's other threads stay awake for its loops. Not for training, most of whose loops are long, and
/// which would keep threads from other work for minutes.
pub(crate) fn in_team<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    team::with(pass)
}

/// Lets go of a store whose network has packed its parameters, so that nobody pays for their memory any more.
pub(crate) fn let_go(store: ParamStore) {
    drop(store);
    give_back_freed();
}
