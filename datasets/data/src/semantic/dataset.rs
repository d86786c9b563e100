//! What readers of label maps have in common, and the same pictures with classes in another order.

use care_types::{ClassIndex, Label, LabelMap, SegTarget};
use std::sync::Arc;

use super::set::{SegExample, SemanticSet};
use crate::{Error, Result};

/// Pictures with label maps, by number, readable from several threads.
pub trait SegDataset: Send + Sync {
    /// Number of pictures.
    fn len(&self) -> usize;

    /// True without pictures.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads picture `i` and its label map.
    ///
    /// # Errors
    /// When either cannot be read, or they do not fit each other; the message names the file. The other pictures are not affected.
    ///
    /// # Panics
    /// When `i` is not below [`SegDataset::len`].
    fn example(&self, i: usize) -> Result<SegExample>;

    /// The classes.
    fn labels(&self) -> &LabelMap;

    /// The name of picture `i`, which no other picture of the set has.
    ///
    /// # Panics
    /// When `i` is not below [`SegDataset::len`].
    fn file_name(&self, i: usize) -> String;

    /// Changes when pictures, classes or annotations do.
    fn fingerprint(&self) -> String;
}

impl SegDataset for SemanticSet {
    fn len(&self) -> usize {
        SemanticSet::len(self)
    }

    fn example(&self, i: usize) -> Result<SegExample> {
        SemanticSet::example(self, i)
    }

    fn labels(&self) -> &LabelMap {
        SemanticSet::labels(self)
    }

    fn file_name(&self, i: usize) -> String {
        self.records[i].1.file_name.clone()
    }

    fn fingerprint(&self) -> String {
        SemanticSet::fingerprint(self)
    }
}

/// A set whose classes come in the order in which a network predicts them.
pub struct Reordered {
    inner: Arc<dyn SegDataset>,
    labels: LabelMap,
    table: [u8; 256],
}

impl Reordered {
    /// The classes of `inner` in the order of `names`, which are the same names.
    ///
    /// # Errors
    /// `Input` when a name is not among the classes, or a class not among the names.
    pub fn new(inner: Arc<dyn SegDataset>, names: &[&str]) -> Result<Self> {
        let there = inner.labels();
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = there.names().into_iter().find(|name| !seen.insert(*name)) {
            return Err(Error::input(format!("two classes are called {twice:?}; names must differ")));
        }
        let position = |name: &str| names.iter().position(|n| *n == name);
        let mut table = [SegTarget::IGNORE; 256];
        for (old, label) in there.entries().iter().enumerate() {
            let new = position(&label.name).ok_or_else(|| {
                Error::input(format!("class {:?} is not among {}", label.name, names.join(", ")))
            })?;
            table[old] = new as u8;
        }
        let entry = |name: &&str| -> Result<Label> {
            let old = there.index_of_name(name).and_then(|ClassIndex(i)| there.entries().get(i));
            old.cloned().ok_or_else(|| {
                Error::input(format!("class {name:?} is not among {}", there.names().join(", ")))
            })
        };
        let labels = LabelMap::new(names.iter().map(entry).collect::<Result<_>>()?);
        Ok(Self { inner, labels, table })
    }
}

impl SegDataset for Reordered {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn example(&self, i: usize) -> Result<SegExample> {
        let mut example = self.inner.example(i)?;
        let size = example.target.size();
        let classes = example.target.classes().iter().map(|&c| self.table[usize::from(c)]).collect();
        example.target = SegTarget::new(size, classes)?;
        Ok(example)
    }

    fn labels(&self) -> &LabelMap {
        &self.labels
    }

    fn file_name(&self, i: usize) -> String {
        self.inner.file_name(i)
    }

    fn fingerprint(&self) -> String {
        self.inner.fingerprint()
    }
}
