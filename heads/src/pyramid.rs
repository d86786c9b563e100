//! Feature maps of all levels in one buffer: what necks and heads built for inference pass around.

use candle_core::{Device, Tensor};
use care_kernels::map::{Map, MapMut};
use care_kernels::scratch::{self, Scratch};
use care_nn::Result;
use care_nn::layers::view;

/// Dense `[N, H, W, C]` maps, one after the other in pooled memory.
pub(crate) struct Pyramid {
    shapes: Vec<[usize; 4]>,
    data: Scratch,
}

impl Pyramid {
    /// Maps of the given shapes, contents unspecified.
    pub(crate) fn new(shapes: Vec<[usize; 4]>) -> Self {
        Self::with_room(shapes, 0)
    }

    /// The same in a buffer of at least `room` floats, so that the pool can serve a later pyramid of that
    /// size from it.
    pub(crate) fn with_room(shapes: Vec<[usize; 4]>, room: usize) -> Self {
        let need: usize = shapes.iter().map(volume).sum();
        Self { shapes, data: scratch::take(need.max(room)) }
    }

    /// Maps whose values are there.
    pub(crate) fn of(shapes: Vec<[usize; 4]>, data: Scratch) -> Self {
        Self { shapes, data }
    }

    /// Copies of tensors `[N, H, W, C]`.
    pub(crate) fn from_tensors(tensors: &[Tensor]) -> Result<Self> {
        let shape = |x: &Tensor| x.dims4().map(|(n, h, w, c)| [n, h, w, c]);
        let mut out = Self::new(tensors.iter().map(shape).collect::<candle_core::Result<_>>()?);
        for (x, map) in tensors.iter().zip(out.maps_mut()) {
            view::with_map(x, |x| map.data.copy_from_slice(x.data))?;
        }
        Ok(out)
    }

    /// Shapes of the maps, finest first.
    pub(crate) fn shapes(&self) -> &[[usize; 4]] {
        &self.shapes
    }

    /// Floats of all maps.
    pub(crate) fn len(&self) -> usize {
        self.shapes.iter().map(volume).sum()
    }

    /// The same grids with another number of channels.
    pub(crate) fn shapes_with(&self, channels: usize) -> Vec<[usize; 4]> {
        self.shapes.iter().map(|&[n, h, w, _]| [n, h, w, channels]).collect()
    }

    /// Reuses the memory for maps of `channels`, growing it if it must; contents become unspecified.
    pub(crate) fn set_channels(&mut self, channels: usize) {
        self.shapes = self.shapes_with(channels);
        if self.data.len() < self.len() {
            self.data = scratch::take(self.len());
        }
    }

    /// Values of each level.
    pub(crate) fn slices(&self) -> Vec<&[f32]> {
        let mut rest = &self.data[..];
        let mut out = Vec::with_capacity(self.shapes.len());
        for shape in &self.shapes {
            let (level, tail) = rest.split_at(volume(shape));
            out.push(level);
            rest = tail;
        }
        out
    }

    /// The maps, to read.
    pub(crate) fn maps(&self) -> Vec<Map<'_>> {
        self.slices().into_iter().zip(&self.shapes).map(|(data, &shape)| Map::dense(data, shape)).collect()
    }

    /// The maps, to write.
    pub(crate) fn maps_mut(&mut self) -> Vec<MapMut<'_>> {
        let mut rest = &mut self.data[..];
        let mut out = Vec::with_capacity(self.shapes.len());
        for &shape in &self.shapes {
            let (level, tail) = rest.split_at_mut(volume(&shape));
            out.push(MapMut::dense(level, shape));
            rest = tail;
        }
        out
    }

    /// Copies of the maps as tensors.
    pub(crate) fn tensors(&self) -> Result<Vec<Tensor>> {
        let tensor =
            |(data, shape): (&[f32], &[usize; 4])| Ok(Tensor::from_slice(data, &shape[..], &Device::Cpu)?);
        self.slices().into_iter().zip(&self.shapes).map(tensor).collect()
    }
}

fn volume(shape: &[usize; 4]) -> usize {
    shape.iter().product()
}
