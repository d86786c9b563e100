//! COCO-format folders: find the annotation file and the pictures, read one picture with its objects at a time.
//!
//! Layouts, `S` being the split:
//! - official: `annotations/instances_S.json`, pictures in `S/`
//! - by kind: `annotations/instances_S.json` (or `coco/…`), pictures in `images/S/`, `images/` or `JPEGImages/`
//! - by split: `S/_annotations.coco.json` beside its pictures
//!
//! Every picture's path is resolved once, when the set is opened. A picture that is not there is counted, listed and an
//! error only when it is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use care_types::coco_json::{self, Annotation, Image};
use care_types::{DetTarget, ImageId, LabelMap, Size, TargetRules};

use crate::{Dataset, DecodeLimits, Error, Example, Funnel, Result, decode_path_within};

/// The splits that are tried, in this order, when none is named.
pub const DEFAULT_SPLITS: [&str; 5] = ["val2017", "val", "valid", "validation", "test"];

/// A data set described by one COCO annotation file.
#[derive(Debug)]
pub struct CocoDataset {
    annotation_file: PathBuf,
    split: Option<String>,
    truth: coco_json::Dataset,
    labels: LabelMap,
    /// Per picture of the file, in file order.
    files: Vec<Resolved>,
    /// Per picture, positions in `truth.annotations`, in file order.
    objects: Vec<Vec<usize>>,
    limits: DecodeLimits,
}

#[derive(Debug)]
enum Resolved {
    Found(PathBuf),
    /// Where it was expected first.
    Missing(PathBuf),
}

impl CocoDataset {
    /// Opens the `split` of the data set in `folder`; without one, the first of [`DEFAULT_SPLITS`] that is there.
    ///
    /// # Errors
    /// `Config` when the folder or the named split is not there; `Input` when the folder holds no COCO data set or the
    /// annotation file is malformed.
    pub fn open(folder: &Path, split: Option<&str>) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::config(format!("{}: no such folder", folder.display())));
        }
        let wanted: Vec<&str> = split.map_or_else(|| DEFAULT_SPLITS.to_vec(), |s| vec![s]);
        for split in &wanted {
            if let Some(file) = annotation_files(folder, split).into_iter().find(|f| f.is_file()) {
                let mut set = Self::from_file(&file, &picture_folders(folder, split, &file))?;
                set.split = Some((*split).to_owned());
                return Ok(set);
            }
        }
        Err(not_found(folder, split))
    }

    /// Opens an annotation file whose pictures lie in one of `folders` (tried in order, per picture).
    ///
    /// # Errors
    /// `Config` when there is no such file, `Input` when it is malformed or uses a picture id twice.
    pub fn from_file(annotation_file: &Path, folders: &[PathBuf]) -> Result<Self> {
        let truth = coco_json::read_dataset(annotation_file)?;
        let objects = group(&truth).map_err(|e| e.context(annotation_file.display()))?;
        let labels = LabelMap::from_categories(&truth.categories);
        let files = resolve(&truth.images, folders);
        let (annotation_file, limits) = (annotation_file.to_owned(), DecodeLimits::default());
        Ok(Self { annotation_file, split: None, truth, labels, files, objects, limits })
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

    /// The annotation file that was found.
    pub fn annotation_file(&self) -> &Path {
        &self.annotation_file
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

impl Dataset for CocoDataset {
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

fn annotation_files(folder: &Path, split: &str) -> Vec<PathBuf> {
    let instances = format!("instances_{split}.json");
    vec![
        folder.join("annotations").join(&instances),
        folder.join("coco").join(&instances),
        folder.join("annotations").join(format!("{split}.json")),
        folder.join(split).join("_annotations.coco.json"),
        folder.join(&instances),
    ]
}

fn picture_folders(folder: &Path, split: &str, annotation_file: &Path) -> Vec<PathBuf> {
    let mut folders = vec![
        folder.join(split),
        folder.join("images").join(split),
        folder.join("images"),
        folder.join("JPEGImages"),
        folder.to_owned(),
    ];
    folders.extend(annotation_file.parent().map(Path::to_owned));
    folders
}

fn not_found(folder: &Path, split: Option<&str>) -> Error {
    let there = splits_in(folder);
    let name = folder.display();
    match (split, there.is_empty()) {
        (_, true) => Error::input(format!(
            "{name}: holds no COCO data set; expected annotations/instances_SPLIT.json with pictures in SPLIT/ or \
             images/SPLIT/"
        )),
        (Some(split), false) => {
            Error::config(format!("{name}: has no split {split:?}; it has {}", there.join(", ")))
        }
        (None, false) => Error::config(format!(
            "{name}: has none of the splits {}; name one of {}",
            DEFAULT_SPLITS.join(", "),
            there.join(", ")
        )),
    }
}

/// The splits that a folder has annotation files for, sorted.
pub fn splits_in(folder: &Path) -> Vec<String> {
    let mut splits = std::collections::BTreeSet::new();
    for sub in ["annotations", "coco", "."] {
        for name in names_in(&folder.join(sub)) {
            let split = name.strip_prefix("instances_").and_then(|n| n.strip_suffix(".json"));
            splits.extend(split.map(str::to_owned));
        }
    }
    let by_split = |name: &String| folder.join(name).join("_annotations.coco.json").is_file();
    splits.extend(names_in(folder).into_iter().filter(by_split));
    splits.into_iter().collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
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

fn resolve(images: &[Image], folders: &[PathBuf]) -> Vec<Resolved> {
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
