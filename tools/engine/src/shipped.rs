//! Weights that are part of the program, so that it shows what it can do with no download.

use std::path::{Path, PathBuf};

/// Name and file; the commands that trained them are in docs/demo.md.
const SHIPPED: [(&str, &[u8]); 3] = [
    ("demo", include_bytes!("../assets/demo.safetensors")),
    ("demo-masks", include_bytes!("../assets/demo-masks.safetensors")),
    ("demo-scenes", include_bytes!("../assets/demo-scenes.safetensors")),
];

/// What weights are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Boxes of objects.
    Boxes,
    /// Boxes and masks of objects.
    Masks,
    /// A class for every pixel.
    Scenes,
}

/// The file that a path names when it is one of ours and no file is called that.
pub fn find(path: &Path) -> Option<&'static [u8]> {
    let (_, bytes) = SHIPPED.iter().find(|(name, _)| path == Path::new(name))?;
    (!path.is_file()).then_some(*bytes)
}

/// The path, or the one of our weights that `demo` stands for here.
pub fn named(path: &Path, wanted: Wanted) -> PathBuf {
    let name = match wanted {
        Wanted::Boxes => "demo",
        Wanted::Masks => "demo-masks",
        Wanted::Scenes => "demo-scenes",
    };
    let stands_for_one = path == Path::new("demo") && find(path).is_some() && find(Path::new(name)).is_some();
    if stands_for_one { PathBuf::from(name) } else { path.to_owned() }
}
