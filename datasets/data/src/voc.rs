//! Pascal VOC folders: one XML file per picture.
//!
//! `Annotations/NAME.xml`, pictures in `JPEGImages/` (or `images/`, or beside the XML), parts listed in
//! `ImageSets/Main/S.txt`; without lists there is one part, `train`, with everything. The XML's `path` and `folder` point to
//! the annotator's disk and are not used: the picture has the name of the XML file.
//!
//! Boxes are taken as continuous pixel coordinates, `xmin ymin xmax ymax` as they stand (width = xmax − xmin), which is what
//! labelImg, CVAT and Roboflow write. The original VOC counted pixels from 1 and included the last one; that is half a pixel
//! of difference. `difficult` objects are ignored in training and scoring, as VOC does. Classes are all names that occur in
//! the folder, in alphabetical order, so that every part has the same.

use crate::annotated::{AnnotatedSet, resolve_stems};
use crate::{Error, Result};
use care_types::coco_json::{self, Annotation, Category, Image};
use care_types::{BoxXywh, CategoryId, ImageId};
use rayon::prelude::*;
use roxmltree::{Document, Node};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The part without lists.
const WHOLE: &str = "train";

pub(crate) fn recognise(folder: &Path) -> Option<String> {
    let count = xml_stems(folder).len();
    (count > 0).then(|| format!("Pascal VOC: {count} XML files in {}", folder.join("Annotations").display()))
}

/// The lists in `ImageSets/Main` (per-class lists such as `cat_train` left out); [`WHOLE`] when there are none.
pub(crate) fn splits_in(folder: &Path) -> Vec<String> {
    let lists = names(&folder.join("ImageSets/Main"), "txt");
    let whole: Vec<String> = lists.iter().filter(|l| !is_class_list(l, &lists)).cloned().collect();
    if whole.is_empty() { vec![WHOLE.to_owned()] } else { whole }
}

/// VOC has lists per class, `cat_train`, beside the whole ones.
fn is_class_list(name: &str, all: &[String]) -> bool {
    name.rsplit_once('_').is_some_and(|(_, part)| all.iter().any(|other| other == part))
}

pub(crate) fn open(folder: &Path, split: &str) -> Result<AnnotatedSet> {
    let every = xml_stems(folder);
    let read: Vec<Read> = every
        .par_iter()
        .map(|stem| read(&folder.join("Annotations").join(format!("{stem}.xml"))))
        .collect::<Result<_>>()?;
    let names: BTreeSet<&str> = read.iter().flat_map(|r| r.objects.iter().map(|o| o.name.as_str())).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let listed = listed(folder, split, &every)?;
    let mut truth = coco_json::Dataset {
        categories: names
            .iter()
            .enumerate()
            .map(|(i, name)| Category {
                id: CategoryId(i as i64 + 1),
                name: (*name).to_owned(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let mut remarks = Vec::new();
    for (i, stem) in listed.iter().enumerate() {
        let id = ImageId(i as i64 + 1);
        let Ok(at) = every.binary_search(stem) else {
            remarks
                .push(format!("{stem}: is listed, but has no XML file: taken as a picture without objects"));
            truth.images.push(Image { id, file_name: stem.clone(), ..Default::default() });
            continue;
        };
        let Read { width, height, objects } = &read[at];
        let (width, height) = (*width, *height);
        truth.images.push(Image { id, width, height, file_name: stem.clone(), ..Default::default() });
        for object in objects {
            let category = names.binary_search(&object.name.as_str()).unwrap_or(0);
            truth.annotations.push(Annotation {
                id: truth.annotations.len() as i64 + 1,
                image_id: id,
                category_id: CategoryId(category as i64 + 1),
                bbox: Some(object.bbox),
                area: Some(object.bbox.area()),
                // what COCO calls a crowd: neither to be found nor background
                iscrowd: object.difficult,
                ..Default::default()
            });
        }
    }
    let folders = ["JPEGImages", "images", "Annotations", "."].map(|f| folder.join(f));
    let files = resolve_stems(&mut truth.images, &folders);
    Ok(AnnotatedSet::new(&folder.join("Annotations"), truth, files)?.with_split(split).with_remarks(remarks))
}

/// What one XML file says.
struct Read {
    width: u32,
    height: u32,
    objects: Vec<Object>,
}

struct Object {
    name: String,
    bbox: BoxXywh,
    difficult: bool,
}

fn read(path: &Path) -> Result<Read> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|e| Error::input(format!("{shown}: cannot be read: {e}")))?;
    let document = Document::parse(&text).map_err(|e| Error::input(format!("{shown}: is not XML: {e}")))?;
    let root = document.root_element();
    // some tools write no size or zeros: the picture will tell
    let side = |name| child(root, "size").and_then(|s| number(s, name)).map_or(0, |v| v.max(0.0) as u32);
    let objects = root.children().filter(|n| n.has_tag_name("object"));
    let objects = objects.map(|node| object(node, &document).map_err(|e| e.context(&shown)));
    Ok(Read { width: side("width"), height: side("height"), objects: objects.collect::<Result<_>>()? })
}

fn object(node: Node<'_, '_>, document: &Document<'_>) -> Result<Object> {
    let line = document.text_pos_at(node.range().start).row;
    let missing = |what: &str| Error::input(format!("line {line}: the object has no {what}"));
    let name = child(node, "name").and_then(|n| n.text()).map(str::trim).filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| missing("name"))?.to_owned();
    let bndbox = child(node, "bndbox").ok_or_else(|| missing("bndbox"))?;
    let mut ends = [0.0; 4];
    for (end, key) in ends.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        *end =
            number(bndbox, key).filter(|v| v.is_finite()).ok_or_else(|| missing(&format!("number {key}")))?;
    }
    let [x0, y0, x1, y1] = ends;
    let difficult = number(node, "difficult").is_some_and(|v| v != 0.0);
    Ok(Object { name, bbox: BoxXywh::new(x0, y0, x1 - x0, y1 - y0), difficult })
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|n| n.has_tag_name(name))
}

fn number(node: Node<'_, '_>, name: &str) -> Option<f64> {
    child(node, name)?.text()?.trim().parse().ok()
}

/// The names of a list; everything without one.
fn listed(folder: &Path, split: &str, every: &[String]) -> Result<Vec<String>> {
    let list: PathBuf = folder.join("ImageSets/Main").join(format!("{split}.txt"));
    if !list.is_file() {
        return Ok(every.to_vec());
    }
    let text =
        std::fs::read_to_string(&list).map_err(|e| Error::input(format!("{}: {e}", list.display())))?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.map(|name| name.trim_end_matches(".jpg").trim_end_matches(".xml").to_owned()).collect())
}

fn xml_stems(folder: &Path) -> Vec<String> {
    names(&folder.join("Annotations"), "xml")
}

/// Names without the ending of a folder's files that have it, sorted.
fn names(folder: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|e| {
            let path = e.path();
            let fits = path.extension().is_some_and(|x| x.eq_ignore_ascii_case(ending));
            fits.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
        })
        .collect();
    names.sort();
    names
}
