//! A data set of the size of COCO val2017, as JSON files: 5,000 pictures, 80 categories, 36,781 objects (polygons; one in
//! a hundred a crowd, as run lengths), and results of 500,000 boxes and of 180,000 masks (compressed run lengths).
//!
//! Written as the usual programs write them: ids with holes, annotations in no order, results picture by picture with
//! the digits of an `f32`, a space after commas and colons.
use crate::detections::detections;
use crate::draws::{Blob, Draws};
use crate::truth::{Truth, truth};
use care_types::{LabelMap, Result};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const PICTURES: usize = 5_000;
const OBJECTS: usize = 36_781;
const BOXES: usize = 500_000;
const MASKS: usize = 180_000;

/// The files of a set.
pub(crate) struct Files {
    pub(crate) truth: PathBuf,
    pub(crate) boxes: PathBuf,
    pub(crate) masks: PathBuf,
}

impl Files {
    pub(crate) fn at(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Files { truth: file("gt.json"), boxes: file("boxes.json"), masks: file("masks.json") }
    }
}

pub(crate) struct Picture {
    pub(crate) id: usize,
    /// Width and height.
    pub(crate) size: [u32; 2],
    /// Class and outline.
    pub(crate) objects: Vec<(usize, Blob)>,
}

impl Picture {
    pub(crate) fn extent(&self) -> [f64; 2] {
        self.size.map(f64::from)
    }
}

/// Writes a set to a folder; the same one each time.
pub(crate) fn write(folder: &Path) -> Result<Files> {
    std::fs::create_dir_all(folder).map_err(|e| crate::failed(folder, &e))?;
    let files = Files::at(folder);
    let mut draws = Draws::new(20_17);
    let pictures = pictures(&mut draws);
    let ids: Vec<i64> = LabelMap::coco().entries().iter().map(|l| l.id.0).collect();
    let truth = truth(&pictures, &mut draws)?;
    write_value(&files.truth, &truth)?;
    let boxes = detections(&pictures, &mut draws, BOXES / PICTURES);
    write_list(&files.boxes, boxes.map(|d| Ok(d.as_box(&ids))))?;
    let masks = detections(&pictures, &mut draws, MASKS / PICTURES);
    write_list(&files.masks, masks.map(|d| d.as_mask(&ids)))?;
    Ok(files)
}

fn pictures(draws: &mut Draws) -> Vec<Picture> {
    let sizes = [[640, 480], [640, 480], [480, 640], [640, 427], [500, 375], [640, 640]];
    let mut id = 100;
    let mut pictures: Vec<Picture> = (0..PICTURES)
        .map(|_| {
            id += 1 + draws.below(230);
            Picture { id, size: sizes[draws.below(sizes.len())], objects: Vec::new() }
        })
        .collect();
    // A few pictures with very many objects, and one in a hundred without any.
    for _ in 0..OBJECTS {
        let at = PICTURES / 100 + (draws.unit().powf(1.8) * (PICTURES - PICTURES / 100) as f64) as usize;
        let size = pictures[at].extent();
        let object = (draws.class(80), draws.blob(size));
        pictures[at].objects.push(object);
    }
    draws.shuffle(&mut pictures);
    pictures
}

/// Records between brackets, a comma and a space after each.
fn write_list(path: &Path, records: impl Iterator<Item = Result<String>>) -> Result<()> {
    let failed = |e: std::io::Error| crate::failed(path, &e);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let mut before = "[";
    for record in records {
        write!(file, "{before}{}", record?).map_err(failed)?;
        before = ", ";
    }
    file.write_all(b"]").and_then(|()| file.flush()).map_err(failed)
}

fn write_value(path: &Path, value: &Truth) -> Result<()> {
    let failed = |e: std::io::Error| crate::failed(path, &e);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let mut json = Serializer::with_formatter(&mut file, Spaced);
    value.serialize(&mut json).map_err(|e| failed(e.into()))?;
    file.flush().map_err(failed)
}

/// With a space after commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> std::io::Result<()> {
        self.begin_array_value(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> std::io::Result<()> {
        to.write_all(b": ")
    }
}
