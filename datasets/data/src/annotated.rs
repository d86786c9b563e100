//! A detection data set in memory: COCO-shaped records and the paths of their pictures, whichever format they came from.
//!
//! Every picture's path is resolved once, when the set is opened. A picture that is not there is counted, listed and an
//! error only when it is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use care_types::coco_json::{self, Annotation, Image};
use care_types::{DetTarget, ImageId, LabelMap, Size, TargetRules};
use sha2::{Digest, Sha256};

use crate::folder::is_picture;
use crate::{Dataset, DecodeLimits, Error, Example, Funnel, Result, decode_path_within};

/// Pictures with annotated objects.
#[derive(Clone, Debug)]
pub struct AnnotatedSet {
    /// The annotation file, or the folder that holds one file per picture.
    annotation_file: PathBuf,
    split: Option<String>,
    truth: coco_json::Dataset,
    labels: LabelMap,
    /// Per picture of the file, in file order.
    files: Vec<Resolved>,
    /// Per picture, positions in `truth.annotations`, in file order.
    objects: Vec<Vec<usize>>,
    limits: DecodeLimits,
    /// What a reader found odd and went on with.
    remarks: Vec<String>,
}

/// Where a picture is.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    Found(PathBuf),
    /// Where it was expected first.
    Missing(PathBuf),
}

impl AnnotatedSet {
    /// A set of records and the files of their pictures, in the same order.
    ///
    /// # Errors
    /// `Input` when a picture id is used twice.
    pub(crate) fn new(source: &Path, truth: coco_json::Dataset, files: Vec<Resolved>) -> Result<Self> {
        let objects = group(&truth).map_err(|e| e.context(source.display()))?;
        let labels = LabelMap::from_categories(&truth.categories);
        let (annotation_file, limits) = (source.to_owned(), DecodeLimits::default());
        Ok(Self { annotation_file, split: None, truth, labels, files, objects, limits, remarks: Vec::new() })
    }

    pub(crate) fn with_split(mut self, split: &str) -> Self {
        self.split = Some(split.to_owned());
        self
    }

    pub(crate) fn with_remarks(mut self, remarks: Vec<String>) -> Self {
        self.remarks = remarks;
        self
    }

    /// What the reader found odd and went on with, for people.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The pictures at these positions, in this order, with their objects.
    pub fn subset(&self, positions: &[usize]) -> Self {
        let mut part = Self { files: Vec::new(), objects: Vec::new(), ..self.clone() };
        part.truth.images.clear();
        part.truth.annotations.clear();
        for &i in positions {
            part.files.push(self.files[i].clone());
            part.truth.images.push(self.truth.images[i].clone());
            let first = part.truth.annotations.len();
            part.truth.annotations.extend(self.annotations(i).cloned());
            part.objects.push((first..part.truth.annotations.len()).collect());
        }
        part
    }

    /// The pictures that are trained on: those whose file is there and that mmdetection's recipes use, and with
    /// `keep_empty` those without objects, too.
    pub fn training_indices(&self, keep_empty: bool) -> Vec<usize> {
        let used = |i: &usize| {
            matches!(self.files[*i], Resolved::Found(_))
                && (keep_empty
                    || TargetRules.used_for_training(self.image(*i), self.annotations(*i), &self.labels))
        };
        (0..self.files.len()).filter(used).collect()
    }

