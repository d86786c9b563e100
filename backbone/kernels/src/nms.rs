//! Greedy non-maximum suppression with mmdetection's (mmcv's) and torchvision's semantics.
//!
//! Boxes are `[x0, y0, x1, y1]` in continuous pixels (width = x1 - x0, no `+1`). Candidates are visited by descending
//! score, equal scores by ascending index (a stable sort, as `torch.sort(stable=True)`); one is dropped when its IoU with a
//! box kept before it is **strictly greater** than the threshold. All of it is f32 in mmcv's order of operations
//! (`csrc/pytorch/cpu/nms.cpp`), because a published AP depends on which side of the threshold a rounding falls.
//! The answer therefore does not depend on the instruction set either: every operation used is exactly rounded.
//!
//! Scores sort by `f32::total_cmp`, so a NaN score comes first, as in PyTorch. A NaN coordinate never suppresses anything.

use crate::isa::Isa;

/// Up to this many candidates mmcv runs one NMS over all shifted boxes (`split_thr` of `batched_nms`); from it on, one per
/// group. Both give the same boxes except where negative coordinates let shifted groups touch.
const SPLIT_FROM: usize = 10_000;

/// Indices of the boxes that survive, by descending score (ties: lower index first).
///
/// # Panics
/// When `boxes` and `scores` differ in length.
pub fn nms(boxes: &[[f32; 4]], scores: &[f32], iou_thr: f32) -> Vec<usize> {
    nms_with(Isa::current(), boxes, scores, iou_thr)
}

/// [`nms`] on a chosen instruction set.
pub fn nms_with(isa: Isa, boxes: &[[f32; 4]], scores: &[f32], iou_thr: f32) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "nms: {} boxes but {} scores", boxes.len(), scores.len());
    greedy(isa, boxes, by_score(scores), iou_thr)
}

/// NMS within each group (class, or pyramid level for an RPN): boxes of different groups do not suppress each other.
///
/// As mmcv does it: box coordinates are shifted by `group * (max_coordinate + 1)` in f32 and one NMS is run on them, so
/// that an IoU within about 1e-4 of the threshold can fall differently from an unshifted one, and boxes at negative
/// coordinates may touch the group before theirs. From 10,000 candidates on each group is run by itself (still shifted).
/// Returns indices by descending score over all groups. Call it once per picture, or use [`batched_nms_images`].
///
/// # Panics
/// When the lengths differ.
pub fn batched_nms(boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], iou_thr: f32) -> Vec<usize> {
    batched_nms_with(Isa::current(), boxes, scores, groups, iou_thr)
}

/// [`batched_nms`] on a chosen instruction set.
pub fn batched_nms_with(
    isa: Isa,
    boxes: &[[f32; 4]],
    scores: &[f32],
    groups: &[u32],
    iou_thr: f32,
) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "batched_nms: {} boxes but {} scores", boxes.len(), scores.len());
    assert_eq!(boxes.len(), groups.len(), "batched_nms: {} boxes but {} groups", boxes.len(), groups.len());
    let shifted = shift_by_group(boxes, groups);
    let order = by_score(scores);
    if boxes.len() < SPLIT_FROM {
        return greedy(isa, &shifted, order, iou_thr);
    }
    let mut kept: Vec<usize> =
        split(order, groups).flat_map(|order| greedy(isa, &shifted, order, iou_thr)).collect();
    sort_by_score(&mut kept, scores);
    kept
}

/// [`batched_nms`] for the candidates of several pictures in one list: each picture is treated by itself, so that its
/// answer (the shift included) does not depend on its neighbours. Returns, in ascending order of picture number, the
/// surviving indices of each picture by descending score.
///
/// # Panics
/// When the lengths differ.
pub fn batched_nms_images(
    boxes: &[[f32; 4]],
    scores: &[f32],
    groups: &[u32],
    images: &[u32],
    iou_thr: f32,
) -> Vec<usize> {
    assert_eq!(
        boxes.len(),
        images.len(),
        "batched_nms_images: {} boxes but {} images",
        boxes.len(),
        images.len()
    );
    let all: Vec<usize> = (0..boxes.len()).collect();
    split(all, images)
        .flat_map(|of_image| {
            let b: Vec<_> = of_image.iter().map(|&i| boxes[i]).collect();
            let s: Vec<_> = of_image.iter().map(|&i| scores[i]).collect();
            let g: Vec<_> = of_image.iter().map(|&i| groups[i]).collect();
            batched_nms(&b, &s, &g, iou_thr).into_iter().map(|k| of_image[k]).collect::<Vec<_>>()
        })
        .collect()
}

