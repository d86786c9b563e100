//! Numbers of any width in bits, lowest bit first.

/// The widest number of one [`BitReader::take`].
const WIDEST: u32 = 32;

/// Writes bits.
#[derive(Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet.
    open: u64,
    open_bits: u32,
}

impl BitWriter {
    /// The lowest `bits` bits of a value that has no others; 32 at most.
    pub(crate) fn put(&mut self, value: u32, bits: u32) {
        self.open |= u64::from(value) << self.open_bits;
        self.open_bits += bits;
        while self.open_bits >= 8 {
            self.bytes.push(self.open as u8);
            self.open >>= 8;
            self.open_bits -= 8;
        }
    }

    pub(crate) fn put_bit(&mut self, bit: bool) {
        self.put(bit.into(), 1);
    }

    /// All bits of a number.
    pub(crate) fn put_u64(&mut self, value: u64) {
        self.put(value as u32, 32);
        self.put((value >> 32) as u32, 32);
    }

    /// A count that is small as a rule: Elias' gamma code, 1 bit for 0, 3 for 1 and 2, 5 up to 6, and so on.
    pub(crate) fn put_count(&mut self, count: u32) {
        let value = u64::from(count) + 1;
        let low_bits = value.ilog2();
        self.put(0, low_bits);
        self.put(1, 1);
        self.put((value ^ 1 << low_bits) as u32, low_bits);
    }

    /// Any number: how many bits it has, then its bits.
    pub(crate) fn put_long(&mut self, value: u64) {
        let bits = u64::BITS - value.leading_zeros();
        self.put(bits, 7);
        self.put(value as u32, bits.min(32));
        self.put((value >> 32) as u32, bits.saturating_sub(32));
    }

    /// What was written, filled up with zeros to whole bytes.
    pub(crate) fn finish(mut self) -> Box<[u8]> {
        if self.open_bits > 0 {
            self.bytes.push(self.open as u8);
        }
        self.bytes.into()
    }
}

/// Reads what [`BitWriter`] wrote. Everything is `None` beyond the end.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// The next bits, zeros beyond the end: 57 or more are right.
    fn ahead(&self) -> u64 {
        let rest = &self.bytes[self.at / 8..];
        let word = match rest.first_chunk() {
            Some(word) => *word,
            None => std::array::from_fn(|i| rest.get(i).copied().unwrap_or(0)),
        };
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub(crate) fn take(&mut self, bits: u32) -> Option<u32> {
        debug_assert!(bits <= WIDEST);
        if self.left() < bits as usize {
            return None;
        }
        let value = self.ahead() & ((1 << bits) - 1);
        self.at += bits as usize;
        Some(value as u32)
    }

    pub(crate) fn take_bit(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    pub(crate) fn take_u64(&mut self) -> Option<u64> {
        let low = self.take(32)?;
        Some(u64::from(self.take(32)?) << 32 | u64::from(low))
    }

    pub(crate) fn take_count(&mut self) -> Option<u32> {
        let low_bits = self.ahead().trailing_zeros();
        if low_bits > WIDEST || self.left() <= low_bits as usize {
            return None;
        }
        self.at += low_bits as usize + 1;
        let value = 1 << low_bits | u64::from(self.take(low_bits)?);
        u32::try_from(value - 1).ok()
    }

    pub(crate) fn take_long(&mut self) -> Option<u64> {
        let bits = self.take(7).filter(|&bits| bits <= u64::BITS)?;
        let low = self.take(bits.min(32))?;
        Some(u64::from(self.take(bits.saturating_sub(32))?) << 32 | u64::from(low))
    }

    /// Whether only the zeros are left that fill the last byte.
    pub(crate) fn is_finished(&self) -> bool {
        self.left() < 8 && self.ahead() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec((any::<u64>(), 0..64u32, 0..=32u32), 0..40)) {
            let mut writer = BitWriter::default();
            for &(value, shift, bits) in &numbers {
                writer.put(((value >> shift) & ((1 << bits) - 1)) as u32, bits);
                writer.put_count((value >> shift) as u32);
                writer.put_long(value >> shift);
                writer.put_u64(value);
                writer.put_bit(value & 1 == 1);
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            for &(value, shift, bits) in &numbers {
                prop_assert_eq!(reader.take(bits), Some(((value >> shift) & ((1 << bits) - 1)) as u32));
                prop_assert_eq!(reader.take_count(), Some((value >> shift) as u32));
                prop_assert_eq!(reader.take_long(), Some(value >> shift));
                prop_assert_eq!(reader.take_u64(), Some(value));
                prop_assert_eq!(reader.take_bit(), Some(value & 1 == 1));
            }
            prop_assert!(reader.is_finished());
            prop_assert_eq!(reader.take_u64(), None);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..30)) {
            let mut reader = BitReader::new(&bytes);
            let mut taken = 0;
            while reader.take_count().is_some() && reader.take_long().is_some() {
                taken += 1;
                prop_assert!(taken <= bytes.len() * 8);
            }
        }
    }
}
