//! Where a pair of label and prediction is counted.

/// Bins `label * classes + prediction`, then one for pixels with an ignored label, then one for pairs that cannot be.
///
/// Pairs that cannot be are counted like any other, so that the loops over pixels have no way out.
#[derive(Clone, Copy)]
pub(crate) struct Bins {
    classes: u16,
    ignore: u16,
    /// Where `ignore` goes.
    ignored: u32,
}

impl Bins {
    /// At most `u16::MAX` classes. Without an ignored value, the largest one stands in: it is never a class, and its bin is
    /// that of pairs that cannot be.
    pub(crate) fn new(classes: usize, ignore: Option<u16>) -> Self {
        let bins = Bins { classes: classes as u16, ignore: ignore.unwrap_or(u16::MAX), ignored: 0 };
        let ignored = if ignore.is_some() { bins.ignored() } else { bins.invalid() };
        Bins { ignored: ignored as u32, ..bins }
    }

    /// Number of bins.
    pub(crate) fn len(self) -> usize {
        self.invalid() + 1
    }

    /// The bin of pixels with an ignored label.
    pub(crate) fn ignored(self) -> usize {
        usize::from(self.classes).pow(2)
    }

    /// The bin of pairs that cannot be.
    pub(crate) fn invalid(self) -> usize {
        self.ignored() + 1
    }

    /// The bin of a pair.
    #[inline(always)]
    pub(crate) fn of(self, label: u16, prediction: u16) -> usize {
        let classes = u32::from(self.classes);
        let (l, p) = (u32::from(label), u32::from(prediction));
        let bin = if l < classes && p < classes { l * classes + p } else { classes * classes + 1 };
        (if label == self.ignore { self.ignored } else { bin }) as usize
    }

    /// [`Self::of`] in 16 bits, for as many lanes per vector as possible. Only right when all bins fit 16 bits.
    #[inline(always)]
    pub(crate) fn of_narrow(self, label: u16, prediction: u16) -> u16 {
        let classes = self.classes;
        let inside = (label < classes) & (prediction < classes);
        let bin = label.wrapping_mul(classes).wrapping_add(prediction);
        let bin = if inside { bin } else { classes.wrapping_mul(classes).wrapping_add(1) };
        if label == self.ignore { self.ignored as u16 } else { bin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_give_the_same_bin() {
        for classes in [1, 2, 19, 150, 255] {
            for ignore in [None, Some(0), Some(255), Some(u16::MAX)] {
                let bins = Bins::new(classes, ignore);
                for label in (0..300).chain([u16::MAX - 1, u16::MAX]) {
                    for prediction in (0..300).chain([u16::MAX]) {
                        let (wide, narrow) = (bins.of(label, prediction), bins.of_narrow(label, prediction));
                        assert_eq!(wide, usize::from(narrow), "{classes} {ignore:?} {label} {prediction}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_an_ignored_value_every_label_must_be_a_class() {
        let bins = Bins::new(4096, None);
        assert_eq!(bins.of(u16::MAX, 0), bins.invalid());
        assert_eq!(bins.of(4095, 4095), bins.ignored() - 1);
        assert_eq!(Bins::new(4096, Some(u16::MAX)).of(u16::MAX, u16::MAX), bins.ignored());
    }
}
