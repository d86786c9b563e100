#!/usr/bin/env python3
"""Compares care-map's boundary AP with its definition in numpy on random small data sets, arrays and figures to 1e-9.

    cargo build --release -p care-map --example evaluate
    python3 eval/map/tests/compare_boundary.py target/release/examples/evaluate --datasets 1000 [--seed 1]

Needs numpy and pycocotools. The band of a mask (Cheng et al., "Boundary IoU", CVPR 2021) is what d erosions by 3x3 take
away, with the outside of the picture as background and d = max(1, round(ratio * diagonal)); an object is compared by the
smaller one of the IoUs of masks and bands, a crowd by the mask's alone, and objects marked `ignore` count neither way, as
in the authors' program. Matching and accumulation are pycocotools' own. The random sets are those of
compare_pycocotools.py. Exit code 1 on any difference.
"""
import contextlib
import copy
import io
import sys

import numpy as np
from compare_pycocotools import dataset, parameters, results, run
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def band(rle, ratio):
    mask = mask_utils.decode(rle).astype(bool)
    h, w = mask.shape
    inside = np.pad(mask, 1)
    for _ in range(max(1, round(ratio * float(np.sqrt(h**2 + w**2))))):
        rows = inside[:-2] & inside[1:-1] & inside[2:]
        inside = np.pad(rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:], 1)
    return mask_utils.encode(np.asfortranarray(mask & ~inside[1:-1, 1:-1], dtype=np.uint8))


class BoundaryEval(COCOeval):
    def _prepare(self):
        marked = {a["id"]: bool(a.get("ignore", 0)) for a in self.cocoGt.dataset["annotations"]}
        super()._prepare()
        for truths in self._gts.values():
            for truth in truths:
                truth["ignore"] = truth["ignore"] or marked[truth["id"]]

    def computeIoU(self, image, category):
        ious = super().computeIoU(image, category)
        if len(ious) == 0:
            return ious
        cats = self.params.catIds
        pick = lambda of: of[image, category] if self.params.useCats else [a for c in cats for a in of[image, c]]
        truths, found = pick(self._gts), pick(self._dts)
        order = np.argsort([-d["score"] for d in found], kind="mergesort")[: self.params.maxDets[-1]]
        bands = [[band(a["segmentation"], self.ratio) for a in side] for side in ([found[i] for i in order], truths)]
        of_bands = mask_utils.iou(*bands, [0] * len(truths))
        crowd = np.array([bool(t["iscrowd"]) for t in truths])
        return np.where(crowd, ious, np.minimum(ious, of_bands))


def reference(gt, dt, job):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(gt)
        coco.createIndex()
        ev = BoundaryEval(coco, coco.loadRes(copy.deepcopy(dt)), "segm")
        ev.ratio = job["params"].get("dilation_ratio", 0.02)
        for key, value in job["params"].items():
            setattr(ev.params, key, np.array(value) if key in ("iouThrs", "recThrs") else value)
        ev.evaluate()
        ev.accumulate()
        ev.summarize()
    arrays = {k: ev.eval[k].flatten() for k in ("precision", "recall", "scores")}
    return arrays | {"stats": ev.stats}


def case(rng, n):
    gt = dataset(rng, True, False)
    dt = results(rng, gt, True, False)
    params = parameters(rng, gt)
    if rng.random() < 0.4:
        params["dilation_ratio"] = [0.005, 0.05, 0.1][rng.integers(3)]
    return gt, dt, {"iou_type": "boundary", "params": params}


if __name__ == "__main__":
    sys.exit(run(__doc__, case, reference))
