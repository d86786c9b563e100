//! An evaluator as bytes: see [`care_types::state`] for the file, and below for its body.
use super::{Evaluator, Picture, Record, Source, count, finish};
use crate::funnel::Funnel;
use crate::matching::Outcomes;
use crate::{Areas, Error, Params, Result};
use care_types::coco_json::{Category, Frequency};
use care_types::state::{StateKind, StateReader, StateWriter, read_state, write_state};
use care_types::{CategoryId, ImageId};
use std::collections::BTreeMap;
use std::io::{Read, Write};

impl Evaluator {
    /// The state, to be kept or sent: parameters, categories, source, counts, and the record of each picture, with a
    /// version and a checksum. Evaluators of the same pictures have the same bytes, however they came to them.
    ///
    /// With COCO's parameters, about 11 bytes per detection on data like val2017 with 100 detections per picture, and 2
    /// KB for the rest; a test holds it below 24.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = StateWriter::new(StateKind::Detections);
        write_params(&mut body, &self.params);
        body.list(self.categories.iter(), |to, c| {
            to.signed(c.id.0);
            to.text(&c.name);
            to.text(c.frequency.map_or("", Frequency::letter));
        });
        body.text(&self.source.ground_truth);
        body.text(&self.source.results);
        body.number(match self.areas {
            None => 0,
            Some(Areas::OfMasks) => 1,
            Some(Areas::OfBoxes) => 2,
            Some(Areas::OfJoints) => 3,
        });
        count::sums(&mut self.funnel.clone()).into_iter().for_each(|n| body.number(*n as u64));
        let mut before = 0i64;
        body.list(self.pictures.iter(), |to, (&id, picture)| {
            to.signed(id.wrapping_sub(before));
            before = id;
            to.bytes(&picture.record.0);
            to.bytes(picture.pycocotools.as_ref().map_or(&[], |record| &record.0));
        });
        body.seal()
    }

    /// Writes [`Self::to_bytes`].
    ///
    /// # Errors
    /// `Internal` when writing fails.
    pub fn write_to(&self, to: impl Write) -> Result<()> {
        write_state(&self.to_bytes(), to)
    }

    /// The evaluator with this state.
    ///
    /// # Errors
    /// `Input` for anything else: a file of another kind or a newer version, a part of a file, a damaged file; the
    /// message says which, and where it can, what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut body = StateReader::open(StateKind::Detections, bytes)?;
        read_body(&mut body).map_err(|e| Error::input(format!("damaged: {e}")))
    }

    /// Reads [`Self::from_bytes`] to the end.
    ///
    /// # Errors
    /// `Input`, as there, and when reading fails.
    pub fn read_from(from: impl Read) -> Result<Self> {
        Self::from_bytes(&read_state(StateKind::Detections, from)?)
    }
}

fn write_params(to: &mut StateWriter, params: &Params) {
    // Named one by one, so that a new parameter is not forgotten.
    let Params {
        iou_type,
        benchmark,
        quirks,
        iou_thrs,
        rec_thrs,
        max_dets,
        area_rng,
        area_rng_lbl,
        cat_ids,
        img_ids,
        use_cats,
        kpt_oks_sigmas,
        dilation_ratio,
    } = params;
    to.text(iou_type.as_str());
    to.text(benchmark.as_str());
    to.number((*quirks).into());
    to.list(iou_thrs.iter(), |to, v| to.float(*v));
    to.list(rec_thrs.iter(), |to, v| to.float(*v));
    to.list(max_dets.iter(), |to, n| to.number(*n as u64));
    to.list(area_rng.iter(), |to, [low, high]| {
        to.float(*low);
        to.float(*high);
    });
    to.list(area_rng_lbl.iter(), |to, name| to.text(name));
    // An empty list means the same as none.
    to.list(cat_ids.as_deref().unwrap_or_default().iter(), |to, id| to.signed(id.0));
    to.list(img_ids.as_deref().unwrap_or_default().iter(), |to, id| to.signed(id.0));
    to.number((*use_cats).into());
    to.list(kpt_oks_sigmas.iter(), |to, v| to.float(*v));
    to.float(*dilation_ratio);
}

