//! Nearest-neighbour resizing of label maps, by OpenCV's rule and by Pillow's.
//!
//! They differ: OpenCV takes `floor(dst * in / out)`, Pillow the source pixel under the centre of the result pixel.
//! A label is never interpolated, so these work on any `Copy` value.

/// OpenCV's `INTER_NEAREST`: `src = min(floor(dst * in / out), in - 1)`.
///
/// `labels` is row-major `src_h × src_w`; the result is row-major `height × width` (`src` and `dst` are `[w, h]`).
///
/// # Panics
/// When `labels` does not have the stated size or the source is empty.
pub fn resize_cv2<T: Copy>(labels: &[T], src: [u32; 2], dst: [u32; 2]) -> Vec<T> {
    gather(labels, src, cv2_index(src[0], dst[0]), cv2_index(src[1], dst[1]))
}

/// Pillow's `NEAREST`: `src = floor((dst + 0.5) * in / out)`; sizes as in [`resize_cv2`].
///
/// # Panics
/// As [`resize_cv2`].
pub fn resize_pil<T: Copy>(labels: &[T], src: [u32; 2], dst: [u32; 2]) -> Vec<T> {
    gather(labels, src, pil_index(src[0], dst[0]), pil_index(src[1], dst[1]))
}

fn gather<T: Copy>(labels: &[T], src: [u32; 2], xs: Vec<usize>, ys: Vec<usize>) -> Vec<T> {
    let [src_w, src_h] = src.map(|side| side as usize);
    assert!(src_w > 0 && src_h > 0, "cannot resize an empty label map ({src_w}x{src_h})");
    assert_eq!(labels.len(), src_w * src_h, "a {src_w}x{src_h} label map has {} values", labels.len());
    let mut out = Vec::with_capacity(xs.len() * ys.len());
    for y in ys {
        let row = &labels[y * src_w..(y + 1) * src_w];
        out.extend(xs.iter().map(|&x| row[x]));
    }
    out
}

fn cv2_index(src: u32, dst: u32) -> Vec<usize> {
    let step = 1.0 / (f64::from(dst) / f64::from(src)); // the reference's order of operations
    (0..dst).map(|d| ((f64::from(d) * step).floor() as usize).min(src as usize - 1)).collect()
}

fn pil_index(src: u32, dst: u32) -> Vec<usize> {
    let step = f64::from(src) / f64::from(dst);
    // Pillow's affine transform starts half a step in and adds: the running sum, not a product, decides the bits.
    let mut at = step * 0.5;
    (0..dst)
        .map(|_| {
            let index = (at as usize).min(src as usize - 1);
            at += step;
            index
        })
        .collect()
}
