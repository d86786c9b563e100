//! Pictures in, detections or label maps in original pixels out: the path that `infer` and `eval` share.
//!
//! Decoding and resizing run on other threads while the network works. Pictures share a pass only when their padded
//! sizes are equal, so the result of one never depends on its neighbours or on `--batch`.

use crate::batching::Batching;
use crate::error::{Error, Result};
use crate::machine::{in_pool, in_team};
use crate::measure::Phases;
use crate::stop::Stop;
use crate::views::{self, Views};
use candle_core::{Device, Tensor};
use care_data::semantic::aligned;
use care_data::{Preprocess, Sample, prefetch};
use care_heads::{ImageInfo, Images, Network};
use care_kernels::label_map::{Part, Taps, label_map};
use care_kernels::map::Map;
use care_kernels::pages::settle;
use care_kernels::paste_mask::paste_mask;
use care_types::{
    BoxXyxy, Detection, Geometry, LabelMap, MaskLogits, RawDetection, RawSemantic, Rle, SegTarget, Size,
};
use image::RgbImage;
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that decode: a picture takes about 10 ms, which two threads hide behind any of our networks.
const DECODERS: usize = 2;

/// Pictures after which a long run has its buffers, and moves them to where they are faster to use.
const SETTLED_AFTER: usize = 16;

/// Probability from which a pixel belongs to a mask, mmdetection's `mask_thr_binary`.
const MASK_THRESHOLD: f32 = 0.5;

/// Reads picture `i`; the message of an error names the file.
type Load = dyn Fn(usize) -> care_types::Result<RgbImage> + Send + Sync;

/// Numbered pictures that can be read from several threads.
#[derive(Clone)]
pub struct Source {
    count: usize,
    load: Arc<Load>,
}

impl Source {
    /// `count` pictures, read by `load`.
    pub fn new(
        count: usize,
        load: impl Fn(usize) -> care_types::Result<RgbImage> + Send + Sync + 'static,
    ) -> Self {
        Self { count, load: Arc::new(load) }
    }

    /// Picture files.
    pub fn files(paths: Vec<PathBuf>) -> Self {
        Self::new(paths.len(), move |i| care_data::decode_path(&paths[i]))
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// How a run is done; none of it changes a detection.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Pictures per pass.
    pub batch: usize,
    /// Hand the decoded pictures on, for drawing.
    pub keep_pictures: bool,
}

/// What became of one picture.
pub struct Outcome {
    /// Its number in the [`Source`].
    pub index: usize,
    /// Its detections, or why there are none.
    pub result: Result<Prediction>,
}

/// What was found in one picture.
pub struct Prediction {
    /// Size of the original picture.
    pub size: Size,
    /// Of a detector: best first, in original pixels.
    pub detections: Vec<Detection>,
    /// Of a segmenter: the class of every pixel of the original picture.
    pub labels: Option<SegTarget>,
    /// The picture itself, when [`RunOptions::keep_pictures`] asked for it.
    pub picture: Option<RgbImage>,
}

/// What a network says about one picture, in original pixels.
pub enum Found {
    /// Of a detector, best first.
    Objects(Vec<Detection>),
    /// Of a segmenter.
    Labels(SegTarget),
}

/// What a network says about a batch, in network pixels.
enum Raw {
    Objects(Vec<Vec<RawDetection>>),
    Labels(Vec<RawSemantic>),
}

/// A network built for inference, with the preprocessing and the classes of its weights.
pub struct Predictor {
    network: Network,
    preprocess: Preprocess,
    labels: LabelMap,
    views: Views,
}

/// A picture on its way to the network.
struct Prepared {
    index: usize,
    sample: Sample,
    picture: Option<RgbImage>,
    spent: Spent,
}

/// Time that preparing took, on its own thread.
#[derive(Clone, Copy)]
struct Spent {
    decode: Duration,
    preprocess: Duration,
}

impl Predictor {
    /// Puts a detector and what it needs together.
    ///
    /// # Errors
    /// `Config` when the preprocessing is impossible, `Internal` when there are not as many labels as classes.
    pub fn new(network: Network, preprocess: Preprocess, labels: LabelMap) -> Result<Self> {
        preprocess.check()?;
        if network.num_classes() != labels.len() {
            let (classes, names) = (network.num_classes(), labels.len());
            return Err(Error::internal(format!("a network of {classes} classes with {names} names")));
        }
        Ok(Self { network, preprocess, labels, views: Views::default() })
    }

