//! Tensors seen as slices and kernel maps and back: the only places where an `Infer` network touches a tensor.

use crate::{Error, Result};
use candle_core::{CpuStorage, Device, Storage, Tensor};
use care_kernels::map::{Map, MapMut};

/// Calls `f` with a contiguous `[N, H, W, C]` f32 tensor on the CPU as a map, without copying.
pub fn with_map<R>(x: &Tensor, f: impl FnOnce(Map<'_>) -> R) -> Result<R> {
    let (n, h, w, c) = x.dims4()?;
    with_values(x, |values| f(Map::dense(values, [n, h, w, c])))
}

/// Calls `f` with the values of an f32 tensor on the CPU in C order, without copying those of a contiguous one.
pub fn with_values<R>(x: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(data)) = &*storage else {
        return Err(Error::unsupported(format!(
            "this layer runs on f32 tensors on the CPU, got {:?} on {:?}",
            x.dtype(),
            x.device()
        )));
    };
    let start = layout.start_offset();
    Ok(f(&data[start..start + x.elem_count()]))
}

/// A new `[N, H, W, C]` tensor that `f` fills; `f` gets zeros.
pub fn tensor_from(shape: [usize; 4], f: impl FnOnce(MapMut<'_>)) -> Result<Tensor> {
    let mut data = vec![0f32; shape.iter().product()];
    f(MapMut::dense(&mut data, shape));
    Ok(Tensor::from_vec(data, &shape[..], &Device::Cpu)?)
}

/// A new tensor computed from the map of another.
pub fn map_tensor(x: &Tensor, shape: [usize; 4], f: impl FnOnce(Map<'_>, MapMut<'_>)) -> Result<Tensor> {
    let mut data = vec![0f32; shape.iter().product()];
    with_map(x, |x| f(x, MapMut::dense(&mut data, shape)))?;
    Ok(Tensor::from_vec(data, &shape[..], &Device::Cpu)?)
}