    /// SHA-256 over names and sizes of pictures, their objects and the classes: changes when the records do. (Pixels are
    /// not read.)
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: String| hash.update(text + "\n");
        for label in self.labels.entries() {
            add(format!("class {} {}", label.id, label.name));
        }
        for (i, image) in self.truth.images.iter().enumerate() {
            let there = if matches!(self.files[i], Resolved::Found(_)) { "" } else { ", file missing" };
            let Image { id, width, height, file_name, .. } = image;
            add(format!("picture {id} {file_name} {width}x{height}{there}"));
            for a in self.annotations(i) {
                let (bbox, seg) = (a.bbox.map(|b| b.to_array()), &a.segmentation);
                add(format!("object {} {bbox:?} {} {} {seg:?}", a.category_id, a.iscrowd, a.ignore));
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The same set labelled as a model does: classes in the order of `names`, other categories left out.
    ///
    /// # Errors
    /// `Input` when the set has no category of one of the names.
    pub fn with_classes<S: AsRef<str>>(mut self, names: &[S]) -> Result<Self> {
        self.labels = LabelMap::from_categories_named(&self.truth.categories, names)
            .map_err(|e| e.context(self.annotation_file.display()))?;
        Ok(self)
    }

    /// The same set with other limits for decoding.
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Objects of each class, crowds left out, in class order.
    pub fn objects_per_class(&self) -> Vec<usize> {
        let mut counts = vec![0; self.labels.len()];
        let objects = self.truth.annotations.iter().filter(|a| !a.iscrowd);
        objects.filter_map(|a| self.labels.index_of_id(a.category_id)).for_each(|class| counts[class.0] += 1);
        counts
    }

    /// Whether any object has a mask.
    pub fn has_masks(&self) -> bool {
        let usable = |a: &Annotation| a.segmentation.as_ref().is_some_and(|s| s.usable().is_some());
        self.truth.annotations.iter().any(|a| !a.iscrowd && usable(a))
    }

    /// The annotation file that was found.
    pub fn annotation_file(&self) -> &Path {
        &self.annotation_file
    }

    /// Where the records come from, for messages.
    pub fn name(&self) -> String {
        self.annotation_file.display().to_string()
    }

    /// The split, when the set was opened by folder.
    pub fn split(&self) -> Option<&str> {
        self.split.as_deref()
    }

    /// The annotation file's records, for scoring.
    pub fn ground_truth(&self) -> &coco_json::Dataset {
        &self.truth
    }

    /// The record of picture `i`.
    pub fn image(&self, i: usize) -> &Image {
        &self.truth.images[i]
    }

    /// The annotations of picture `i`, in file order.
    pub fn annotations(&self, i: usize) -> impl Iterator<Item = &Annotation> {
        self.objects[i].iter().map(|&a| &self.truth.annotations[a])
    }

    /// The file of picture `i`.
    ///
    /// # Errors
    /// `Input` when it was not there when the set was opened.
    pub fn path(&self, i: usize) -> Result<&Path> {
        match &self.files[i] {
            Resolved::Found(path) => Ok(path),
            Resolved::Missing(path) => {
                let file = self.annotation_file.display();
                Err(Error::input(format!("{}: no such file, but {file} lists it", path.display())))
            }
        }
    }

    /// The listed pictures whose files are not there.
    pub fn missing(&self) -> Vec<&Path> {
        self.files
            .iter()
            .filter_map(|file| match file {
                Resolved::Missing(path) => Some(path.as_path()),
                Resolved::Found(_) => None,
            })
            .collect()
    }

    /// How many pictures and objects there are and where some are lost.
    pub fn funnel(&self) -> Funnel {
        let mut funnel = Funnel {
            images: self.truth.images.len(),
            missing_files: self.missing().len(),
            annotations: self.truth.annotations.len(),
            ..Funnel::default()
        };
        let mut of_listed_pictures = 0;
        for (i, image) in self.truth.images.iter().enumerate() {
            let known =
                self.annotations(i).filter(|a| self.labels.index_of_id(a.category_id).is_some()).count();
            let target = TargetRules.target(image, self.annotations(i), &self.labels);
            of_listed_pictures += self.objects[i].len();
            funnel.unknown_category += self.objects[i].len() - known;
            // Without a size in the file nothing can be said about what lies outside.
            funnel.unusable += if image.size().area() > 0 { known - target.len() } else { 0 };
            funnel.without_objects += usize::from(known == 0);
        }
        funnel.unknown_image = funnel.annotations - of_listed_pictures;
        funnel.crowds = self.truth.annotations.iter().filter(|a| a.iscrowd).count();
        funnel
    }

    fn target(&self, i: usize, size: Size) -> DetTarget {
        let image = Image { width: size.width, height: size.height, ..self.image(i).clone() };
        TargetRules.target(&image, self.annotations(i), &self.labels)
    }
}

impl Dataset for AnnotatedSet {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn example(&self, i: usize) -> Result<Example> {
        let path = self.path(i)?;
        let picture = decode_path_within(path, &self.limits)?;
        let (listed, size) = (self.image(i).size(), Size::new(picture.width(), picture.height()));
        if listed.area() > 0 && listed != size {
            return Err(Error::input(format!(
                "{}: is {}x{} pixels, but {} says {}x{} (was it resized or turned after it was annotated?)",
                path.display(),
                size.width,
                size.height,
                self.annotation_file.display(),
                listed.width,
                listed.height
            )));
        }
        let Image { id, file_name, .. } = self.image(i);
        Ok(Example { id: *id, file_name: file_name.clone(), picture, target: self.target(i, size) })
    }

    fn labels(&self) -> &LabelMap {
        &self.labels
    }
}

fn group(truth: &coco_json::Dataset) -> Result<Vec<Vec<usize>>> {
    let mut position: BTreeMap<ImageId, usize> = BTreeMap::new();
    for (i, image) in truth.images.iter().enumerate() {
        if let Some(before) = position.insert(image.id, i) {
            return Err(Error::input(format!(
                "picture id {} is used twice: by {:?} and {:?}",
                image.id, truth.images[before].file_name, image.file_name
            )));
        }
    }
    let mut objects = vec![Vec::new(); truth.images.len()];
    for (a, annotation) in truth.annotations.iter().enumerate() {
        if let Some(&i) = position.get(&annotation.image_id) {
            objects[i].push(a);
        }
    }
    Ok(objects)
}

/// The file of each picture, tried in each folder.
pub(crate) fn resolve(images: &[Image], folders: &[PathBuf]) -> Vec<Resolved> {
    let expected = folders.iter().find(|f| f.is_dir()).or(folders.first()).cloned().unwrap_or_default();
    let mut last = 0; // pictures of one set mostly lie together
    let mut find = |image: &Image| {
        let name = Path::new(&image.file_name);
        let bare = name.file_name().map(Path::new).unwrap_or(name);
        let order = std::iter::once(last).chain(0..folders.len());
        for k in order.filter(|&k| k < folders.len()) {
            // Some files name the folder as well ("train2017/1.jpg"), which may be the folder at hand.
            for name in [name, bare] {
                let path = folders[k].join(name);
                if path.is_file() {
                    last = k;
                    return Resolved::Found(path);
                }
            }
        }
        Resolved::Missing(expected.join(name))
    };
    images.iter().map(&mut find).collect()
}

/// The file of each picture whose name is known without its ending; the names are completed.
pub(crate) fn resolve_stems(images: &mut [Image], folders: &[PathBuf]) -> Vec<Resolved> {
    let mut by_stem: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| is_picture(p)).collect();
        paths.sort();
        for path in paths {
            let Some(stem) = path.file_stem().and_then(|s| s.to_str()) else { continue };
            by_stem.entry(stem.to_owned()).or_insert(path);
        }
    }
    let expected = folders.iter().find(|f| f.is_dir()).or(folders.first()).cloned().unwrap_or_default();
    let mut find = |image: &mut Image| match by_stem.get(&image.file_name) {
        Some(path) => {
            image.file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            Resolved::Found(path.clone())
        }
        None => Resolved::Missing(expected.join(format!("{}.jpg", image.file_name))),
    };
    images.iter_mut().map(&mut find).collect()
}
