//! A shaped array in C order, and the two layouts that meet here.

use candle_core::{Device, Tensor};

/// Values in C order with their shape; golden feature maps are `[N, C, H, W]`, ours are `[N, H, W, C]`.
#[derive(Debug, Clone)]
pub struct Array {
    /// Logical shape.
    pub shape: Vec<usize>,
    /// Values, C order. Integers of the set are small enough to be exact in f64.
    pub data: Vec<f64>,
}

impl Array {
    /// The values as f32 (exact for everything stored as F32).
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// The values as integers.
    pub fn i64(&self) -> Vec<i64> {
        self.data.iter().map(|&v| v as i64).collect()
    }

    /// The array as a tensor of the same shape.
    pub fn tensor(&self) -> Tensor {
        Tensor::from_vec(self.f32(), self.shape.clone(), &Device::Cpu)
            .expect("shape matches the data by construction")
    }

    /// A `[N, C, H, W]` array as an `[N, H, W, C]` tensor.
    pub fn nhwc(&self) -> Tensor {
        let t = self.tensor();
        t.permute((0, 2, 3, 1)).and_then(|t| t.contiguous()).expect("a four-dimensional array")
    }

    /// Rows of four: boxes.
    pub fn boxes(&self) -> Vec<[f32; 4]> {
        self.f32().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect()
    }
}
