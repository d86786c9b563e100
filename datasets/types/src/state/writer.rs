//! Writing the body of a file.
use super::StateKind;
use super::seal::{HEAD, finish, head};

/// Writes the numbers and texts of a state, and seals them.
pub struct StateWriter {
    /// The head, of which the length is filled in at the end, and the body.
    file: Vec<u8>,
}

impl StateWriter {
    /// An empty body.
    pub fn new(kind: StateKind) -> Self {
        StateWriter { file: head(kind) }
    }

    /// A number: 7 bits per byte.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.file.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.file.push(value as u8);
    }

    /// A number that is as short when it is negative: 0, −1, 1, −2 … are written as 0, 1, 2, 3 …
    pub fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    /// A number to the bit: 8 bytes.
    pub fn float(&mut self, value: f64) {
        self.file.extend(value.to_bits().to_le_bytes());
    }

    /// Their number, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.file.extend(bytes);
    }

    /// Bytes that are UTF-8.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// The number of items, then each.
    pub fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        self.number(items.len() as u64);
        items.for_each(|i| item(self, i));
    }

    /// The whole file.
    pub fn seal(mut self) -> Vec<u8> {
        debug_assert!(self.file.len() >= HEAD);
        finish(&mut self.file);
        self.file
    }
}
