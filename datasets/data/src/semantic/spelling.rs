//! "Did you mean …": the nearest of a few names.

/// ` (did you mean "x"?)` for the nearest candidate within a third of its letters, or nothing.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let near = candidates.into_iter().map(|c| (distance(&word, &c.to_lowercase()), c)).min_by_key(|c| c.0);
    match near {
        Some((steps, name)) if steps <= name.chars().count().div_ceil(3) => {
            format!(" (did you mean {name:?}?)")
        }
        _ => String::new(),
    }
}

/// Levenshtein: letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_proposed_and_far_ones_are_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(did_you_mean("ade20", ["masks", "ade20k"]), " (did you mean \"ade20k\"?)");
        assert_eq!(did_you_mean("coco", ["masks", "ade20k"]), "");
    }
}
