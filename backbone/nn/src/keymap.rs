//! Names of parameters: the nearest one, and how a checkpoint's names become a store's.

/// ` (did you mean `x`?)` for the nearest of `candidates`, or nothing when none is near.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, candidates) {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None => String::new(),
    }
}

/// The candidate with the smallest edit distance, at most a third of the name's length (but at least 1); the first
/// one on a tie.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut limit = (name.chars().count() / 3).max(1);
    let mut best = None;
    for candidate in candidates {
        if let Some(distance) = edit_distance(name, candidate, limit) {
            best = Some(candidate);
            if distance == 0 {
                break;
            }
            limit = distance - 1;
        }
    }
    best
}

/// Edit distance of two names if it is at most `limit`; swapping two neighbours counts as one edit, as people type.
fn edit_distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &ca) in a.iter().enumerate() {
        let mut next = vec![i + 1; b.len() + 1];
        for (j, &cb) in b.iter().enumerate() {
            let edited = (row[j] + usize::from(ca != cb)).min(row[j + 1] + 1).min(next[j] + 1);
            let swapped = i > 0 && j > 0 && ca == b[j - 1] && cb == a[i - 1];
            next[j + 1] = if swapped { edited.min(before[j - 1] + 1) } else { edited };
        }
        before = std::mem::replace(&mut row, next);
        if row.iter().chain(&before).min().is_some_and(|&m| m > limit) {
            return None;
        }
    }
    row.last().copied().filter(|&d| d <= limit)
}

/// How names of a checkpoint become names of a store: the first rule whose prefix matches decides, other names stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyMap {
    rules: Vec<(String, Action)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Replace(String),
    Ignore,
}

impl KeyMap {
    /// Every name stays.
    pub fn identity() -> Self {
        Self::default()
    }

    /// Names that start with `prefix` are left out on purpose (`""`: all others).
    pub fn ignore(self, prefix: &str) -> Self {
        self.rule(prefix, Action::Ignore)
    }

    /// `from` at the start of a name becomes `to`; `from = ""` puts `to` before every name that no earlier rule takes.
    pub fn rename(self, from: &str, to: &str) -> Self {
        self.rule(from, Action::Replace(to.to_string()))
    }

    fn rule(mut self, prefix: &str, action: Action) -> Self {
        self.rules.push((prefix.to_string(), action));
        self
    }

    /// The store's name of a checkpoint's name, `None` when it is ignored.
    pub fn map(&self, name: &str) -> Option<String> {
        let matching =
            self.rules.iter().find_map(|(prefix, action)| Some((name.strip_prefix(&**prefix)?, action)));
        match matching {
            Some((rest, Action::Replace(to))) => Some(format!("{to}{rest}")),
            Some((_, Action::Ignore)) => None,
            None => Some(name.to_string()),
        }
    }
}

/// Prefixes that wrappers put before every name: `DataParallel`, `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Bytes of the wrapper prefixes that all names share (`module._orig_mod.` may be stacked).
pub(crate) fn wrapper_prefix_len(names: &[&str]) -> usize {
    let mut cut = 0;
    while let Some(wrapper) = WRAPPERS.iter().find(|w| names.iter().all(|n| n[cut..].starts_with(**w))) {
        if names.is_empty() {
            break;
        }
        cut += wrapper.len();
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let names = ["stem.0.weight", "stem.0.bias", "head.fc.weight"];
        assert_eq!(nearest("stem.0.wieght", names), Some("stem.0.weight"));
        assert_eq!(nearest("stem.1.bias", names), Some("stem.0.bias"));
        assert_eq!(nearest("optimizer", names), None);
        assert_eq!(did_you_mean("head.fc.weights", names), " (did you mean `head.fc.weight`?)");
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let map = KeyMap::identity().ignore("head.").rename("norm.", "last_norm.").rename("", "backbone.");
        assert_eq!(map.map("head.fc.weight"), None);
        assert_eq!(map.map("norm.bias").as_deref(), Some("last_norm.bias"));
        assert_eq!(map.map("stem.0.bias").as_deref(), Some("backbone.stem.0.bias"));
        assert_eq!(KeyMap::identity().map("a").as_deref(), Some("a"));
    }

    #[test]
    fn edit_distances_are_exact_up_to_the_limit() {
        assert_eq!(edit_distance("kitten", "sitting", 3), Some(3));
        assert_eq!(edit_distance("kitten", "sitting", 2), None);
        assert_eq!(edit_distance("", "abc", 5), Some(3));
        assert_eq!(edit_distance("trian", "train", 1), Some(1));
        assert_eq!(edit_distance("abcd", "badc", 4), Some(2));
    }

    #[test]
    fn wrapper_prefixes_are_found_only_when_all_names_have_them() {
        assert_eq!(wrapper_prefix_len(&["module.a", "module.b"]), 7);
        assert_eq!(wrapper_prefix_len(&["module._orig_mod.a"]), 17);
        assert_eq!(wrapper_prefix_len(&["module.a", "b"]), 0);
        assert_eq!(wrapper_prefix_len(&[]), 0);
    }
}
