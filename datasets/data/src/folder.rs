//! Pictures of plain folders and file lists.
//!
//! A folder is searched with its sub-folders, in a fixed order (by path, component by component). Only names are looked
//! at here: pictures are recognised by extension, hidden files and folders are passed over, and a folder called
//! `x.jpg` is a folder. A file that is named directly counts whatever its name is; its content decides when it is read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::{Error, Result};

/// Extensions that a search takes for pictures, lower case. The second line cannot be decoded by this build: such files
/// are listed all the same, so that the user hears of them instead of missing them.
const EXTENSIONS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", //
    "avif", "heic", "heif", "jp2", "jxl", "tga",
];

/// One picture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its place below the folder that was searched, or its file name when it was named directly: for naming results.
    pub relative: PathBuf,
}

/// The pictures of `paths`, each a file or a folder, in the order given; nothing is opened. A file that is reached
/// twice is listed once.
///
/// # Errors
/// `Config` when a named path does not exist; `Input` when a folder cannot be read, or when there is no picture at all.
pub fn find_pictures<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::config(format!("{}: no such file or folder{}", path.display(), hint(path)))
            }
            _ => Error::input(format!("{}: cannot be read: {e}", path.display())),
        })?;
        let listed = if meta.is_dir() { search(path)? } else { vec![named(path)] };
        found.extend(listed.into_iter().filter(|f| seen.insert(f.path.clone())));
    }
    if found.is_empty() {
        let names: Vec<String> = paths.iter().map(|p| p.as_ref().display().to_string()).collect();
        return Err(Error::input(format!(
            "no pictures in {} (searched with sub-folders for {})",
            names.join(", "),
            EXTENSIONS.join(", ")
        )));
    }
    Ok(found)
}

/// What somebody who names such a path probably did not know.
fn hint(path: &Path) -> &'static str {
    let text = path.to_str().unwrap_or_default();
    match text.contains("://") {
        true => "; pictures are read from files, so download it first",
        false if text.contains('*') => " (nothing matches the pattern)",
        false => "",
    }
}

fn named(path: &Path) -> Found {
    let relative = path.file_name().map_or_else(|| path.to_owned(), PathBuf::from);
    Found { path: path.to_owned(), relative }
}

fn search(folder: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_hidden(e)) {
        let path = match entry {
            Ok(entry) if entry.file_type().is_file() => entry.into_path(),
            Ok(_) => continue,
            // A link back to a folder above: everything in it is listed already.
            Err(e) if e.loop_ancestor().is_some() => continue,
            Err(e) => match e.path() {
                // A dangling link to a picture: listed, so that reading it reports it.
                Some(path) if path.is_symlink() => path.to_owned(),
                _ => return Err(Error::input(format!("{}: cannot be searched: {e}", folder.display()))),
            },
        };
        if is_picture(&path) {
            let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            found.push(Found { path, relative });
        }
    }
    Ok(found)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Whether the name is that of a picture.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
    }

    #[test]
    fn a_folder_gives_its_pictures_sorted_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &[
                "b.PNG",
                "a/z.jpg",
                "a/.x.jpg",
                ".git/c.jpg",
                "notes.txt",
                "Thumbs.db",
                "dir.jpg/readme.txt",
                "dir.jpg/p.webp",
            ],
        );
        let found = find_pictures(&[dir.path()]).unwrap();
        let names: Vec<&str> = found.iter().map(|f| f.relative.to_str().unwrap()).collect();
        assert_eq!(names, ["a/z.jpg", "b.PNG", "dir.jpg/p.webp"]);
    }

    #[test]
    fn named_files_come_in_the_order_given_and_once() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["b", "a.jpg"]);
        let (b, a) = (dir.path().join("b"), dir.path().join("a.jpg"));
        let found = find_pictures(&[b.as_path(), dir.path(), a.as_path()]).unwrap();
        assert_eq!(found.iter().map(|f| &f.path).collect::<Vec<_>>(), [&b, &a]);
    }

    #[test]
    fn missing_and_empty_are_errors_of_different_kinds() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no.jpg");
        let e = find_pictures(&[&missing]).unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::Config);
        assert!(e.to_string().contains("no.jpg"), "{e}");
        let e = find_pictures(&[dir.path()]).unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::Input);
        assert!(e.to_string().contains("no pictures"), "{e}");
    }

    #[cfg(unix)]
    #[test]
    fn link_loops_end_and_dangling_links_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["sub/a.jpg"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere.jpg", dir.path().join("sub/gone.jpg")).unwrap();
        let found = find_pictures(&[dir.path()]).unwrap();
        let names: Vec<&str> = found.iter().map(|f| f.relative.to_str().unwrap()).collect();
        assert_eq!(names, ["sub/a.jpg", "sub/gone.jpg"]);
    }
}
