//! Checks on named files and folders: what must be there, what must not, and where may be written.
//!
//! Nothing is ever written into a folder that a user's pictures or annotations come from.

use crate::exit::Failure;
use std::fs;
use std::path::{Path, PathBuf};

/// A file that the user named must be there (exit 2 otherwise); `role` says what it was named for.
pub fn require_file(path: &Path, role: &str) -> Result<(), Failure> {
    if path.is_file() {
        return Ok(());
    }
    let why = if path.is_dir() { "is a folder, expected a file" } else { "there is no such file" };
    Err(Failure::usage(format!("{role} {}: {why}", path.display())))
}

/// A file or folder that the user named must be there (exit 2 otherwise).
pub fn require_exists(path: &Path, role: &str) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::usage(format!("{role} {}: there is no such file or folder", path.display())))
}

/// Endings by which programs take a file for one of PyTorch's.
const OF_PYTORCH: [&str; 5] = ["pth", "pt", "tar", "bin", "ckpt"];

/// A weights file to be written: its folder must exist, and the file must not, unless `overwrite`. What is written is
/// safetensors, so a name that says otherwise is refused.
pub fn writable_file(path: &Path, overwrite: bool) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format!("--out {}: is a folder, expected a file name", path.display())));
    }
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    if OF_PYTORCH.iter().any(|e| ending == *e) {
        let name = path.with_extension("safetensors");
        return Err(Failure::usage(format!(
            "--out {}: the file will be in the format safetensors, which no program expects under this name; write \
             --out {}",
            path.display(),
            name.display()
        )));
    }
    if path.exists() && !overwrite {
        return Err(Failure::usage(format!(
            "--out {}: the file exists; name another, or add --overwrite",
            path.display()
        )));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Failure::usage(format!(
            "--out {}: there is no folder {}",
            path.display(),
            parent.display()
        )));
    }
    Ok(())
}

/// Nothing is written into a folder that is read, nor around it.
pub fn require_outside(path: &Path, role: &str, read: &[PathBuf]) -> Result<(), Failure> {
    let shown = path.display();
    let whole = absolute(path);
    for folder in read.iter().filter(|p| p.is_dir()) {
        if whole.starts_with(absolute(folder)) {
            let outside = absolute(folder).parent().map(|p| p.join("care-out"));
            let outside = outside.map_or(String::new(), |p| format!(", such as {role} {}", p.display()));
            return Err(Failure::usage(format!(
                "{role} {shown}: lies inside {}, and nothing is written into a folder that is read; name another \
                 folder{outside}",
                folder.display()
            )));
        }
    }
    if let Some(input) = read.iter().find(|p| absolute(p).starts_with(&whole)) {
        return Err(Failure::usage(format!(
            "{role} {shown}: {} lies inside it and could be written over; name another with {role}",
            input.display()
        )));
    }
    Ok(())
}

/// A folder for results that was checked and is made when something is written.
#[derive(Debug)]
pub struct OutDir(PathBuf);

impl OutDir {
    /// Checks that `path` is new or empty (or `overwrite`), and that nothing that is read lies in it or around it.
    pub fn check(path: &Path, overwrite: bool, read: &[PathBuf]) -> Result<Self, Failure> {
        Self::check_unless(path, overwrite, read, false)
    }

    /// The same, but a folder with a file called `unfinished` may be gone on with.
    pub fn check_or_go_on(
        path: &Path,
        overwrite: bool,
        read: &[PathBuf],
        unfinished: &str,
    ) -> Result<Self, Failure> {
        Self::check_unless(path, overwrite, read, path.join(unfinished).is_file())
    }

