//! The demo set as files: the folder that any COCO tool can read.

use std::io::Cursor;
use std::path::Path;

use image::ImageFormat;
use rayon::prelude::*;

use super::{DemoDataset, DemoSplit};
use crate::{Dataset, Error, Result};

/// Writes both splits under `folder`: `annotations/instances_{train,val}.json` and PNG pictures in `train/` and `val/`.
/// `progress` is called once per written picture, from several threads.
///
/// # Errors
/// `Config` when the folder holds something already, `Internal` when it cannot be written.
pub fn write(folder: &Path, progress: &(dyn Fn() + Sync)) -> Result<()> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::config(format!("{}: is not empty; name a new folder", folder.display())));
    }
    write_over(folder, progress)
}

/// As [`write`], into a folder that may hold something; files of the same names are replaced.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn write_over(folder: &Path, progress: &(dyn Fn() + Sync)) -> Result<()> {
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

fn write_picture(set: &DemoDataset, i: usize, folder: &Path) -> Result<()> {
    let example = set.draw(i)?;
    let mut png = Cursor::new(Vec::new());
    example
        .picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|e| Error::internal(format!("{}: {e}", example.image.file_name)))?;
    save(&folder.join(&example.image.file_name), png.get_ref())
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::internal(format!("{}: cannot be made: {e}", folder.display())))
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|e| Error::internal(format!("{}: cannot be written: {e}", path.display())))
}
