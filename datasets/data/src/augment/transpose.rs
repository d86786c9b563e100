//! Rows become columns. Together with flips this makes every quarter turn.

use care_types::{BoxXyxy, DetTarget, Rle, Segmentation};
use image::RgbImage;

/// The picture with x and y exchanged.
pub(crate) fn pixels_transposed(picture: &RgbImage) -> RgbImage {
    RgbImage::from_fn(picture.height(), picture.width(), |x, y| *picture.get_pixel(y, x))
}

/// The picture and its objects with x and y exchanged.
pub(super) fn transpose(picture: &RgbImage, target: DetTarget) -> (RgbImage, DetTarget) {
    let turned = pixels_transposed(picture);
    let boxes = target.boxes.iter().map(|b| BoxXyxy { x0: b.y0, y0: b.x0, x1: b.y1, y1: b.x1 }).collect();
    let masks = target.masks.into_iter().map(|m| m.and_then(mask)).collect();
    (turned, DetTarget { boxes, masks, ..target })
}

fn mask(mask: Segmentation) -> Option<Segmentation> {
    match mask {
        Segmentation::Polygons(mut rings) => {
            rings.iter_mut().flat_map(|ring| ring.chunks_exact_mut(2)).for_each(|point| point.swap(0, 1));
            Some(Segmentation::Polygons(rings))
        }
        Segmentation::Rle(rle) => {
            let (pixels, w) = (rle.to_mask(), rle.width as usize);
            let columns = (0..w).flat_map(|x| pixels.iter().skip(x).step_by(w).copied());
            let turned = columns.collect::<Vec<u8>>();
            Rle::from_mask(&turned, rle.width, rle.height).ok().map(Segmentation::Rle)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_types::{ClassIndex, Size};

    #[test]
    fn pixels_boxes_and_masks_turn_together() {
        let picture = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let ring = vec![1.0, 0.0, 4.0, 0.0, 4.0, 2.0, 1.0, 2.0];
        let rle = Segmentation::Polygons(vec![ring.clone()]).to_rle(Size::new(5, 3)).unwrap();
        let mut target = DetTarget::default();
        for mask in [Segmentation::Polygons(vec![ring]), Segmentation::Rle(rle)] {
            target.push(BoxXyxy::new(1.0, 0.0, 4.0, 2.0), ClassIndex(0), false, Some(mask));
        }
        let (turned, moved) = transpose(&picture, target.clone());
        assert_eq!((turned.dimensions(), turned.get_pixel(2, 4).0), ((3, 5), [4, 2, 0]));
        assert_eq!(moved.boxes[0], BoxXyxy::new(0.0, 1.0, 2.0, 4.0));
        let masks: Vec<Rle> =
            moved.masks.iter().flatten().map(|m| m.to_rle(Size::new(3, 5)).unwrap()).collect();
        assert_eq!((masks.len(), &masks[0]), (2, &masks[1]));
        assert_eq!(masks[0].bbox(), care_types::BoxXywh::new(0.0, 1.0, 2.0, 3.0));
        let (back, again) = transpose(&turned, moved);
        assert_eq!((back, again), (picture, target), "twice is nothing");
    }
}
