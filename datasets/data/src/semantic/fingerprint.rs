//! Whether two sets are the same: in one line of text.

use care_types::Size;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{SemanticSet, png_labels};

impl SemanticSet {
    /// SHA-256 over the classes, what values mean, and per picture its name, size, the bytes of its label file and whether the
    /// picture is there: changes when the annotations do. Label files are read; pictures are not (the size is that of the label map).
    pub fn fingerprint(&self) -> String {
        let lines: Vec<String> = (0..self.len()).into_par_iter().map(|i| self.fingerprint_line(i)).collect();
        let mut hash = Sha256::new();
        let classes = self.labels().entries().iter().map(|l| format!("class {} {}", l.id, l.name));
        for line in classes.chain(self.table.lines()).chain(lines) {
            hash.update(line + "\n");
        }
        hex(&hash.finalize())
    }

    fn fingerprint_line(&self, i: usize) -> String {
        let name = &self.records[i].1.file_name;
        let bytes = self.label_path(i).and_then(|path| png_labels::read(path, &self.limits));
        let described = bytes.and_then(|bytes| Ok((png_labels::size(&bytes)?, hex(&Sha256::digest(&bytes)))));
        let there = if self.picture_path(i).is_ok() { "" } else { ", file missing" };
        match described {
            Ok((Size { width, height }, digest)) => {
                format!("picture {name} {width}x{height} {digest}{there}")
            }
            Err(_) => format!("picture {name} without a readable label map"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
