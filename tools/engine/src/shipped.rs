//! Weights that are part of the program, so that it shows what it can do with no download.

use std::path::Path;

/// Name and file; the commands that trained them are in docs/demo.md.
const SHIPPED: [(&str, &[u8]); 1] = [("demo", include_bytes!("../assets/demo.safetensors"))];

/// The file that a path names when it is one of ours and no file is called that.
pub fn find(path: &Path) -> Option<&'static [u8]> {
    let (_, bytes) = SHIPPED.iter().find(|(name, _)| path == Path::new(name))?;
    (!path.is_file()).then_some(*bytes)
}
