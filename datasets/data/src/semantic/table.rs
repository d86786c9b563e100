//! What the numbers (or colours) of label files mean: one table per set, complete, with a word for everything else.

use std::collections::BTreeMap;

use care_types::SegTarget;

use super::png_labels::{LabelValues, RawLabels, Values};
use crate::{Error, Result};

const IGNORE: u8 = SegTarget::IGNORE;

/// From what a file stores to a class index or [`SegTarget::IGNORE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ValueTable {
    /// By value; `None` for values that must not occur.
    values: Vec<Option<u8>>,
    colors: BTreeMap<[u8; 3], u8>,
}

impl ValueTable {
    /// A table from (value, class or [`SegTarget::IGNORE`]); values that are not named must not occur.
    pub(super) fn new(values: impl IntoIterator<Item = (u16, u8)>, colors: BTreeMap<[u8; 3], u8>) -> Self {
        let mut table = Vec::new();
        for (value, class) in values {
            let value = usize::from(value);
            if table.len() <= value {
                table.resize(value + 1, None);
            }
            table[value] = Some(class);
        }
        Self { values: table, colors }
    }

    /// Value `k` is class `k`; 255 is ignored.
    pub(super) fn plain(classes: usize) -> Self {
        let named = (0..classes).map(|k| (k as u16, k as u8));
        Self::new(named.chain([(255, IGNORE)]), BTreeMap::new())
    }

    /// mmsegmentation's `reduce_zero_label`: 0 and 255 are ignored, value `k` is class `k - 1`.
    pub(super) fn zero_ignored(classes: usize) -> Self {
        let named = (0..classes.min(254)).map(|k| (k as u16 + 1, k as u8));
        Self::new(named.chain([(0, IGNORE), (255, IGNORE)]), BTreeMap::new())
    }

    /// The same table with colours for RGB files, too.
    pub(super) fn with_colors(mut self, colors: BTreeMap<[u8; 3], u8>) -> Self {
        self.colors = colors;
        self
    }

    /// The smallest value of a class.
    pub(super) fn first_value(&self, class: u8) -> Option<i64> {
        self.values.iter().position(|v| *v == Some(class)).map(|v| v as i64)
    }

    /// One line per entry, in a fixed order: for fingerprints.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let values = self.values.iter().enumerate();
        let values = values.filter_map(|(v, class)| class.map(|c| format!("value {v} {c}")));
        values.chain(self.colors.iter().map(|(color, class)| format!("color {color:?} {class}")))
    }

    /// The classes of a label file.
    ///
    /// # Errors
    /// `Input` naming the first pixel whose value or colour is not in the table. The file is not in the message.
    pub(super) fn apply(&self, raw: RawLabels) -> Result<SegTarget> {
        let width = raw.size.width as usize;
        let place = |i: usize| format!("pixel x {}, y {}", i % width, i / width);
        let of_value = |v: usize| self.values.get(v).copied().flatten();
        let of_color = |c: [u8; 3]| self.colors.get(&c).copied();
        let classes: Result<Vec<u8>> = match &raw.values {
            Values::Palette(indices, palette) if self.values.is_empty() => {
                let classes: Vec<Option<u8>> = palette.iter().map(|&c| of_color(c)).collect();
                let class = |i: usize| classes.get(i).copied().flatten();
                let color = |i: usize| palette.get(i).copied().unwrap_or_default();
                of_numbers(indices, class, |at, i| self.no_color(&place(at), color(i)))
            }
            Values::Grey(values) | Values::Palette(values, _) => {
                of_numbers(values, of_value, |at, v| self.no_value(&place(at), v))
            }
            Values::Color(colors) => collect(colors, of_color, |at, c| self.no_color(&place(at), c)),
        };
        SegTarget::new(raw.size, classes?)
    }

    fn no_value(&self, place: &str, value: usize) -> Error {
        if self.values.is_empty() {
            return Error::input(format!(
                "{place} has the grey value {value}, but the table of this set has only colours; add [values] to its \
                 dataset.toml"
            ));
        }
        Error::input(format!(
            "{place} has the value {value}; expected {}. Say in the set's dataset.toml, under [values], which class it \
             is: {value} = \"NAME\" or {value} = \"ignore\"",
            self.expected()
        ))
    }

    fn no_color(&self, place: &str, [r, g, b]: [u8; 3]) -> Error {
        let color = format!("#{r:02x}{g:02x}{b:02x}");
        let problem = match self.colors.len() {
            0 => "but this set has no table of colours".to_owned(),
            n => format!("which is none of the {n} colours of this set"),
        };
        let grey = if self.colors.is_empty() && r == g && g == b {
            " (if the file holds class numbers, save it as grey or palette PNG instead)"
        } else {
            ""
        };
        Error::input(format!(
            "{place} has the colour {color}, {problem}. Say in the set's dataset.toml, under [colors], which class it \
             is: \"{color}\" = \"NAME\" or \"{color}\" = \"ignore\"{grey}"
        ))
    }

    /// The values of the table in words: `a class at 1 to 150, ignored at 0, 255`.
    pub(super) fn expected(&self) -> String {
        let (mut classes, mut ignored) = (Vec::new(), Vec::new());
        for (value, class) in self.values.iter().enumerate() {
            match class {
                Some(IGNORE) => ignored.push(value),
                Some(_) => classes.push(value),
                None => {}
            }
        }
        let classes = format!("a class at {}", ranges(&classes));
        if ignored.is_empty() { classes } else { format!("{classes}, ignored at {}", ranges(&ignored)) }
    }
}

/// The class of every pixel; one of 8 bits is looked up in a table of 256.
fn of_numbers(
    values: &LabelValues,
    class: impl Fn(usize) -> Option<u8>,
    unknown: impl Fn(usize, usize) -> Error,
) -> Result<Vec<u8>> {
    match values {
        LabelValues::Bytes(values) => {
            let table: [Option<u8>; 256] = std::array::from_fn(class);
            collect(values, |v| table[usize::from(v)], |at, v| unknown(at, v.into()))
        }
        LabelValues::Words(values) => collect(values, |v| class(v.into()), |at, v| unknown(at, v.into())),
    }
}

fn collect<T: Copy>(
    pixels: &[T],
    class: impl Fn(T) -> Option<u8>,
    unknown: impl Fn(usize, T) -> Error,
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(pixels.len());
    for (at, &pixel) in pixels.iter().enumerate() {
        out.push(class(pixel).ok_or_else(|| unknown(at, pixel))?);
    }
    Ok(out)
}

/// Ascending numbers, runs of three and more as `a to b`.
pub(super) fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = numbers;
    while let Some(&first) = rest.first() {
        let run = rest.iter().zip(first..).take_while(|(a, b)| **a == *b).count();
        match run {
            1 => parts.push(first.to_string()),
            2 => parts.extend([first.to_string(), (first + 1).to_string()]),
            _ => parts.push(format!("{first} to {}", first + run - 1)),
        }
        rest = &rest[run..];
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 9, 10, 255]), "0 to 3, 7, 9, 10, 255");
        assert_eq!(ValueTable::zero_ignored(150).expected(), "a class at 1 to 150, ignored at 0, 255");
    }

    #[test]
    fn a_colour_table_never_reads_grey_values() {
        let table = ValueTable::new([], BTreeMap::from([([0, 0, 0], 0)]));
        let raw = RawLabels {
            size: care_types::Size::new(1, 1),
            values: Values::Grey(LabelValues::Bytes(vec![0])),
        };
        assert!(table.apply(raw).unwrap_err().to_string().contains("only colours"));
    }
}
