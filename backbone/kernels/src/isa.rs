//! Which instruction set the kernels use.
//!
//! Chosen once per process ([`Isa::current`]), forced by the environment variable `CARE_ISA`, and given explicitly to the `*_with`
//! twin of every kernel. A path is only ever entered after [`Isa::is_available`] said yes on this very processor, so naming an
//! instruction set that the machine lacks is a panic with a clear message, never an illegal instruction.

use std::sync::OnceLock;

/// An instruction set that the kernels have a path for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust on small arrays; whatever the compiler makes of it. Runs everywhere.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 floats per vector, 16 registers.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 floats per vector, 32 registers.
    Avx512,
    /// AArch64 Advanced SIMD: 4 floats per vector, 32 registers.
    Neon,
}

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "CARE_ISA";

/// `CARE_ISA` names something unknown, or something that this processor does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError(String);

impl std::fmt::Display for IsaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IsaError {}

impl Isa {
    /// Every instruction set of this crate, slowest first.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The name that `CARE_ISA` and `--version` use.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether this processor (and this build) can run it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true, // part of the AArch64 baseline
            _ => false,
        }
    }

    /// What this processor can run, slowest first; `Portable` is always there.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest instruction set of this processor.
    pub fn best() -> Isa {
        *Isa::available().last().expect("portable is always available")
    }

    /// What `CARE_ISA` asks for, or the best one when it is unset or empty.
    ///
    /// # Errors
    /// When the variable names something unknown, or something that this processor does not have.
    pub fn from_env() -> Result<Isa, IsaError> {
        match std::env::var_os(ISA_VARIABLE) {
            None => Ok(Isa::best()),
            Some(value) if value.is_empty() => Ok(Isa::best()),
            Some(value) => Isa::parse(&value.to_string_lossy()),
        }
    }

    /// The instruction set of that name, when this processor has it.
    ///
    /// # Errors
    /// When the name is unknown or the processor lacks it; the message lists what there is.
    pub fn parse(name: &str) -> Result<Isa, IsaError> {
        let here = Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.name() == name) else {
            let known = Isa::ALL.map(Isa::name).join(", ");
            return Err(IsaError(format!(
                "{ISA_VARIABLE}={name} is not an instruction set; known: {known}; on this processor: {here}"
            )));
        };
        if !isa.is_available() {
            return Err(IsaError(format!(
                "{ISA_VARIABLE}={name} is not available on this processor; use one of: {here}"
            )));
        }
        Ok(isa)
    }

    /// The instruction set of this process, decided on the first call.
    ///
    /// # Panics
    /// When `CARE_ISA` is wrong. A program that wants to say so politely calls [`Isa::from_env`] first.
    pub fn current() -> Isa {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Isa::from_env().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Panics unless this processor has the instruction set: the check that every fast path rests on.
    pub(crate) fn assert_available(self) {
        assert!(
            self.is_available(),
            "the instruction set {} is not available on this processor",
            self.name()
        );
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        Isa::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_is_always_available_and_best_is_available() {
        assert!(Isa::available().contains(&Isa::Portable));
        assert!(Isa::best().is_available());
    }

    #[test]
    fn unknown_and_missing_sets_are_errors_that_list_the_choices() {
        let error = Isa::parse("sse9").unwrap_err().to_string();
        assert!(error.contains("sse9") && error.contains("portable"), "{error}");
        for isa in Isa::ALL {
            assert_eq!(Isa::parse(isa.name()).is_ok(), isa.is_available());
        }
    }
}