    fn check_unless(path: &Path, overwrite: bool, read: &[PathBuf], go_on: bool) -> Result<Self, Failure> {
        let shown = path.display();
        if path.exists() && !path.is_dir() {
            return Err(Failure::usage(format!("--out {shown}: is a file, expected a folder")));
        }
        require_outside(path, "--out", read)?;
        let filled = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if filled && !overwrite && !go_on {
            return Err(Failure::usage(format!(
                "--out {shown}: the folder is not empty; name another with --out, or add --overwrite"
            )));
        }
        Ok(Self(path.to_path_buf()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes what an earlier run said that it wrote here ([`Self::remember`]): with `--overwrite`, results of other
    /// pictures must not stay beside those of this run. Nothing else is touched.
    pub fn clear(&self) -> Result<(), Failure> {
        let Ok(bytes) = fs::read(self.0.join(WRITTEN)) else { return Ok(()) };
        let files = serde_json::from_slice::<Written>(&bytes).map(|w| w.files).unwrap_or_default();
        let inside = |f: &PathBuf| f.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        for path in files.iter().filter(|f| inside(f)).map(|f| self.0.join(f)).filter(|p| p.is_file()) {
            fs::remove_file(&path)
                .map_err(|e| Failure::runtime(format!("{}: could not be removed: {e}", path.display())))?;
        }
        Ok(())
    }

    /// Writes down which files, by their place in the folder, this run has written.
    pub fn remember(&self, files: impl Iterator<Item = impl AsRef<Path>>) -> Result<(), Failure> {
        let written = Written { files: files.map(|f| f.as_ref().to_path_buf()).collect() };
        let path = self.make("")?.join(WRITTEN);
        let failed = |e: &dyn std::fmt::Display| {
            Failure::runtime(format!("{}: could not be written: {e}", path.display()))
        };
        let json = serde_json::to_vec(&written).map_err(|e| failed(&e))?;
        fs::write(&path, json).map_err(|e| failed(&e))
    }

    /// Writes a picture into a folder inside it and returns its place.
    pub fn save_picture(
        &self,
        inside: &str,
        name: &Path,
        picture: &image::DynamicImage,
    ) -> Result<PathBuf, Failure> {
        let path = self.make(inside)?.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|e| Failure::runtime(format!("{}: could not be made: {e}", parent.display())))?;
        }
        picture
            .save(&path)
            .map_err(|e| Failure::runtime(format!("{}: could not be written: {e}", path.display())))?;
        Ok(Path::new(inside).join(name))
    }

    /// Makes the folder (and one inside it, if `inside` is not empty) and returns its path.
    pub fn make(&self, inside: &str) -> Result<PathBuf, Failure> {
        let path = if inside.is_empty() { self.0.clone() } else { self.0.join(inside) };
        fs::create_dir_all(&path)
            .map_err(|e| Failure::runtime(format!("{}: could not be made: {e}", path.display())))?;
        Ok(path)
    }
}

/// The list of files that a run has written, in its folder.
const WRITTEN: &str = ".care-det.json";

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Written {
    files: Vec<PathBuf>,
}

/// The real path, links resolved as far as the path exists.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut rest = Vec::new();
    let mut head = path.as_path();
    loop {
        if let Ok(real) = head.canonicalize() {
            return rest.iter().rev().fold(real, |p, name| p.join(name));
        }
        match (head.parent(), head.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name.to_os_string());
                head = parent;
            }
            _ => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_never_go_into_a_folder_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let pictures = dir.path().join("pictures");
        fs::create_dir(&pictures).unwrap();
        let read = [pictures.clone()];
        assert!(OutDir::check(&pictures, true, &read).is_err());
        assert!(OutDir::check(&pictures.join("new/out"), true, &read).is_err());
        assert!(OutDir::check(&pictures.join("../out"), false, &read).is_ok());
        assert!(OutDir::check(&dir.path().join("pictures-out"), false, &read).is_ok());
        // An input inside the output folder could be written over by its own overlay.
        let overlay = pictures.join("overlays/a.jpg");
        fs::create_dir(pictures.join("overlays")).unwrap();
        fs::write(&overlay, "a picture").unwrap();
        for input in [overlay, pictures.join("overlays")] {
            let refused = OutDir::check(&pictures, true, std::slice::from_ref(&input)).unwrap_err();
            assert!(refused.message.contains("written over"), "{}", refused.message);
        }
    }

    #[test]
    fn a_filled_folder_needs_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        assert!(OutDir::check(dir.path(), false, &[]).is_ok(), "empty");
        fs::write(dir.path().join("x"), "x").unwrap();
        assert!(OutDir::check(dir.path(), false, &[]).unwrap_err().message.contains("not empty"));
        assert!(OutDir::check(dir.path(), true, &[]).is_ok());
    }
}
