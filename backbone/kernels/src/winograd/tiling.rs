//! How maps of several sizes are cut into tiles of 4×4 pixels that are counted through.

use super::transform::OUT;

/// One map of a call.
pub(super) struct Tiling {
    pub(super) h: usize,
    pub(super) w: usize,
    rows: usize,
    columns: usize,
    /// Index of its first tile among the tiles of all maps, and of the first tile after it.
    first: usize,
    pub(super) end: usize,
}

impl Tiling {
    /// Of `n` pictures of `h`×`w` pixels; `first` tiles come before.
    pub(super) fn new([n, h, w]: [usize; 3], first: usize) -> Tiling {
        let (rows, columns) = (h.div_ceil(OUT), w.div_ceil(OUT));
        Tiling { h, w, rows, columns, first, end: first + n * rows * columns }
    }

    /// Whether a tile comes after the tiles of this map.
    pub(super) fn is_before(&self, tile: usize) -> bool {
        self.end <= tile
    }

    /// Picture and top left pixel of a tile.
    pub(super) fn corner(&self, tile: usize) -> (usize, usize, usize) {
        let tile = tile - self.first;
        let (row, column) = (tile / self.columns, tile % self.columns);
        (row / self.rows, row % self.rows * OUT, column * OUT)
    }

    /// Flat index of a pixel, when it is within the map.
    pub(super) fn pixel(&self, image: usize, y: usize, x: usize) -> Option<usize> {
        (y < self.h && x < self.w).then(|| (image * self.h + y) * self.w + x)
    }
}
