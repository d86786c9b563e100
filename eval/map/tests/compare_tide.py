#!/usr/bin/env python3
"""Compares care-map's TIDE numbers with the package tidecv on random small data sets, AP, dAP and counts to 1e-9.

    cargo build --release -p care-map --example explain
    python3 eval/map/tests/compare_tide.py target/release/examples/explain --datasets 2000 [--seed 1]

Needs numpy, pycocotools and tidecv (1.0.1). The data sets are those of compare_pycocotools.py: crowds, ties in scores and
IoUs, empty pictures, pictures in any order; detections of unknown categories are taken out, because care-map drops them
and tidecv makes categories of them; annotation ids are unique, and scores are above -1, below which tidecv fails. With
`--real GT DT TYPE` one pair of files is compared instead. Exit code 1 on any difference.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from tidecv import TIDE, datasets
from tidecv.errors.main_errors import FalsePositiveError

from compare_pycocotools import dataset, results

TOLERANCE = 1e-9
KINDS = ["Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"]


def reference(gt_path, dt_path, iou_type, iou, background):
    """In [0, 1]. Figures for which tidecv divides by zero, because a correction leaves nothing, are not there."""
    gt, dt = datasets.COCO(gt_path), datasets.COCOResult(dt_path)
    tide = TIDE()
    mode = TIDE.BOX if iou_type == "bbox" else TIDE.MASK
    figures = {}

    def figure(name, value):
        with contextlib.suppress(ZeroDivisionError):
            figures[name] = value() / 100

    try:
        run = tide.evaluate(gt, dt, pos_threshold=iou, background_threshold=background, mode=mode)
    except ZeroDivisionError:
        return figures
    figure("ap", lambda: run.ap)
    for error, count in run.count_errors().items():
        figures[error.short_name + " count"] = count
        figure(error.short_name, lambda: run.fix_main_errors(error_types=[error])[error])
    figure("FalsePos", lambda: run.fix_errors(transform=FalsePositiveError.fix).get_mAP() - run.ap)
    figure("FalseNeg", lambda: run.fix_errors(false_neg_dict=run.false_negatives).get_mAP() - run.ap)
    return figures


def ours(answer):
    tide = answer["tide"]
    figures = {"ap": tide["ap"], "FalsePos": tide["false_positives_dap"], "FalseNeg": tide["false_negatives_dap"]}
    for error in tide["errors"]:
        figures[error["kind"]] = error["dAP"]
        figures[error["kind"] + " count"] = error["count"]
    return figures


def compare(answer, job):
    if "error" in answer:
        return float("inf"), answer["error"], {}
    iou, background = job["iou"], job["background_iou"]
    want = reference(job["gt"], job["dt"], job["iou_type"], iou, background)
    if not want:
        return None, "", {}
    got = ours(answer)
    worst = max(want, key=lambda k: abs(got[k] - want[k]))
    return abs(got[worst] - want[worst]), f"{worst}: {got[worst]} instead of {want[worst]}", want


def random_job(rng, n, gt_path, dt_path):
    iou_type = ("bbox", "segm")[n % 2]
    gt = dataset(rng, iou_type == "segm", False)
    for image in gt["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    dt = results(rng, gt, iou_type == "segm", False)
    known = {c["id"] for c in gt["categories"]}
    dt = [d for d in dt if d["category_id"] in known and ("bbox" in d or iou_type == "segm")]
    for d in dt:
        d["score"] = max(d["score"], -0.9)
    for path, value in ((gt_path, gt), (dt_path, dt)):
        with open(path, "w") as f:
            json.dump(value, f)
    iou, background = (0.5, 0.1) if rng.random() < 0.6 else (float(rng.choice([0.3, 0.6, 0.75])), 0.2)
    return {"gt": gt_path, "dt": dt_path, "iou_type": iou_type, "iou": iou, "background_iou": background}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("explain")
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", nargs=3, metavar=("GT", "DT", "TYPE"))
    parser.add_argument("--keep", help="folder for the first data set that differs")
    args = parser.parse_args()
    process = subprocess.Popen([args.explain], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worst, failures, compared, skipped, seen = 0.0, 0, 0, 0, dict.fromkeys(KINDS, 0)
    with tempfile.TemporaryDirectory() as folder:
        gt_path, dt_path = os.path.join(folder, "gt.json"), os.path.join(folder, "dt.json")
        for n in range(1 if args.real else args.datasets):
            if args.real:
                job = dict(zip(("gt", "dt", "iou_type"), args.real)) | {"iou": 0.5, "background_iou": 0.1}
            else:
                job = random_job(np.random.default_rng([args.seed, n]), n, gt_path, dt_path)
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            difference, where, figures = compare(json.loads(process.stdout.readline()), job)
            if difference is None:
                skipped += 1
                continue
            compared += 1
            for kind in KINDS:
                seen[kind] += figures.get(kind, 0) > 0
            worst = max(worst, difference)
            if not difference <= TOLERANCE:
                failures += 1
                print(f"data set {n} ({job['iou_type']}, IoU {job['iou']}): {where}")
                if args.keep and failures == 1:
                    os.makedirs(args.keep, exist_ok=True)
                    for name in ("gt", "dt"):
                        with open(job[name]) as a, open(os.path.join(args.keep, name + ".json"), "w") as b:
                            b.write(a.read())
            if args.real:
                print(json.dumps(figures, indent=1))
    process.stdin.close()
    process.wait()
    print(f"{compared} data sets compared, {failures} differ, worst difference {worst:.3g}, "
          f"{skipped} on which tidecv fails; data sets with a dAP above 0: {seen}")
    return 1 if failures or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
