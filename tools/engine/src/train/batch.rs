//! What a step is made of, for either task.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use care_data::TrainSample;
use care_data::semantic::SegSample;
use care_heads::{Draw, ImageInfo, Images, Losses, Network};
use care_types::{DetTarget, SegTarget, Size};

/// A prepared training picture with what is to be found in it.
#[derive(Clone)]
pub(crate) enum TaskSample {
    /// Objects.
    Objects(TrainSample),
    /// A class for every pixel.
    Labels(SegSample),
}

/// Pictures of one pass.
pub(crate) struct Batch {
    pub(crate) images: Images,
    pub(crate) targets: Targets,
}

/// What is to be found.
pub(crate) enum Targets {
    Objects(Vec<DetTarget>),
    Labels(Vec<SegTarget>),
}

impl Batch {
    /// Samples of any sizes, padded to the largest; label maps all have one size.
    ///
    /// # Errors
    /// `Internal` without samples, or when they are for different tasks.
    pub(crate) fn of(samples: Vec<TaskSample>) -> Result<Self> {
        let (mut objects, mut labels) = (Vec::new(), Vec::new());
        for sample in samples {
            match sample {
                TaskSample::Objects(sample) => objects.push(sample),
                TaskSample::Labels(sample) => labels.push(sample),
            }
        }
        match (objects.is_empty(), labels.is_empty()) {
            (false, true) => Self::of_objects(objects),
            (true, false) => Self::of_labels(labels),
            _ => Err(Error::internal("a batch without pictures, or for two tasks")),
        }
    }

    /// Number of pictures.
    pub(crate) fn len(&self) -> usize {
        match &self.targets {
            Targets::Objects(targets) => targets.len(),
            Targets::Labels(targets) => targets.len(),
        }
    }

    /// The same batch with other random choices.
    pub(crate) fn with_draw(self, draw: Draw) -> Self {
        Self { images: self.images.with_draw(draw), ..self }
    }

    /// The losses of a network on it.
    pub(crate) fn losses(&self, network: &Network) -> Result<Losses> {
        Ok(match (network, &self.targets) {
            (Network::Detector(net), Targets::Objects(targets)) => net.losses(&self.images, targets)?,
            (Network::Segmenter(net), Targets::Labels(targets)) => net.losses(&self.images, targets)?,
            _ => return Err(Error::internal("pictures for another task than the network's")),
        })
    }

    fn of_objects(samples: Vec<TrainSample>) -> Result<Self> {
        let side =
            |f: fn(Size) -> u32| samples.iter().map(|s| f(s.sample.geometry.padded)).max().unwrap_or(0);
        let slot = Size::new(side(|s| s.width), side(|s| s.height));
        let (mut pixels, mut info, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for TrainSample { sample, target, .. } in samples {
            info.push(ImageInfo::from(&sample.geometry));
            pixels.extend_from_slice(&sample.padded_to(slot));
            targets.push(target);
        }
        Ok(Self { images: images(pixels, info, slot)?, targets: Targets::Objects(targets) })
    }

    fn of_labels(samples: Vec<SegSample>) -> Result<Self> {
        let slot = samples.first().map_or(Size::new(0, 0), |s| s.size);
        let (mut pixels, mut targets) = (Vec::new(), Vec::new());
        for SegSample { pixels: own, label, size, .. } in samples {
            if size != slot {
                return Err(Error::internal(format!("label maps of {size:?} and {slot:?} in one batch")));
            }
            pixels.extend_from_slice(&own);
            targets.push(SegTarget::new(size, label)?);
        }
        let info = vec![ImageInfo::whole(slot.width, slot.height); targets.len()];
        Ok(Self { images: images(pixels, info, slot)?, targets: Targets::Labels(targets) })
    }
}

fn images(pixels: Vec<f32>, info: Vec<ImageInfo>, slot: Size) -> Result<Images> {
    let shape = (info.len(), slot.height as usize, slot.width as usize, 3);
    Ok(Images::new(Tensor::from_vec(pixels, shape, &Device::Cpu)?, info)?)
}
