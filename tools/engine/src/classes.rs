//! Classes of the weights against classes of the data: compared by name, never by position or id.

use crate::error::{Error, Result};
use care_types::{Label, LabelMap};
use std::collections::BTreeSet;

/// Names that an error lists before it says how many more there are.
const LISTED: usize = 8;

/// The data's ids and names in the order in which the network predicts them.
///
/// # Errors
/// `Weights` when the two do not hold the same names; the message lists what each side has alone.
pub fn in_network_order(network: &LabelMap, data: &LabelMap) -> Result<LabelMap> {
    let known: BTreeSet<&str> = network.names().into_iter().collect();
    let wanted: BTreeSet<&str> = data.names().into_iter().collect();
    if known != wanted {
        return Err(mismatch(network, data, &known, &wanted));
    }
    let label = |own: &Label| {
        let class = data.index_of_name(&own.name)?;
        Some(Label { color: own.color, ..data.get(class)?.clone() })
    };
    let entries: Option<Vec<Label>> = network.entries().iter().map(label).collect();
    entries
        .map(LabelMap::new)
        .ok_or_else(|| Error::internal("a class name that is in both lists was not found"))
}

fn mismatch(network: &LabelMap, data: &LabelMap, known: &BTreeSet<&str>, wanted: &BTreeSet<&str>) -> Error {
    let alone = |map: &LabelMap, other: &BTreeSet<&str>| {
        let names: Vec<&str> = map.names().into_iter().filter(|n| !other.contains(n)).collect();
        let more = names.len().saturating_sub(LISTED);
        let shown = names[..names.len() - more].join(", ");
        match (names.is_empty(), more) {
            (true, _) => "none".to_owned(),
            (_, 0) => shown,
            _ => format!("{shown} and {more} more"),
        }
    };
    Error::weights(format!(
        "the class names of the weights ({}) and of the data ({}) differ\n  only in the weights: {}\n  only in the data: {}\n\
         use weights that were trained for this data (`train --data DATA` makes some), or rename the categories",
        network.len(),
        data.len(),
        alone(network, wanted),
        alone(data, known),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_types::{CategoryId, ClassIndex};

    fn map(entries: &[(i64, &str)]) -> LabelMap {
        let label =
            |&(id, name): &(i64, &str)| Label { id: CategoryId(id), name: name.to_owned(), color: [0; 3] };
        LabelMap::new(entries.iter().map(label).collect())
    }

    #[test]
    fn ids_come_from_the_data_and_order_from_the_network() -> Result<()> {
        let network = map(&[(1, "cat"), (2, "dog"), (3, "cow")]);
        let data = map(&[(7, "cow"), (90, "cat"), (0, "dog")]);
        let got = in_network_order(&network, &data)?;
        let ids: Vec<_> = (0..3).map(|i| got.id(ClassIndex(i))).collect();
        assert_eq!(ids, [Some(CategoryId(90)), Some(CategoryId(0)), Some(CategoryId(7))]);
        Ok(())
    }

    #[test]
    fn other_names_are_refused_with_both_lists() {
        let network = map(&[(1, "cat"), (2, "dog")]);
        for data in
            [map(&[(1, "cat")]), map(&[(1, "cat"), (2, "Dog")]), map(&[(1, "cat"), (2, "dog"), (3, "cow")])]
        {
            let error = in_network_order(&network, &data).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Weights);
            assert!(error.to_string().contains("only in the weights"), "{error}");
        }
    }
}
