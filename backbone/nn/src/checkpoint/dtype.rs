//! Element types of tensors in checkpoint files.

use safetensors::Dtype as SafetensorsDtype;

/// Element type of a stored tensor, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Dtype {
    Bool,
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

/// (type, bytes, name in PyTorch, prefix of PyTorch's typed storage class or "", type in safetensors)
const TABLE: [(Dtype, usize, &str, &str, SafetensorsDtype); 13] = [
    (Dtype::Bool, 1, "bool", "Bool", SafetensorsDtype::BOOL),
    (Dtype::U8, 1, "uint8", "Byte", SafetensorsDtype::U8),
    (Dtype::I8, 1, "int8", "Char", SafetensorsDtype::I8),
    (Dtype::I16, 2, "int16", "Short", SafetensorsDtype::I16),
    (Dtype::U16, 2, "uint16", "", SafetensorsDtype::U16),
    (Dtype::I32, 4, "int32", "Int", SafetensorsDtype::I32),
    (Dtype::U32, 4, "uint32", "", SafetensorsDtype::U32),
    (Dtype::I64, 8, "int64", "Long", SafetensorsDtype::I64),
    (Dtype::U64, 8, "uint64", "", SafetensorsDtype::U64),
    (Dtype::F16, 2, "float16", "Half", SafetensorsDtype::F16),
    (Dtype::BF16, 2, "bfloat16", "BFloat16", SafetensorsDtype::BF16),
    (Dtype::F32, 4, "float32", "Float", SafetensorsDtype::F32),
    (Dtype::F64, 8, "float64", "Double", SafetensorsDtype::F64),
];

impl Dtype {
    fn row(self) -> &'static (Dtype, usize, &'static str, &'static str, SafetensorsDtype) {
        // the rows are in the order of the variants (a test)
        &TABLE[self as usize]
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.row().1
    }

    /// Name in PyTorch: `float32`, `int64`, …
    pub fn torch_name(self) -> &'static str {
        self.row().2
    }

    /// Whether the elements are floating point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
    }

    pub(crate) fn from_torch_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// Of a typed storage class: `FloatStorage`, `HalfStorage`, …
    pub(crate) fn from_storage_class(class: &str) -> Option<Self> {
        let prefix = class.strip_suffix("Storage").filter(|p| !p.is_empty())?;
        TABLE.iter().find(|row| row.3 == prefix).map(|row| row.0)
    }

    pub(crate) fn from_safetensors(dtype: SafetensorsDtype) -> Option<Self> {
        TABLE.iter().find(|row| row.4 == dtype).map(|row| row.0)
    }

    pub(crate) fn to_safetensors(self) -> SafetensorsDtype {
        self.row().4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, i);
            assert_eq!(row.1 * 8, row.4.bitsize());
        }
        assert_eq!(Dtype::from_storage_class("BFloat16Storage"), Some(Dtype::BF16));
        assert_eq!(Dtype::from_storage_class("Storage"), None);
    }
}
