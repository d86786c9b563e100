//! Which pictures and categories are evaluated, and where they stand.
use crate::ambiguous;
use crate::federation::Federation;
use crate::{Areas, Benchmark, Error, IouType, Params, Result};
use care_types::coco_json::{Dataset, Frequency};
use care_types::{CategoryId, ImageId};

/// Pictures and categories in the order of the evaluation.
pub(crate) struct Selection {
    /// Ascending, without repeats.
    pub(crate) images: Positions,
    /// Ascending without repeats; in the given order when categories are not told apart.
    pub(crate) categories: Positions,
    /// Every picture of the ground truth.
    pub(crate) known_images: Positions,
    /// Every category of the ground truth.
    pub(crate) known_categories: Positions,
    /// Whether categories are told apart.
    pub(crate) use_cats: bool,
    /// [`Params::quirks`].
    pub(crate) quirks: bool,
    /// Where areas of detections come from; as the first record has it where nothing is said.
    pub(crate) areas: Option<Areas>,
    /// [`Params::iou_type`].
    pub(crate) iou_type: IouType,
    /// Name of each category of `categories`.
    pub(crate) names: Vec<String>,
    /// How common each category of `categories` is.
    pub(crate) frequencies: Vec<Option<Frequency>>,
    /// What was looked for in the pictures; with COCO's rules, everything in all of them.
    pub(crate) federation: Option<Federation>,
}

impl Selection {
    pub(crate) fn new(gt: &Dataset, params: &Params) -> Result<Self> {
        let known_images = Positions::ascending(gt.images.iter().map(|i| i.id.0));
        let known_categories = Positions::ascending(gt.categories.iter().map(|c| c.id.0));
        if known_images.len() == 0 {
            return Err(Error::input("the ground truth has no images"));
        }
        ambiguous::refuse(gt)?;
        let images = match params.img_ids.as_deref() {
            None | Some([]) => known_images.clone(),
            Some(ids) => {
                let wanted = Positions::ascending(ids.iter().map(|i: &ImageId| i.0));
                wanted.require("imgIds", &known_images)?
            }
        };
        let categories = match params.cat_ids.as_deref() {
            None | Some([]) => known_categories.clone(),
            Some(ids) => {
                let ids = ids.iter().map(|c: &CategoryId| c.0);
                let wanted =
                    if params.use_cats { Positions::ascending(ids) } else { Positions::in_order(ids) };
                wanted.require("catIds", &known_categories)?
            }
        };
        let name =
            |&id: &i64| gt.categories.iter().find(|c| c.id.0 == id).map_or("", |c| &c.name).to_string();
        let names = categories.ids.iter().map(name).collect();
        let frequencies = frequencies(gt, &categories, params)?;
        let (use_cats, quirks, iou_type) = (params.use_cats, params.quirks, params.iou_type);
        Ok(Selection {
            images,
            categories,
            known_images,
            known_categories,
            use_cats,
            quirks,
            areas: None,
            iou_type,
            names,
            frequencies,
            federation: None,
        })
    }

    /// With what was looked for in the pictures, when the rules ask for it.
    pub(crate) fn federated(self, gt: &Dataset, params: &Params) -> Result<Self> {
        let federation = match params.benchmark {
            Benchmark::Coco => None,
            Benchmark::Lvis => Some(Federation::new(gt, &self, params)?),
        };
        Ok(Selection { federation, ..self })
    }

    /// The positions of the separately scored categories that are this common, or of all; of none when categories are not
    /// told apart.
    pub(crate) fn groups_of(&self, frequency: Option<Frequency>) -> Vec<usize> {
        let is_meant =
            |&k: &usize| frequency.is_none() || (self.use_cats && self.frequencies[k] == frequency);
        (0..self.groups()).filter(is_meant).collect()
    }

    /// Number of separately scored categories.
    pub(crate) fn groups(&self) -> usize {
        if self.use_cats { self.categories.len() } else { 1 }
    }
}

