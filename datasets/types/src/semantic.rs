//! What a segmenter says about a picture.

/// Class logits on the network's grid, as a head returns them: they are resized at the picture's own size, where a label map could
/// not be resized exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSemantic {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per cell.
    pub classes: usize,
    /// `height × width × classes`.
    pub logits: Vec<f32>,
}