/// mmcv's `boxes + idxs.to(boxes) * (boxes.max() + 1)`, in f32.
fn shift_by_group(boxes: &[[f32; 4]], groups: &[u32]) -> Vec<[f32; 4]> {
    let max = boxes.iter().flatten().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
    let step = max + 1.0;
    boxes.iter().zip(groups).map(|(b, &g)| b.map(|v| v + g as f32 * step)).collect()
}

fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    sort_by_score(&mut order, scores);
    order
}

fn sort_by_score(order: &mut [usize], scores: &[f32]) {
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
}

/// The members of each key in ascending order of key, the order within a key unchanged.
fn split(order: Vec<usize>, keys: &[u32]) -> impl Iterator<Item = Vec<usize>> {
    let mut of_key = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for i in order {
        of_key.entry(keys[i]).or_default().push(i);
    }
    of_key.into_values()
}

/// Boxes compared at once; the widest vector, so that one layout serves every instruction set.
const LANES: usize = 16;

/// The kept boxes as structure of arrays in blocks of [`LANES`], so that a candidate meets a whole block at a time.
struct Block {
    x0: [f32; LANES],
    y0: [f32; LANES],
    x1: [f32; LANES],
    y1: [f32; LANES],
    area: [f32; LANES],
}

impl Block {
    /// Empty lanes have a NaN area: their IoU is NaN, which is never greater than a threshold.
    const EMPTY: Self = Block {
        x0: [0.0; LANES],
        y0: [0.0; LANES],
        x1: [0.0; LANES],
        y1: [0.0; LANES],
        area: [f32::NAN; LANES],
    };

    fn set(&mut self, lane: usize, b: &[f32; 4]) {
        (self.x0[lane], self.y0[lane], self.x1[lane], self.y1[lane]) = (b[0], b[1], b[2], b[3]);
        self.area[lane] = area(b);
    }
}

fn area(b: &[f32; 4]) -> f32 {
    (b[2] - b[0]) * (b[3] - b[1])
}

/// A candidate is compared with the boxes kept before it and not the other way round: the outcome is the same, nothing is
/// written for the candidates that fall, and the first block that suppresses ends the search.
fn greedy(isa: Isa, boxes: &[[f32; 4]], order: Vec<usize>, iou_thr: f32) -> Vec<usize> {
    let mut kept = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    isa.assert_available();
    let suppressed = suppressed_fn(isa);
    for i in order {
        // SAFETY: `suppressed_fn` returned the function for an instruction set that was just asserted.
        if unsafe { suppressed(&blocks, &boxes[i], iou_thr) } {
            continue;
        }
        if kept.len() % LANES == 0 {
            blocks.push(Block::EMPTY);
        }
        if let Some(last) = blocks.last_mut() {
            last.set(kept.len() % LANES, &boxes[i]);
        }
        kept.push(i);
    }
    kept
}

type Suppressed = unsafe fn(&[Block], &[f32; 4], f32) -> bool;

fn suppressed_fn(isa: Isa) -> Suppressed {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => suppressed_avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => suppressed_avx2,
        _ => suppressed,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
fn suppressed_avx512(blocks: &[Block], b: &[f32; 4], iou_thr: f32) -> bool {
    suppressed(blocks, b, iou_thr)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn suppressed_avx2(blocks: &[Block], b: &[f32; 4], iou_thr: f32) -> bool {
    suppressed(blocks, b, iou_thr)
}

/// Whether any box of `blocks` has an IoU with `b` above the threshold. Plain loops over 16 lanes that the compiler turns
/// into vectors of the caller's instruction set.
#[inline(always)]
fn suppressed(blocks: &[Block], b: &[f32; 4], iou_thr: f32) -> bool {
    let b_area = area(b);
    for k in blocks {
        let mut inter = [0.0; LANES];
        let mut touches = 0u32;
        for (l, inter) in inter.iter_mut().enumerate() {
            let w = max(0.0, min(b[2], k.x1[l]) - max(b[0], k.x0[l]));
            let h = max(0.0, min(b[3], k.y1[l]) - max(b[1], k.y0[l]));
            *inter = w * h;
            touches |= u32::from(*inter > 0.0);
        }
        // Without a common area no IoU exceeds a threshold of zero or more, and the divisions are saved.
        if touches == 0 && iou_thr >= 0.0 {
            continue;
        }
        let mut over = 0u32;
        for (inter, area) in inter.iter().zip(&k.area) {
            over |= u32::from(inter / (area + b_area - inter) > iou_thr);
        }
        if over != 0 {
            return true;
        }
    }
    false
}

/// `std::max`: the first argument unless it is smaller, so that a NaN behaves as in mmcv (`f32::max` would drop it).
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

/// `std::min`.
#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}
