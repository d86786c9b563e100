//! YOLO folders: `data.yaml` and one text file of labels per picture.
//!
//! `data.yaml` (or `dataset.yaml`, or the only `.yaml` there is) has `names` (a list or a map), and `train`, `val`, `test`: a
//! folder of pictures, a list of folders, or a text file of paths, relative to `path` or, if that is not there, to the YAML
//! file. The labels of `…/images/a.jpg` are in `…/labels/a.txt`, one object a line: `class cx cy w h` in shares of the
//! picture, or `class x y x y …`, a polygon. A picture without a file of labels has no objects, which is how these sets mark
//! background.

use crate::annotated::{AnnotatedSet, Resolved};
use crate::folder::is_picture;
use crate::{Error, Result};
use care_types::coco_json::{self, Annotation, Category, Image};
use care_types::{BoxXywh, CategoryId, ImageId, Segmentation, Size};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

/// How far outside the picture a share may be without a remark: annotation tools round.
const SLACK: f64 = 1e-3;
/// Remarks that are kept.
const REMARKS: usize = 20;

pub(crate) fn recognise(folder: &Path) -> Option<String> {
    let yaml = yaml_file(folder)?;
    Some(format!("YOLO: {}", yaml.display()))
}

/// `data.yaml`, `dataset.yaml`, or the only one.
fn yaml_file(folder: &Path) -> Option<PathBuf> {
    let usual = ["data.yaml", "data.yml", "dataset.yaml"].map(|n| folder.join(n));
    if let Some(found) = usual.into_iter().find(|f| f.is_file()) {
        return Some(found);
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    let is_yaml = |p: &PathBuf| p.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let mut found: Vec<PathBuf> = entries.filter(is_yaml).collect();
    if found.len() == 1 { found.pop() } else { None }
}

pub(crate) fn splits_in(folder: &Path) -> Result<Vec<String>> {
    let described = Described::read(folder)?;
    let named = |name: &&str| matches!(described.yaml[*name], Yaml::String(_) | Yaml::Array(_));
    Ok(["train", "val", "valid", "test"].into_iter().filter(named).map(str::to_owned).collect())
}

/// A `data.yaml`.
struct Described {
    file: PathBuf,
    yaml: Yaml,
}

impl Described {
    fn read(folder: &Path) -> Result<Self> {
        let file = yaml_file(folder)
            .ok_or_else(|| Error::input(format!("{}: has no data.yaml", folder.display())))?;
        let shown = file.display();
        let text = std::fs::read_to_string(&file)
            .map_err(|e| Error::input(format!("{shown}: cannot be read: {e}")))?;
        let documents = YamlLoader::load_from_str(&text)
            .map_err(|e| Error::input(format!("{shown}: is not YAML: {e}")))?;
        let yaml = documents.into_iter().next().filter(|y| y.as_hash().is_some());
        let yaml =
            yaml.ok_or_else(|| Error::input(format!("{shown}: expected keys such as names and train")))?;
        Ok(Self { file, yaml })
    }

    fn error(&self, message: String) -> Error {
        Error::input(format!("{}: {message}", self.file.display()))
    }

    /// Class names by index.
    fn names(&self) -> Result<Vec<String>> {
        let text = |y: &Yaml| match y {
            Yaml::String(s) | Yaml::Real(s) => Some(s.clone()),
            Yaml::Integer(i) => Some(i.to_string()),
            Yaml::Boolean(b) => Some(b.to_string()),
            _ => None,
        };
        let entries: Vec<(i64, Option<String>)> = match &self.yaml["names"] {
            Yaml::Array(list) => list.iter().enumerate().map(|(i, y)| (i as i64, text(y))).collect(),
            Yaml::Hash(map) => map.iter().map(|(k, v)| (k.as_i64().unwrap_or(-1), text(v))).collect(),
            _ => return Err(self.error("names: expected a list or a map of class names".into())),
        };
        let mut names = vec![None; entries.len()];
        for (index, name) in entries {
            let slot = usize::try_from(index).ok().and_then(|i| names.get_mut(i));
            *slot.ok_or_else(|| self.error(format!("names: expected keys 0, 1, 2 …, got {index}")))? = name;
        }
        let names: Option<Vec<String>> = names.into_iter().collect();
        let names = names.ok_or_else(|| self.error("names: expected a name for every class".into()))?;
        if names.is_empty() {
            return Err(self.error("names: no classes".into()));
        }
        if let Some(nc) = self.yaml["nc"].as_i64().filter(|&nc| nc != names.len() as i64) {
            return Err(self.error(format!("nc is {nc}, but there are {} names", names.len())));
        }
        Ok(names)
    }

    /// The pictures of a part, sorted within each entry.
    fn pictures(&self, split: &str) -> Result<Vec<PathBuf>> {
        let entries: Vec<&str> = match &self.yaml[split] {
            Yaml::String(path) => vec![path],
            Yaml::Array(list) => list.iter().filter_map(Yaml::as_str).collect(),
            _ => return Err(self.error(format!("{split}: expected a path or a list of paths"))),
        };
        let mut pictures = Vec::new();
        for entry in entries {
            let path = self.located(entry).ok_or_else(|| {
                self.error(format!(
                    "{split}: {entry}: no such folder or file (looked beside the YAML file, too)"
                ))
            })?;
            if path.is_dir() {
                pictures.extend(pictures_in(&path));
            } else {
                pictures.extend(listed(&path)?);
            }
        }
        if pictures.is_empty() {
            return Err(self.error(format!("{split}: has no pictures")));
        }
        Ok(pictures)
    }

    /// An entry relative to `path`, to the YAML file, or, as Roboflow writes them (`../train/images`), to a folder beside.
    fn located(&self, entry: &str) -> Option<PathBuf> {
        let here = self.file.parent().unwrap_or(Path::new("."));
        let base = self.yaml["path"].as_str().map_or(here.to_owned(), |p| here.join(p));
        let inside = entry.trim_start_matches("../");
        let tries = [base.join(entry), here.join(entry), here.join(inside)];
        tries.into_iter().find(|p| p.exists())
    }
}

fn pictures_in(folder: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    walk.filter(|e| e.file_type().is_file() && is_picture(e.path())).map(|e| e.into_path()).collect()
}

/// A text file of paths, relative to itself.
fn listed(file: &Path) -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::input(format!("{}: {e}", file.display())))?;
    let here = file.parent().unwrap_or(Path::new("."));
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| here.join(l)).collect())
}

