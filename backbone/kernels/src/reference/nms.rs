//! NMS as `mmcv/ops/csrc/pytorch/cpu/nms.cpp` has it, statement by statement; O(n²).

/// Definition of [`crate::nms::nms`].
pub fn nms(boxes: &[[f32; 4]], scores: &[f32], iou_thr: f32) -> Vec<usize> {
    let n = boxes.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a])); // stable: ties stay in index order
    let mut dead = vec![false; n];
    let mut kept = Vec::new();
    for a in 0..n {
        if dead[a] {
            continue;
        }
        kept.push(order[a]);
        for b in a + 1..n {
            dead[b] |= iou(&boxes[order[a]], &boxes[order[b]]) > iou_thr;
        }
    }
    kept
}

/// Definition of [`crate::nms::batched_nms`] below 10,000 candidates.
pub fn batched_nms(boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], iou_thr: f32) -> Vec<usize> {
    let max = boxes.iter().flatten().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted: Vec<[f32; 4]> =
        boxes.iter().zip(groups).map(|(b, &g)| b.map(|v| v + g as f32 * (max + 1.0))).collect();
    nms(&shifted, scores, iou_thr)
}

fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |b: &[f32; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let inter = w * h;
    inter / (area(a) + area(b) - inter)
}