/// How common categories are, which LVIS' files must say.
fn frequencies(gt: &Dataset, categories: &Positions, params: &Params) -> Result<Vec<Option<Frequency>>> {
    let mut frequencies = vec![None; categories.len()];
    for (n, category) in gt.categories.iter().enumerate() {
        let Some(at) = categories.get(category.id.0) else { continue };
        if params.benchmark == Benchmark::Lvis && category.frequency.is_none() {
            let id = category.id;
            return Err(Error::input(format!(
                "categories[{n}] (id {id}): frequency: missing, or none of r, c, f, as LVIS has them"
            )));
        }
        frequencies[at as usize] = category.frequency;
    }
    Ok(frequencies)
}

/// Ids and their positions.
#[derive(Clone)]
pub(crate) struct Positions {
    pub(crate) ids: Vec<i64>,
    lookup: Lookup,
}

#[derive(Clone)]
enum Lookup {
    /// `table[id - first]` is the position, or `ABSENT`.
    Table { first: i64, table: Vec<u32> },
    /// Sorted (id, position).
    Sorted(Vec<(i64, u32)>),
}

const ABSENT: u32 = u32::MAX;
/// 16 MiB of table at most; COCO's largest picture id is 581,929.
const LARGEST_TABLE: i64 = 1 << 22;

impl Positions {
    pub(crate) fn ascending(ids: impl Iterator<Item = i64>) -> Self {
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        Self::new(ids)
    }

    fn in_order(ids: impl Iterator<Item = i64>) -> Self {
        let mut seen = std::collections::BTreeSet::new();
        Self::new(ids.filter(|&id| seen.insert(id)).collect())
    }

    fn new(ids: Vec<i64>) -> Self {
        let pairs = || ids.iter().enumerate().map(|(i, &id)| (id, i as u32));
        let (first, last) = (ids.iter().min().copied().unwrap_or(0), ids.iter().max().copied().unwrap_or(0));
        let lookup = match last.checked_sub(first) {
            Some(span) if span < LARGEST_TABLE => {
                let mut table = vec![ABSENT; span as usize + 1];
                for (id, position) in pairs() {
                    table[(id - first) as usize] = position;
                }
                Lookup::Table { first, table: if ids.is_empty() { Vec::new() } else { table } }
            }
            _ => {
                let mut sorted: Vec<(i64, u32)> = pairs().collect();
                sorted.sort_unstable();
                Lookup::Sorted(sorted)
            }
        };
        Positions { ids, lookup }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn get(&self, id: i64) -> Option<u32> {
        match &self.lookup {
            Lookup::Table { first, table } => {
                let offset = usize::try_from(id.checked_sub(*first)?).ok()?;
                table.get(offset).copied().filter(|&p| p != ABSENT)
            }
            Lookup::Sorted(sorted) => {
                sorted.binary_search_by_key(&id, |&(id, _)| id).ok().map(|at| sorted[at].1)
            }
        }
    }

    /// Self, when all ids are among the known ones.
    fn require(self, name: &str, known: &Positions) -> Result<Self> {
        match self.ids.iter().find(|&&id| known.get(id).is_none()) {
            Some(id) => Err(Error::config(format!(
                "evaluation parameters: {name} has {id}, which is not in the ground truth"
            ))),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_for_near_and_far_ids() {
        for ids in [vec![5, 7, -3, 0], vec![i64::MIN, 3, i64::MAX], vec![], vec![9, 9]] {
            let positions = Positions::ascending(ids.iter().copied());
            for (at, &id) in positions.ids.iter().enumerate() {
                assert_eq!(positions.get(id), Some(at as u32));
            }
            for id in [1, -4, 8, i64::MAX - 1, i64::MIN + 1] {
                assert_eq!(positions.get(id), None, "{id} in {ids:?}");
            }
        }
    }
}