pub(crate) fn open(folder: &Path, split: &str) -> Result<AnnotatedSet> {
    let described = Described::read(folder)?;
    let names = described.names()?;
    let pictures = described.pictures(split)?;
    let read: Vec<Read> =
        pictures.par_iter().map(|picture| read(picture, names.len())).collect::<Result<_>>()?;
    let category = |(i, name): (usize, &String)| Category {
        id: CategoryId(i as i64),
        name: name.clone(),
        ..Default::default()
    };
    let mut truth = coco_json::Dataset {
        categories: names.iter().enumerate().map(category).collect(),
        ..Default::default()
    };
    let (mut files, mut remarks) = (Vec::new(), Vec::new());
    for (i, (picture, read)) in pictures.iter().zip(read).enumerate() {
        let id = ImageId(i as i64 + 1);
        let Size { width, height } = read.size;
        let name = picture.strip_prefix(folder).unwrap_or(picture);
        truth.images.push(Image {
            id,
            width,
            height,
            file_name: name.display().to_string(),
            ..Default::default()
        });
        files.push(match picture.is_file() {
            true => Resolved::Found(picture.clone()),
            false => Resolved::Missing(picture.clone()),
        });
        remarks.extend(read.remarks);
        for object in read.objects {
            let annotation = Annotation {
                id: truth.annotations.len() as i64 + 1,
                image_id: id,
                category_id: CategoryId(object.class as i64),
                bbox: Some(object.bbox),
                area: Some(object.bbox.area()),
                segmentation: object.polygon.map(|p| Segmentation::Polygons(vec![p])),
                ..Default::default()
            };
            truth.annotations.push(annotation);
        }
    }
    let more = remarks.len().saturating_sub(REMARKS);
    remarks.truncate(REMARKS);
    if more > 0 {
        remarks.push(format!("and {more} more of this kind"));
    }
    Ok(AnnotatedSet::new(&described.file, truth, files)?.with_split(split).with_remarks(remarks))
}