fn read_params(from: &mut StateReader<'_>) -> Result<Params> {
    Ok(Params {
        iou_type: from.text("iouType")?.parse()?,
        benchmark: from.text("benchmark")?.parse()?,
        quirks: from.flag("pycocotools quirks")?,
        iou_thrs: from.list("iouThrs", StateReader::float)?,
        rec_thrs: from.list("recThrs", StateReader::float)?,
        max_dets: from.list("maxDets", StateReader::size)?,
        area_rng: from.list("areaRng", |from, name| Ok([from.float(name)?, from.float(name)?]))?,
        area_rng_lbl: from.list("areaRngLbl", StateReader::text)?,
        cat_ids: Some(from.list("catIds", |from, name| from.signed(name).map(CategoryId))?)
            .filter(|ids| !ids.is_empty()),
        img_ids: Some(from.list("imgIds", |from, name| from.signed(name).map(ImageId))?)
            .filter(|ids| !ids.is_empty()),
        use_cats: from.flag("useCats")?,
        kpt_oks_sigmas: from.list("kpt_oks_sigmas", StateReader::float)?,
        dilation_ratio: from.float("dilation_ratio")?,
    })
}

fn read_body(from: &mut StateReader<'_>) -> Result<Evaluator> {
    let params = read_params(from)?;
    let categories = from.list("categories", |from, name| {
        let (id, name, letter) = (CategoryId(from.signed(name)?), from.text(name)?, from.text("frequency")?);
        let frequency = Frequency::from_letter(&letter);
        match frequency.is_some() || letter.is_empty() {
            true => Ok(Category { id, name, frequency, ..Category::default() }),
            false => Err(Error::input(format!("frequency: {letter:?}, not r, c or f"))),
        }
    })?;
    let source = Source { ground_truth: from.text("ground truth")?, results: from.text("results")? };
    let areas = match from.number("areas")? {
        0 => None,
        1 => Some(Areas::OfMasks),
        2 => Some(Areas::OfBoxes),
        3 => Some(Areas::OfJoints),
        n => return Err(Error::input(format!("areas: {n}, not 0 to 3"))),
    };
    let mut funnel = Funnel::default();
    for n in count::sums(&mut funnel) {
        // Less than all sums together can hold, so that adding up never goes over.
        *n = from.size("counts").and_then(|n| match n {
            0..=MOST_RECORDS => Ok(n),
            _ => Err(Error::input(format!("counts: {n} records"))),
        })?;
    }
    let mut evaluator = Evaluator::new(&categories, &params)?.with_source(source);
    evaluator.pictures = read_pictures(from, &evaluator)?;
    from.end()?;
    (evaluator.funnel, evaluator.areas) = (funnel, areas);
    Ok(evaluator)
}

/// Sums of a million such files are still numbers of 64 bits (on machines of 32 bits, of one).
const MOST_RECORDS: usize = if usize::BITS > 32 { 1 << 44 } else { 1 << 31 };

fn read_pictures(from: &mut StateReader<'_>, evaluator: &Evaluator) -> Result<BTreeMap<i64, Picture>> {
    let (layout, mut cell) = (evaluator.layout(), Outcomes::new(&evaluator.rules));
    let mut check = |record: Record, id: i64| match record.read(layout, &mut cell, |_, _| ()) {
        Some(_) => Ok(record),
        None => Err(finish::damaged(id)),
    };
    let mut before = 0i64;
    let mut first = true;
    let pictures = from.list("pictures", |from, name| {
        let id = before.wrapping_add(from.signed(name)?);
        if !first && id <= before {
            return Err(Error::input(format!("pictures: id {id} after {before}")));
        }
        (before, first) = (id, false);
        let record = check(Record(from.bytes("record")?.into()), id)?;
        let pycocotools = match from.bytes("record")? {
            [] => None,
            bytes => Some(check(Record(bytes.into()), id)?),
        };
        Ok((id, Picture { record, pycocotools }))
    })?;
    Ok(pictures.into_iter().collect())
}
