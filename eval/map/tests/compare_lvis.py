#!/usr/bin/env python3
"""Compares care-map by LVIS' rules with lvis-api on random small data sets, arrays and figures to 1e-9.

    pip install --no-deps lvis    # 0.5.3; its other dependencies are for drawing
    cargo build --release -p care-map --example evaluate
    python3 eval/map/tests/compare_lvis.py target/release/examples/evaluate --datasets 2000 [--seed 1]

Needs numpy, pycocotools and lvis. The random sets are those of compare_pycocotools.py, in which pictures name categories
that they do not have and categories that are not labelled throughout, and categories are rare, common or frequent; boxes
and masks, `ignore` and crowds, objects and detections without area, more detections than a picture may have. Categories as
one are left out: lvis-api finds nothing then. Exit code 1 on any difference.
"""
import copy
import logging
import sys
from unittest import mock

import numpy as np
from compare_pycocotools import dataset, parameters, results, run

# lvis-api draws pictures with these, which no evaluation needs, and was written for a numpy that still had this name.
for module in ("cv2", "matplotlib", "matplotlib.pyplot", "matplotlib.patches"):
    sys.modules.setdefault(module, mock.MagicMock())
np.float = float
from lvis import LVIS, LVISEval, LVISResults  # noqa: E402

logging.disable(logging.CRITICAL)
NAMES = {"iouThrs": "iou_thrs", "recThrs": "rec_thrs", "areaRng": "area_rng", "areaRngLbl": "area_rng_lbl"}
NAMES |= {"catIds": "cat_ids", "imgIds": "img_ids"}


def reference(gt, dt, job):
    truth = LVIS.__new__(LVIS)
    truth.logger = logging.getLogger("lvis")
    truth.dataset = copy.deepcopy(gt)
    truth._create_index()
    params = dict(job["params"])
    found = LVISResults(truth, copy.deepcopy(dt), max_dets=params.pop("maxDets", [300])[0])
    ev = LVISEval(truth, found, job["iou_type"])
    for key, value in params.items():
        setattr(ev.params, NAMES[key], np.array(value) if key in ("iouThrs", "recThrs") else value)
    ev.params.cat_ids = sorted(ev.params.cat_ids)
    ev.evaluate()
    ev.accumulate()
    ev.summarize()
    arrays = {k: ev.eval[k].flatten() for k in ("precision", "recall")}
    return arrays | {"stats": np.array(list(ev.results.values()))}


def case(rng, n):
    iou_type = ("bbox", "segm")[n % 2]
    gt = dataset(rng, iou_type == "segm", False)
    cats = [c["id"] for c in gt["categories"]]
    for category in gt["categories"]:
        category["frequency"] = "rcf"[rng.integers(3)]
    for image in gt["images"]:
        for name, share in (("neg_category_ids", 0.5), ("not_exhaustive_category_ids", 0.2)):
            image[name] = [c for c in cats + [998, 999] if rng.random() < share]
    dt = results(rng, gt, iou_type == "segm", False)
    params = parameters(rng, gt)
    params.pop("maxDets", None)
    params.pop("useCats", None)
    if rng.random() < 0.4:
        params["maxDets"] = [int([1, 2, 3, 5, 10][rng.integers(5)])]
    return gt, dt, {"iou_type": iou_type, "benchmark": "lvis", "params": params}


if __name__ == "__main__":
    sys.exit(run(__doc__, case, reference))