/// What is known of one picture.
struct Read {
    size: Size,
    objects: Vec<Object>,
    remarks: Vec<String>,
}

struct Object {
    class: usize,
    bbox: BoxXywh,
    polygon: Option<Vec<f64>>,
}

fn read(picture: &Path, classes: usize) -> Result<Read> {
    let labels = label_file(picture);
    let mut out = Read { size: Size::new(0, 0), objects: Vec::new(), remarks: Vec::new() };
    match crate::image_io::upright_size(picture) {
        Ok(size) => out.size = size,
        // reported again, with the reason, when the picture is asked for
        Err(_) => return Ok(out),
    }
    let Ok(text) = std::fs::read_to_string(&labels) else {
        if labels.exists() {
            return Err(Error::input(format!("{}: cannot be read as text", labels.display())));
        }
        return Ok(out);
    };
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let place = || format!("{}:{}", labels.display(), i + 1);
        let object =
            object(line, classes, out.size).map_err(|what| Error::input(format!("{}: {what}", place())))?;
        if object.1 {
            out.remarks.push(format!("{}: reaches outside the picture and is clipped to it", place()));
        }
        out.objects.push(object.0);
    }
    Ok(out)
}

/// `…/images/…/a.jpg` → `…/labels/…/a.txt`, the last folder of that name.
fn label_file(picture: &Path) -> PathBuf {
    let mut parts: Vec<_> = picture.components().map(|c| c.as_os_str().to_owned()).collect();
    let folders = parts.len().saturating_sub(1);
    if let Some(at) = parts[..folders].iter().rposition(|p| p == "images") {
        parts[at] = "labels".into();
    }
    parts.iter().collect::<PathBuf>().with_extension("txt")
}

/// One line, and whether it reaches outside the picture.
fn object(line: &str, classes: usize, size: Size) -> std::result::Result<(Object, bool), String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let class: usize =
        fields[0].parse().map_err(|_| format!("expected a class number first, got {:?}", fields[0]))?;
    if class >= classes {
        return Err(format!("class {class}, but data.yaml names {classes} classes (0 to {})", classes - 1));
    }
    let values: Vec<f64> = fields[1..]
        .iter()
        .map(|f| {
            f.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| format!("{f:?} is not a number"))
        })
        .collect::<std::result::Result<_, _>>()?;
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let (x0, y0, x1, y1, polygon) = match values.as_slice() {
        [cx, cy, bw, bh] => {
            if *bw < 0.0 || *bh < 0.0 {
                return Err(format!(
                    "width {bw} and height {bh}: expected shares of the picture, at least 0"
                ));
            }
            (cx - bw / 2.0, cy - bh / 2.0, cx + bw / 2.0, cy + bh / 2.0, None)
        }
        points if points.len() >= 6 && points.len() % 2 == 0 => {
            let ends = |offset: usize| {
                let axis = points.iter().skip(offset).step_by(2);
                (axis.clone().fold(f64::MAX, |a, b| a.min(*b)), axis.fold(f64::MIN, |a, b| a.max(*b)))
            };
            let ((x0, x1), (y0, y1)) = (ends(0), ends(1));
            let pixels = points.chunks(2).flat_map(|p| [p[0] * w, p[1] * h]).collect();
            (x0, y0, x1, y1, Some(pixels))
        }
        other => {
            return Err(format!(
                "{} values after the class: expected 4 (cx cy w h) or a polygon of at least 3 points",
                other.len()
            ));
        }
    };
    let ends = [x0, y0, x1, y1];
    if ends.iter().any(|v| v.abs() > 10.0) {
        return Err(format!("coordinates up to {:.1}: expected shares of the picture, 0 to 1", x1.max(y1)));
    }
    let outside = ends.iter().any(|v| !(-SLACK..=1.0 + SLACK).contains(v));
    let [x0, y0, x1, y1] = ends.map(|v| v.clamp(0.0, 1.0));
    let bbox = BoxXywh::new(x0 * w, y0 * h, (x1 - x0) * w, (y1 - y0) * h);
    Ok((Object { class, bbox, polygon }, outside))
}
