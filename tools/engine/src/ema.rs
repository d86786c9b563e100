//! The exponential moving average of all parameters: what is scored and saved when `train.ema` is not 0.

use crate::error::{Error, Result};
use candle_core::{CpuStorage, DType, InplaceOp2, Layout};
use care_nn::ParamStore;
use care_nn::params::Role;
use rayon::prelude::*;

/// Elements of one task; every element is independent, so the result has the same bits at any thread count.
const CHUNK: usize = 1 << 15;

/// An averaged copy of a store.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    average: ParamStore,
}

impl Ema {
    /// Starts from the present values.
    ///
    /// # Errors
    /// `Internal` when a copy fails.
    pub fn new(store: &ParamStore, decay: f64) -> Result<Self> {
        Ok(Self { decay, average: frozen_copy(store)? })
    }

    /// Moves towards `store`, after step number `step` (from 1). Early steps weigh more, `min(decay, (1 + t) / (10 + t))`,
    /// or the average would remember random initial values for long. Running statistics are averaged as weights are,
    /// counters are copied.
    ///
    /// # Errors
    /// `Internal` when the stores differ.
    pub fn update(&self, store: &ParamStore, step: u64) -> Result<()> {
        let t = step as f64;
        let op = Lerp { toward: (1.0 - self.decay.min((1.0 + t) / (10.0 + t))) as f32 };
        for (average, now) in self.average.params().iter().zip(store.params()) {
            let now_value = now.var.as_detached_tensor();
            if now.var.dtype() == DType::F32 {
                average
                    .var
                    .inplace_op2(&now_value.contiguous()?, &op)
                    .map_err(|e| Error::from(e).context(&now.name))?;
            } else {
                self.average.set(&now.name, &now_value)?;
            }
        }
        Ok(())
    }

    /// The averaged values.
    pub fn store(&self) -> &ParamStore {
        &self.average
    }
}

/// A copy that nothing trains: networks on it track no gradients.
///
/// # Errors
/// `Internal` when a copy fails.
pub fn frozen_copy(store: &ParamStore) -> Result<ParamStore> {
    let copy = store.deep_copy()?;
    copy.set_roles(|_, _| Role::Frozen)?;
    Ok(copy)
}

/// `average += toward * (now - average)`, in place.
struct Lerp {
    toward: f32,
}

impl InplaceOp2 for Lerp {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        average_layout: &Layout,
        now: &CpuStorage,
        now_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(a), CpuStorage::F32(n)) = (average, now) else {
            candle_core::bail!("averages are f32");
        };
        let (Some((a0, a1)), Some((n0, n1))) =
            (average_layout.contiguous_offsets(), now_layout.contiguous_offsets())
        else {
            candle_core::bail!("averages and parameters must be contiguous");
        };
        if average_layout.shape() != now_layout.shape() {
            candle_core::bail!("average {:?} of {:?}", average_layout.shape(), now_layout.shape());
        }
        let toward = self.toward;
        a[a0..a1].par_chunks_mut(CHUNK).zip(n[n0..n1].par_chunks(CHUNK)).for_each(|(a, n)| {
            for (a, n) in a.iter_mut().zip(n) {
                *a += toward * (n - *a);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use care_nn::{Init, Purpose};

    #[test]
    fn the_average_follows_the_definition() -> Result<()> {
        let store = ParamStore::new(Device::Cpu, 0);
        let b = store.root(Purpose::TRAIN);
        b.param("w", &[3], Init::Zeros)?;
        b.buffer("seen", &[], Init::Int(0))?;
        let ema = Ema::new(&store, 0.9)?;
        let mut want = 0.0f64;
        for step in 1..=200u64 {
            let now = (step as f64).sin();
            store.set("w", &Tensor::full(now as f32, 3, &Device::Cpu)?)?;
            store.set("seen", &Tensor::full(step as i64, (), &Device::Cpu)?)?;
            ema.update(&store, step)?;
            let decay = 0.9f64.min((1.0 + step as f64) / (10.0 + step as f64));
            want = decay * want + (1.0 - decay) * now;
        }
        let got = ema.store().get("w")?.var.to_vec1::<f32>()?;
        assert!(got.iter().all(|g| (f64::from(*g) - want).abs() < 1e-5), "{got:?}, want {want}");
        assert_eq!(ema.store().get("seen")?.var.to_scalar::<i64>()?, 200);
        assert!(!ema.store().root(Purpose::TRAIN).param("w", &[3], Init::Zeros)?.track_op());
        Ok(())
    }
}