    /// The same network looking at every picture in another way; only segmenters can.
    ///
    /// # Errors
    /// `Config` for a detector.
    pub fn with_views(self, views: Views) -> Result<Self> {
        match (&self.network, views.is_plain()) {
            (Network::Detector(_), false) => Err(Error::config(
                "a detector looks at a picture once, as a whole; leave out --tta and --slide",
            )),
            _ => Ok(Self { views, ..self }),
        }
    }

    /// The classes.
    pub fn labels(&self) -> &LabelMap {
        &self.labels
    }

    /// The preprocessing.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// What is found in prepared pictures of one padded size.
    ///
    /// # Errors
    /// `Internal` when sizes differ or a computation fails.
    pub fn look(&self, samples: Vec<Sample>, phases: &mut Phases) -> Result<Vec<Found>> {
        let geometries: Vec<Geometry> = samples.iter().map(|s| s.geometry).collect();
        let images = phases.time("collate", || collate(samples))?;
        phases.start_lap();
        let mut lap = |phase| phases.end_lap(phase);
        let raw = in_team(|| {
            Ok::<_, Error>(match &self.network {
                Network::Detector(net) => Raw::Objects(net.detect_observed(&images, &mut lap)?),
                Network::Segmenter(net) => Raw::Labels(net.segment_observed(&images, &mut lap)?),
            })
        })?;
        drop(images);
        phases.time("postprocess", || match raw {
            Raw::Objects(raw) => {
                let pairs = raw.into_iter().zip(&geometries);
                pairs.map(|(found, g)| Ok(Found::Objects(in_original_pixels(found, g)?))).collect()
            }
            Raw::Labels(raw) => {
                let pairs = raw.iter().zip(&geometries);
                pairs.map(|(found, g)| Ok(Found::Labels(in_pool(|| best_classes(found, g))?))).collect()
            }
        })
    }

