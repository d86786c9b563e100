//! Class index ↔ category id ↔ name ↔ colour: the only place that knows.
mod ade20k;
mod cityscapes;
mod coco;

use crate::{CategoryId, ClassIndex, Error, Result, coco_json::Category};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One class of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What the data set's files call it.
    pub id: CategoryId,
    /// What people call it.
    pub name: String,
    /// RGB, for drawing.
    pub color: [u8; 3],
}

/// The classes of a data set in the order in which a network predicts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Label>", into = "Vec<Label>")]
pub struct LabelMap {
    entries: Vec<Label>,
    by_id: BTreeMap<CategoryId, ClassIndex>,
}

impl LabelMap {
    /// From entries in class order. The first of two entries with the same id is found by that id.
    pub fn new(entries: Vec<Label>) -> Self {
        let mut by_id = BTreeMap::new();
        for (index, label) in entries.iter().enumerate() {
            by_id.entry(label.id).or_insert(ClassIndex(index));
        }
        LabelMap { entries, by_id }
    }

    /// Classes named in order; category ids count from `first_id` (COCO-like files: 1; mmdetection's own: 0).
    pub fn from_names<S: AsRef<str>>(names: &[S], first_id: i64) -> Self {
        let entry = |(i, name): (usize, &S)| Label {
            id: CategoryId(first_id + i as i64),
            name: name.as_ref().to_string(),
            color: palette(i),
        };
        Self::new(names.iter().enumerate().map(entry).collect())
    }

    /// The 80 classes of COCO, as mmdetection orders them.
    pub fn coco() -> Self {
        let entry = |(i, &(id, name)): (usize, &(i64, &str))| Label {
            id: CategoryId(id),
            name: name.into(),
            color: palette(i),
        };
        Self::new(coco::COCO.iter().enumerate().map(entry).collect())
    }

    /// The 150 classes of ADE20K, as mmsegmentation orders and colours them; ids are the values of label files, 1 to 150.
    pub fn ade20k() -> Self {
        let entry = |(i, &(name, color)): (usize, &(&str, [u8; 3]))| Label {
            id: CategoryId(i as i64 + 1),
            name: name.into(),
            color,
        };
        Self::new(ade20k::ADE20K.iter().enumerate().map(entry).collect())
    }

    /// The 19 classes of Cityscapes in training order; ids are the values of `*_labelIds.png`.
    pub fn cityscapes() -> Self {
        let entry = |&(id, name, color): &(i64, &str, [u8; 3])| Label {
            id: CategoryId(id),
            name: name.into(),
            color,
        };
        Self::new(cityscapes::CITYSCAPES.iter().map(entry).collect())
    }

    /// All categories of a file, **in file order**, as mmdetection and torchvision label them.
    pub fn from_categories(categories: &[Category]) -> Self {
        let entry = |(i, c): (usize, &Category)| Label { id: c.id, name: c.name.clone(), color: palette(i) };
        Self::new(categories.iter().enumerate().map(entry).collect())
    }

    /// The categories of a file that a model knows, in the model's class order.
    ///
    /// # Errors
    /// `Input` when a name is not among the categories: both lists are in the message.
    pub fn from_categories_named<S: AsRef<str>>(categories: &[Category], names: &[S]) -> Result<Self> {
        let mut entries = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let name = name.as_ref();
            let Some(found) = categories.iter().find(|c| c.name == name) else {
                return Err(unknown_name(name, categories, names));
            };
            entries.push(Label { id: found.id, name: found.name.clone(), color: palette(i) });
        }
        Ok(Self::new(entries))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without classes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in class order.
    pub fn entries(&self) -> &[Label] {
        &self.entries
    }

    /// The entry of a class.
    pub fn get(&self, class: ClassIndex) -> Option<&Label> {
        self.entries.get(class.0)
    }

    /// The category id of a class.
    pub fn id(&self, class: ClassIndex) -> Option<CategoryId> {
        self.get(class).map(|l| l.id)
    }

    /// The name of a class; `class N` when the map does not know it.
    pub fn name(&self, class: ClassIndex) -> String {
        self.get(class).map_or_else(|| format!("class {class}"), |l| l.name.clone())
    }

    /// The colour of a class (of the palette, when the map does not know it).
    pub fn color(&self, class: ClassIndex) -> [u8; 3] {
        self.get(class).map_or_else(|| palette(class.0), |l| l.color)
    }

    /// The class of a category id.
    pub fn index_of_id(&self, id: CategoryId) -> Option<ClassIndex> {
        self.by_id.get(&id).copied()
    }

    /// The first class with this name.
    pub fn index_of_name(&self, name: &str) -> Option<ClassIndex> {
        self.entries.iter().position(|l| l.name == name).map(ClassIndex)
    }

    /// The names in class order.
    pub fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|l| l.name.as_str()).collect()
    }
}

impl From<Vec<Label>> for LabelMap {
    fn from(entries: Vec<Label>) -> Self {
        Self::new(entries)
    }
}

impl From<LabelMap> for Vec<Label> {
    fn from(map: LabelMap) -> Self {
        map.entries
    }
}

/// Colours whose hue moves by the golden ratio, so that neighbouring classes differ: integers only.
fn palette(index: usize) -> [u8; 3] {
    let hue = (index as u32).wrapping_mul(0x9E37_79B9) >> 16; // 0..65536, one turn
    let sector = hue * 6 / 65536;
    let up = (hue * 6 % 65536 * 200 / 65536) as u8;
    let (low, high) = (40u8, 240u8);
    let (rise, fall) = (low + up, high - up);
    match sector {
        0 => [high, rise, low],
        1 => [fall, high, low],
        2 => [low, high, rise],
        3 => [low, fall, high],
        4 => [rise, low, high],
        _ => [high, low, fall],
    }
}

fn unknown_name<S: AsRef<str>>(name: &str, categories: &[Category], names: &[S]) -> Error {
    let list = |v: Vec<&str>| v.join(", ");
    Error::input(format!(
        "class {name:?} is not among the categories of the data\n  wanted: {}\n  in the data: {}",
        list(names.iter().map(AsRef::as_ref).collect()),
        list(categories.iter().map(|c| c.name.as_str()).collect()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn category_ids_with_holes_become_contiguous_classes() {
        let categories: Vec<Category> = [(7, "dog"), (0, "cat"), (90, "cow")]
            .map(|(id, name)| Category { id: CategoryId(id), name: name.into(), ..Default::default() })
            .into();
        let map = LabelMap::from_categories(&categories);
        assert_eq!(map.index_of_id(CategoryId(90)), Some(ClassIndex(2)));
        assert_eq!(map.index_of_id(CategoryId(1)), None);
        assert_eq!(map.id(ClassIndex(1)), Some(CategoryId(0)));
        let picked = LabelMap::from_categories_named(&categories, &["cow", "dog"]).unwrap();
        assert_eq!(picked.index_of_id(CategoryId(7)), Some(ClassIndex(1)));
        let error = LabelMap::from_categories_named(&categories, &["cow", "hen"]).unwrap_err().to_string();
        assert!(error.contains("hen") && error.contains("dog, cat, cow"), "{error}");
    }

    #[test]
    fn neighbouring_classes_have_different_colours() {
        let colors: std::collections::BTreeSet<_> = (0..80).map(palette).collect();
        assert_eq!(colors.len(), 80);
    }
}
