//! The gradients of a step, in the order of the parameters.

use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use rayon::prelude::*;

/// Elements whose squares are added up by one task. A fixed number, so that the norm has the same bits at any thread count.
const CHUNK: usize = 1 << 15;

/// One gradient per parameter; `None` where the loss did not reach it.
#[derive(Clone, Debug)]
pub struct Gradients(Vec<(String, Option<Vec<f32>>)>);

impl Gradients {
    /// The gradients of `params`.
    ///
    /// # Errors
    /// `Internal` when a gradient has another shape or type than its parameter.
    pub fn collect(params: &[(String, Var)], store: &GradStore) -> Result<Self> {
        let one = |(name, var): &(String, Var)| {
            let grad = store.get(var.as_tensor()).map(|g| values(g, var)).transpose();
            Ok((name.clone(), grad.map_err(|e: Error| e.context(name))?))
        };
        Ok(Self(params.iter().map(one).collect::<Result<_>>()?))
    }

    /// From values that are known.
    pub fn from_values(values: Vec<(String, Option<Vec<f32>>)>) -> Self {
        Self(values)
    }

    /// Adds those of another pass.
    ///
    /// # Errors
    /// `Internal` when they are not of the same parameters.
    pub fn add(&mut self, other: &Gradients) -> Result<()> {
        for ((name, sum), (other_name, grad)) in self.0.iter_mut().zip(&other.0) {
            match (sum, grad) {
                (Some(sum), Some(grad)) if name == other_name && sum.len() == grad.len() => {
                    sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g);
                }
                (sum @ None, Some(grad)) if name == other_name => *sum = Some(grad.clone()),
                (_, None) if name == other_name => {}
                _ => return Err(Error::internal(format!("gradients of {name} and {other_name}"))),
            }
        }
        Ok(())
    }

    /// Multiplies all by a factor.
    pub fn scale(&mut self, factor: f32) {
        for grad in self.0.iter_mut().filter_map(|(_, g)| g.as_mut()) {
            grad.par_chunks_mut(CHUNK).for_each(|c| c.iter_mut().for_each(|g| *g *= factor));
        }
    }

    /// The L2 norm over all of them.
    pub fn norm(&self) -> f64 {
        let squares = |c: &[f32]| c.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        let of_one = |g: &Vec<f32>| g.par_chunks(CHUNK).map(squares).collect::<Vec<_>>().iter().sum::<f64>();
        self.0.iter().filter_map(|(_, g)| g.as_ref()).map(of_one).sum::<f64>().sqrt()
    }

    /// Scales them so that their norm is at most `max_norm`, by PyTorch's coefficient `max_norm / (norm + 1e-6)`. Returns
    /// the norm before.
    pub fn clip(&mut self, max_norm: f64) -> f64 {
        let norm = self.norm();
        let coefficient = max_norm / (norm + 1e-6);
        if coefficient < 1.0 {
            self.scale(coefficient as f32);
        }
        norm
    }

    /// Name of the first one that holds a NaN or an infinity.
    pub fn first_non_finite(&self) -> Option<&str> {
        let bad = |g: &Vec<f32>| g.par_chunks(CHUNK).any(|c| c.iter().any(|v| !v.is_finite()));
        self.iter_names().find(|(_, g)| g.is_some_and(bad)).map(|(name, _)| name)
    }

    /// Names of parameters that the loss did not reach.
    pub fn without_gradient(&self) -> Vec<&str> {
        self.iter_names().filter(|(_, g)| g.is_none()).map(|(name, _)| name).collect()
    }

    /// Names and gradients, in the order of the parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[f32]>)> {
        self.0.iter().map(|(name, g)| (name.as_str(), g.as_deref()))
    }

    fn iter_names(&self) -> impl Iterator<Item = (&str, Option<&Vec<f32>>)> {
        self.0.iter().map(|(name, g)| (name.as_str(), g.as_ref()))
    }
}

fn values(grad: &Tensor, var: &Var) -> Result<Vec<f32>> {
    if grad.dims() != var.dims() {
        return Err(Error::internal(format!("gradient {:?} of a parameter {:?}", grad.dims(), var.dims())));
    }
    Ok(grad.flatten_all()?.to_vec1::<f32>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    fn some(values: &[&[f32]]) -> Gradients {
        let values = values.iter().enumerate().map(|(i, v)| (format!("p{i}"), Some(v.to_vec())));
        Gradients::from_values(values.collect())
    }

    #[test]
    fn passes_add_up_and_missing_ones_stay_missing() -> Result<()> {
        let used = Var::from_tensor(&Tensor::new(&[1f32, 2.0], &Device::Cpu)?)?;
        let idle = Var::from_tensor(&Tensor::new(&[3f32], &Device::Cpu)?)?;
        let params = [("used".to_owned(), used.clone()), ("idle".to_owned(), idle)];
        let grads = used.as_tensor().sqr()?.sum_all()?.backward()?;
        let mut sum = Gradients::collect(&params, &grads)?;
        sum.add(&sum.clone())?;
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("used", Some(&[4.0, 8.0][..])), ("idle", None)]);
        assert_eq!(sum.without_gradient(), ["idle"]);
        assert!(sum.add(&some(&[&[1.0], &[1.0]])).is_err());
        Ok(())
    }

    #[test]
    fn the_norm_has_the_same_bits_at_any_thread_count() {
        let long: Vec<f32> = (0..5 * CHUNK + 17).map(|i| (i as f32 * 0.7).sin()).collect();
        let grads = some(&[&long, &long[..99]]);
        let at = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| grads.norm())
        };
        assert_eq!([at(2).to_bits(), at(5).to_bits()], [at(1).to_bits(); 2]);
    }

    #[test]
    fn the_first_one_that_is_not_finite_is_named() {
        assert_eq!(some(&[&[1.0], &[2.0, f32::NAN], &[f32::INFINITY]]).first_non_finite(), Some("p1"));
        assert_eq!(some(&[&[1.0], &[2.0]]).first_non_finite(), None);
    }
}