    /// Runs over all pictures of `source` and hands each outcome to `sink` as soon as it is there (in order for a batch
    /// of one). A picture that fails is an outcome, not the end. Ends early, without an error, when `stop` is requested.
    ///
    /// # Errors
    /// The first error that `sink` returns.
    pub fn run(
        &self,
        source: &Source,
        options: RunOptions,
        stop: &Stop,
        sink: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<Phases> {
        let (load, preprocess) = (Arc::clone(&source.load), self.preprocess);
        let shape = match self.network {
            Network::Detector(_) => Preprocess::apply,
            // label maps are scored without padding, as published numbers are
            Network::Segmenter(_) => aligned,
        };
        let keep = options.keep_pictures || !self.views.is_plain();
        let prepare = move |i| prepare(i, &*load, |p| shape(&preprocess, p), keep);
        let decoders = DECODERS.min(rayon::current_num_threads());
        let ahead = options.batch + decoders;
        let mut batching = Batching::new(options.batch);
        let mut phases = Phases::default();
        for (index, prepared) in prefetch(0..source.count, decoders, ahead, prepare).enumerate() {
            if stop.requested() {
                return Ok(phases);
            }
            if index == SETTLED_AFTER && source.count >= 4 * SETTLED_AFTER {
                settle();
            }
            match prepared {
                Err(e) => sink(Outcome { index, result: Err(e.into()) })?,
                Ok(p) if !self.views.is_plain() => {
                    self.finish_closely(p, options.keep_pictures, &mut phases, sink)?
                }
                Ok(p) => {
                    if let Some(group) = batching.push(p.sample.geometry.padded, p) {
                        self.finish(group, &mut phases, sink)?;
                    }
                }
            }
        }
        while let Some(group) = batching.flush() {
            if stop.requested() {
                break;
            }
            self.finish(group, &mut phases, sink)?;
        }
        Ok(phases)
    }

    /// A picture that is looked at several times.
    fn finish_closely(
        &self,
        prepared: Prepared,
        keep: bool,
        phases: &mut Phases,
        sink: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        let Prepared { index, picture, spent, .. } = prepared;
        phases.add("decode", spent.decode);
        let (Network::Segmenter(net), Some(picture)) = (&self.network, picture) else {
            return Err(Error::internal("several views of a picture that was not kept"));
        };
        let found = views::look(net.as_ref(), &picture, (&self.preprocess, &self.views), phases);
        let size = Size::new(picture.width(), picture.height());
        let result = found.map(|labels| Prediction {
            size,
            detections: Vec::new(),
            labels: Some(labels),
            picture: keep.then_some(picture),
        });
        sink(Outcome { index, result })
    }

    /// One pass; when it fails, each of its pictures has failed.
    fn finish(
        &self,
        group: Vec<Prepared>,
        phases: &mut Phases,
        sink: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        let (mut samples, mut rest) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for p in group {
            phases.add("decode", p.spent.decode);
            phases.add("preprocess", p.spent.preprocess);
            rest.push((p.index, p.sample.geometry.original, p.picture));
            samples.push(p.sample);
        }
        match self.look(samples, phases) {
            Ok(found) => {
                for ((index, size, picture), found) in rest.into_iter().zip(found) {
                    let (detections, labels) = match found {
                        Found::Objects(detections) => (detections, None),
                        Found::Labels(labels) => (Vec::new(), Some(labels)),
                    };
                    sink(Outcome { index, result: Ok(Prediction { size, detections, labels, picture }) })?;
                }
            }
            Err(e) => {
                for (index, ..) in rest {
                    sink(Outcome {
                        index,
                        result: Err(Error::new(e.kind(), format!("the network failed: {e}"))),
                    })?;
                }
            }
        }
        Ok(())
    }
}

fn prepare(
    index: usize,
    load: &Load,
    shape: impl Fn(&RgbImage) -> Sample,
    keep: bool,
) -> care_types::Result<Prepared> {
    let start = Instant::now();
    let picture = load(index)?;
    let decode = start.elapsed();
    let sample = shape(&picture);
    let spent = Spent { decode, preprocess: start.elapsed() - decode };
    Ok(Prepared { index, sample, picture: keep.then_some(picture), spent })
}

/// Samples of one padded size become `[N, H, W, 3]`.
///
/// # Errors
/// `Internal` without samples or when their padded sizes differ.
pub fn collate(samples: Vec<Sample>) -> Result<Images> {
    let first = samples.first().ok_or_else(|| Error::internal("a batch without pictures"))?;
    let Size { width, height } = first.geometry.padded;
    if let Some(other) = samples.iter().find(|s| s.geometry.padded != first.geometry.padded) {
        let (a, b) = (first.geometry.padded, other.geometry.padded);
        return Err(Error::internal(format!("pictures of {a:?} and {b:?} in one batch")));
    }
    let info: Vec<ImageInfo> = samples.iter().map(|s| ImageInfo::from(&s.geometry)).collect();
    let count = samples.len();
    let pixels = join(samples);
    let pixels = Tensor::from_vec(pixels, (count, height as usize, width as usize, 3), &Device::Cpu)?;
    Ok(Images::new(pixels, info)?)
}

/// A single picture's pixels are moved, not copied.
fn join(samples: Vec<Sample>) -> Vec<f32> {
    let mut samples = samples.into_iter();
    let mut pixels = samples.next().map(|s| s.pixels).unwrap_or_default();
    pixels.reserve_exact(samples.len() * pixels.len());
    for sample in samples {
        pixels.extend_from_slice(&sample.pixels);
    }
    pixels
}

/// The only place where network pixels become original pixels.
fn in_original_pixels(found: Vec<RawDetection>, geometry: &Geometry) -> Result<Vec<Detection>> {
    let convert = |raw: RawDetection| {
        let bbox = geometry.to_original(raw.bbox);
        let mask = raw.mask_logits.map(|logits| pasted(&logits, bbox, geometry.original)).transpose()?;
        Ok(Detection { class: raw.class, score: raw.score, bbox, mask })
    };
    found.into_par_iter().map(convert).collect()
}

/// The best class of every original pixel.
pub(crate) fn best_classes(raw: &RawSemantic, geometry: &Geometry) -> Result<SegTarget> {
    let Geometry { original, resized, padded, .. } = *geometry;
    let axis = |cells: usize, side: fn(Size) -> u32| {
        Taps::axis(cells, side(padded) as usize, side(resized) as usize, side(original) as usize)
    };
    let (rows, columns) = (axis(raw.height, |s| s.height), axis(raw.width, |s| s.width));
    let mut classes = vec![0; rows.len() * columns.len()];
    let logits = Map::dense(&raw.logits, [1, raw.height, raw.width, raw.classes]);
    label_map(&Part { logits, rows: &rows, columns: &columns }, &mut classes);
    Ok(SegTarget::new(original, classes)?)
}

/// The mask in a picture of this size.
fn pasted(logits: &MaskLogits, bbox: BoxXyxy, picture: Size) -> Result<Rle> {
    let Size { width, height } = picture;
    let counts = paste_mask(&logits.data, logits.size, bbox.to_array(), [height, width], MASK_THRESHOLD);
    Ok(Rle::from_counts(height, width, &counts)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_heads::{Detector, Losses};
    use care_types::{ClassIndex, DetTarget};

    /// Finds one object per picture: its score is the mean of the picture's slot, its box the whole picture.
    struct MeanDetector;

    impl Detector for MeanDetector {
        fn losses(&self, _: &Images, _: &[DetTarget]) -> care_heads::Result<Losses> {
            Err(care_heads::Error::unsupported("no losses"))
        }

        fn detect_observed(
            &self,
            images: &Images,
            phase: &mut dyn FnMut(&'static str),
        ) -> care_heads::Result<Vec<Vec<RawDetection>>> {
            phase("mean");
            let mean = images.pixels.mean((1, 2, 3))?.to_vec1::<f32>()?;
            let one = |(score, info): (f32, &ImageInfo)| {
                let bbox = BoxXyxy::new(0.0, 0.0, info.valid.width as f32, info.valid.height as f32);
                vec![RawDetection { class: ClassIndex(0), score, bbox, mask_logits: None }]
            };
            Ok(mean.into_iter().zip(&images.info).map(one).collect())
        }

        fn num_classes(&self) -> usize {
            1
        }
    }

    fn predictor() -> Predictor {
        let preprocess = Preprocess { scale: "64".parse().unwrap(), ..Preprocess::default() };
        Predictor::new(
            Network::Detector(Box::new(MeanDetector)),
            preprocess,
            LabelMap::from_names(&["thing"], 1),
        )
        .unwrap()
    }

    /// Pictures of three shapes; number 5 cannot be read.
    fn source() -> Source {
        Source::new(11, |i| {
            if i == 5 {
                return Err(care_types::Error::input("picture 5 is broken"));
            }
            let (w, h) = [(40, 16), (16, 40), (64, 64)][i % 3];
            Ok(RgbImage::from_pixel(w, h, image::Rgb([(i * 20) as u8, 10, 200])))
        })
    }

    /// Number of a picture, and its size and detections unless it failed.
    type Seen = (usize, Option<(Size, Vec<Detection>)>);

    fn run(batch: usize, stop_after: usize) -> Vec<Seen> {
        let (stop, mut seen) = (Stop::new(), Vec::new());
        let options = RunOptions { batch, keep_pictures: false };
        predictor()
            .run(&source(), options, &stop, &mut |o| {
                seen.push((o.index, o.result.ok().map(|p| (p.size, p.detections))));
                if seen.len() == stop_after {
                    stop.request();
                }
                Ok(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn every_batch_size_gives_the_same_detections() {
        let one = run(1, usize::MAX);
        assert_eq!(one.iter().map(|o| o.0).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
        assert!(one[5].1.is_none() && one.iter().filter(|o| o.1.is_some()).count() == 10);
        for batch in [2, 3, 8] {
            let mut many = run(batch, usize::MAX);
            many.sort_by_key(|o| o.0);
            assert_eq!(many, one, "batch {batch}");
        }
    }

    #[test]
    fn boxes_come_back_in_original_pixels() {
        for (index, found) in run(1, usize::MAX).into_iter().filter_map(|(i, r)| Some((i, r?))) {
            let (size, detections) = found;
            let whole = BoxXyxy::new(0.0, 0.0, size.width as f32, size.height as f32);
            assert_eq!(detections[0].bbox, whole, "picture {index}");
        }
    }

    #[test]
    fn a_stop_keeps_what_is_done() {
        assert_eq!(run(1, 3).len(), 3);
    }

    #[test]
    fn an_error_of_the_sink_ends_the_run() {
        let options = RunOptions { batch: 1, keep_pictures: true };
        let full =
            predictor().run(&source(), options, &Stop::new(), &mut |_| Err(Error::internal("disk full")));
        assert!(full.is_err());
    }

    #[test]
    fn pictures_of_different_padded_size_are_not_collated() {
        let p = Preprocess { scale: "64".parse().unwrap(), ..Preprocess::default() };
        let sample = |w, h| p.apply(&RgbImage::new(w, h));
        assert!(collate(vec![sample(40, 16), sample(16, 40)]).is_err());
        assert!(collate(vec![]).is_err());
        assert_eq!(collate(vec![sample(40, 16), sample(40, 16)]).unwrap().pixels.dims(), [2, 32, 64, 3]);
    }
}
