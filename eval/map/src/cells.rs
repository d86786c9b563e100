//! Objects and detections grouped by (category, picture): a *cell* is what one matching looks at.
use crate::selection::Selection;
use std::ops::Range;

/// Where an item belongs.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) category: u32,
    pub(crate) image: u32,
    /// Index of the record in its file.
    pub(crate) record: u32,
}

/// With at most so many cells for each key, one pass over all cells is cheaper than one by picture and one by category.
const CELLS_PER_KEY: usize = 2;

/// Keys by category, then by picture, file order inside a cell. Without categories: by picture, then category.
pub(crate) fn sort(keys: Vec<Key>, selection: &Selection) -> Vec<Key> {
    let (categories, images) = (selection.categories.len(), selection.images.len());
    if selection.use_cats && categories.saturating_mul(images) <= keys.len().saturating_mul(CELLS_PER_KEY) {
        counting_sort(keys, categories * images, |k| k.category * images as u32 + k.image)
    } else if selection.use_cats {
        let keys = counting_sort(keys, images, |k| k.image);
        counting_sort(keys, categories, |k| k.category)
    } else {
        let keys = counting_sort(keys, categories, |k| k.category);
        let mut keys = counting_sort(keys, images, |k| k.image);
        keys.iter_mut().for_each(|k| k.category = 0);
        keys
    }
}

/// Stable, linear.
fn counting_sort(keys: Vec<Key>, values: usize, value: impl Fn(&Key) -> u32) -> Vec<Key> {
    let mut next = vec![0u32; values + 1];
    for key in &keys {
        next[value(key) as usize + 1] += 1;
    }
    for i in 1..next.len() {
        next[i] += next[i - 1];
    }
    let mut sorted = keys.clone();
    for key in keys {
        let slot = &mut next[value(&key) as usize];
        sorted[*slot as usize] = key;
        *slot += 1;
    }
    sorted
}

/// Items in the order of their cells; `I` is a list of them, or a way to look them up by position.
pub(crate) struct Cells<I> {
    pub(crate) keys: Vec<Key>,
    pub(crate) items: I,
}

/// The objects and detections of one category in one picture, as ranges of the two lists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) truths: Range<usize>,
    pub(crate) found: Range<usize>,
}

/// The cells of one category that hold anything, by picture.
pub(crate) fn cells_of_category(truths: &[Key], found: &[Key], category: u32) -> Vec<Cell> {
    let range = |keys: &[Key]| {
        keys.partition_point(|k| k.category < category)..keys.partition_point(|k| k.category <= category)
    };
    let (t, f) = (range(truths), range(found));
    let (mut i, mut j) = (t.start, f.start);
    let mut cells = Vec::new();
    while i < t.end || j < f.end {
        let image = match (i < t.end, j < f.end) {
            (true, true) => truths[i].image.min(found[j].image),
            (true, false) => truths[i].image,
            _ => found[j].image,
        };
        let (first_truth, first_found) = (i, j);
        while i < t.end && truths[i].image == image {
            i += 1;
        }
        while j < f.end && found[j].image == image {
            j += 1;
        }
        cells.push(Cell { truths: first_truth..i, found: first_found..j });
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_join_both_sides_by_picture() {
        let key = |(category, image)| Key { category, image, record: 0 };
        let truths = [(0, 1), (1, 0), (1, 0), (1, 3)].map(key);
        let found = [(1, 0), (1, 2), (2, 0)].map(key);
        let cell = |truths, found| Cell { truths, found };
        assert_eq!(cells_of_category(&truths, &found, 0), [cell(0..1, 0..0)]);
        assert_eq!(
            cells_of_category(&truths, &found, 1),
            [cell(1..3, 0..1), cell(3..3, 1..2), cell(3..4, 2..2)]
        );
        assert_eq!(cells_of_category(&truths, &found, 2), [cell(4..4, 2..3)]);
    }
}
