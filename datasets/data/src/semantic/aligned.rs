//! The resize of published Semantic FPN evaluations: sides stretched, not padded, to multiples of 32.

use care_types::{Geometry, Size};
use image::RgbImage;

use crate::{Preprocess, Sample};

/// As [`Preprocess::apply`], but the resized picture is resized once more to sides rounded up to `pad_divisor`, so that there
/// is no padding: `AlignedResize` of the PVT and PoolFormer lineage, whose numbers this project is compared with. The aspect
/// ratio changes by up to `pad_divisor - 1` pixels; class logits are resized back to the original size as usual.
///
/// # Panics
/// When the picture has a side of 0, which no decoder of this crate returns.
pub fn aligned(preprocess: &Preprocess, picture: &RgbImage) -> Sample {
    let Geometry { original, resized, padded, .. } =
        preprocess.geometry(Size::new(picture.width(), picture.height()));
    let fitted = preprocess.interpolation.resize(picture, resized);
    let stretched = preprocess.interpolation.resize(&fitted, padded);
    preprocess.normalize(&stretched, Geometry::new(original, padded, padded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scale;

    #[test]
    fn there_is_no_padding_and_sides_are_multiples() {
        let preprocess = Preprocess { scale: Scale { long: 2048, short: 512 }, ..Preprocess::default() };
        let picture = RgbImage::from_pixel(683, 500, image::Rgb([10, 20, 30]));
        let sample = aligned(&preprocess, &picture);
        assert_eq!(sample.geometry.resized, Size::new(704, 512)); // 699x512 without
        assert_eq!(sample.geometry.padded, sample.geometry.resized);
        let pixel = &preprocess.apply(&picture).pixels[..3];
        assert!(sample.pixels.chunks_exact(3).all(|p| p == pixel));
    }
}
