//! The demo set as files: a folder that any COCO tool can read, or one of pictures and label maps.

use std::io::Cursor;
use std::path::Path;

use care_types::Size;
use image::{GrayImage, ImageBuffer, ImageFormat, PixelWithColorType};
use rayon::prelude::*;

use super::{DemoDataset, DemoSemantic, DemoSplit};
use crate::semantic::{DATASET_FILE, SegDataset};
use crate::{Dataset, Error, Result};

/// Writes both splits under `folder`: `annotations/instances_{train,val}.json` and PNG pictures in `train/` and `val/`. Files of
/// the same names are replaced. `progress` is called once per written picture, from several threads.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn write(folder: &Path, progress: &(dyn Fn() + Sync)) -> Result<()> {
    DemoSplit::ALL.into_iter().try_for_each(|split| {
        let set = DemoDataset::new(split);
        write_first(&set, set.len(), folder, progress)
    })
}

/// Writes the first `count` pictures of a split and their annotation file.
pub(super) fn write_first(
    set: &DemoDataset,
    count: usize,
    folder: &Path,
    progress: &(dyn Fn() + Sync),
) -> Result<()> {
    let (pictures, annotations) = (folder.join(set.split().name()), folder.join("annotations"));
    create(&annotations)?;
    create(&pictures)?;
    (0..count).into_par_iter().try_for_each(|i| {
        write_picture(set, i, &pictures)?;
        progress();
        Ok(())
    })?;
    let json = serde_json::to_vec(&set.records(count)?)
        .map_err(|e| Error::internal(format!("the demo annotations: {e}")))?;
    save(&annotations.join(format!("instances_{}.json", set.split().name())), &json)
}

/// Writes both splits with label maps under `folder`, as a mask folder: `images/{train,val}`, `masks/{train,val}` (8-bit class
/// numbers) and a `dataset.toml` with the classes. Files of the same names are replaced. `progress` is called once per written
/// picture, from several threads.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn write_scenes(folder: &Path, progress: &(dyn Fn() + Sync)) -> Result<()> {
    DemoSplit::ALL.into_iter().try_for_each(|split| {
        let set = DemoSemantic::new(split);
        write_first_scenes(&set, set.len(), folder, progress)
    })
}

/// The first `count` pictures of a split with their label maps.
pub(super) fn write_first_scenes(
    set: &DemoSemantic,
    count: usize,
    folder: &Path,
    progress: &(dyn Fn() + Sync),
) -> Result<()> {
    let [pictures, labels] = ["images", "masks"].map(|kind| folder.join(kind).join(set.split().name()));
    create(&pictures)?;
    create(&labels)?;
    let names: Vec<String> = set.labels().names().iter().map(|name| format!("{name:?}")).collect();
    save(&folder.join(DATASET_FILE), format!("classes = [{}]\n", names.join(", ")).as_bytes())?;
    (0..count).into_par_iter().try_for_each(|i| {
        let example = set.example(i)?;
        let Size { width, height } = example.target.size();
        let classes = GrayImage::from_raw(width, height, example.target.classes().to_vec())
            .ok_or_else(|| Error::internal("a label map of another size than it says"))?;
        save(&pictures.join(&example.file_name), &png(&example.picture, &example.file_name)?)?;
        save(&labels.join(&example.file_name), &png(&classes, &example.file_name)?)?;
        progress();
        Ok(())
    })
}

fn write_picture(set: &DemoDataset, i: usize, folder: &Path) -> Result<()> {
    let example = set.draw(i)?;
    let name = &example.image.file_name;
    save(&folder.join(name), &png(&example.picture, name)?)
}

fn png<P>(picture: &ImageBuffer<P, Vec<u8>>, name: &str) -> Result<Vec<u8>>
where
    P: PixelWithColorType<Subpixel = u8>,
{
    let mut bytes = Cursor::new(Vec::new());
    let written = picture.write_to(&mut bytes, ImageFormat::Png);
    written.map_err(|e| Error::internal(format!("{name}: {e}")))?;
    Ok(bytes.into_inner())
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::internal(format!("{}: cannot be made: {e}", folder.display())))
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|e| Error::internal(format!("{}: cannot be written: {e}", path.display())))
}
