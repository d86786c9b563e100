#!/usr/bin/env python3
"""Compares care-map's results per picture, F1, confusion matrix and calibration with plain numpy over pycocotools.

    cargo build --release -p care-map --example explain
    python3 eval/map/tests/compare_explain.py target/release/examples/explain --datasets 1000 [--seed 1]

Needs numpy and pycocotools. Which detection finds which object comes from pycocotools' evalImgs; the AP of a picture from
a COCOeval of that picture alone; F1, confusion and calibration from their definitions, in a few lines each. The data sets
are those of compare_pycocotools.py, with unique annotation ids. Exit code 1 on any difference above 1e-9.
"""
import argparse
import contextlib
import copy
import io
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from compare_pycocotools import dataset, results

TOLERANCE = 1e-9


def run(coco, found, iou_type, iou, images=None):
    ev = COCOeval(coco, found, iou_type)
    ev.params.iouThrs = np.array([iou])
    if images is not None:
        ev.params.imgIds = images
    ev.evaluate()
    return ev


def picture_ap(coco, found, iou_type, iou, image):
    ev = run(coco, found, iou_type, iou, [image])
    ev.accumulate()
    precision = ev.eval["precision"][0, :, :, 0, -1]
    return float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0


def f1(tp, fp, misses):
    return 2 * tp / (2 * tp + fp + misses) if tp + fp + misses else -1.0


def operating(rows, objects, score):
    """rows: (score, is a hit) of the detections that count."""
    kept = [hit for s, hit in rows if s >= score]
    tp, fp = sum(kept), len(kept) - sum(kept)
    misses = objects - tp
    return {
        "score": score, "true_positives": tp, "false_positives": fp, "misses": misses,
        "precision": tp / len(kept) if kept else -1.0, "recall": tp / objects if objects else -1.0,
        "f1": f1(tp, fp, misses),
    }


def best(rows, objects):
    points = [operating(rows, objects, s) for s in sorted({s for s, _ in rows}, reverse=True)]
    return max(points, key=lambda p: p["f1"]) if points else None  # the first of equals has the highest score


def reliability(rows, bins):
    scores, hits = np.array([s for s, _ in rows]), np.array([h for _, h in rows], bool)
    inside = (scores >= 0) & (scores <= 1)
    outside = int((~inside).sum())
    scores, hits = scores[inside], hits[inside]
    which = np.searchsorted(np.arange(1, bins + 1) / bins, scores, side="left")
    ece, mce = (0.0, 0.0) if len(scores) else (-1.0, -1.0)
    filled = []
    for b in range(bins):
        here = which == b
        if here.any():
            gap = abs(hits[here].mean() - scores[here].mean())
            ece, mce = ece + here.mean() * gap, max(mce, gap)
            filled.append([int(here.sum()), float(scores[here].mean()), float(hits[here].mean())])
        else:
            filled.append([0, -1.0, -1.0])
    return {"ece": ece, "mce": mce, "outside": outside, "detections": len(scores), "bins": filled}


def shapes(records, coco, iou_type):
    if iou_type == "bbox":
        return [r["bbox"] for r in records]
    return [coco.annToRLE(r) for r in records]


def confusion(coco, found, ev, iou_type, iou, score):
    cats, order = sorted(coco.getCatIds()), {}
    n = len(cats)
    row = {c: k for k, c in enumerate(cats)}
    matrix = np.zeros((n + 1, n + 1), int)
    for position, d in enumerate(found.dataset["annotations"]):
        order[d["id"]] = position
    position_of = {a["id"]: k for k, a in enumerate(coco.dataset["annotations"])}
    for image in coco.getImgIds():
        objects, detections = [], []
        for e in ev.evalImgs:
            if e is None or e["image_id"] != image or e["aRng"] != ev.params.areaRng[0]:
                continue
            k, hit = row[e["category_id"]], set()
            for d, s, m, ignored in zip(e["dtIds"], e["dtScores"], e["dtMatches"][0], e["dtIgnore"][0]):
                if s < score or ignored:
                    continue
                if m:
                    matrix[k, k] += 1
                    hit.add(m)
                else:
                    detections.append(found.anns[d])
            left = [g for g, ignored in zip(e["gtIds"], e["gtIgnore"]) if not ignored and g not in hit]
            objects += [coco.anns[g] for g in left]
        pairs = []
        if objects and detections:
            ious = mask_utils.iou(shapes(detections, coco, iou_type), shapes(objects, coco, iou_type), [0] * len(objects))
            for i, d in enumerate(detections):
                for j, g in enumerate(objects):
                    if d["category_id"] != g["category_id"] and ious[i][j] >= iou:
                        pairs.append((-ious[i][j], -d["score"], order[d["id"]], position_of[g["id"]], i, j))
        used_d, used_g = set(), set()
        for *_, i, j in sorted(pairs):
            if i not in used_d and j not in used_g:
                used_d.add(i)
                used_g.add(j)
                matrix[row[objects[j]["category_id"]], row[detections[i]["category_id"]]] += 1
        for i, d in enumerate(detections):
            matrix[n, row[d["category_id"]]] += i not in used_d
        for j, g in enumerate(objects):
            matrix[row[g["category_id"]], n] += j not in used_g
    return matrix.tolist()


def reference(gt, dt, job, score):
    iou_type, iou, bins = job["iou_type"], job["iou"], job["bins"]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(gt)
        coco.createIndex()
        found = coco.loadRes(copy.deepcopy(dt))
        ev = run(coco, found, iou_type, iou)
        aps = {i: picture_ap(coco, found, iou_type, iou, i) for i in coco.getImgIds()}
    rows = {c: [] for c in sorted(coco.getCatIds())}
    objects = dict.fromkeys(rows, 0)
    images = {i: dict.fromkeys(("objects", "true_positives", "false_positives", "ignored"), 0) for i in sorted(aps)}
    for e in ev.evalImgs:
        if e is None or e["aRng"] != ev.params.areaRng[0]:
            continue
        image, n = images[e["image_id"]], int((np.array(e["gtIgnore"]) == 0).sum())
        objects[e["category_id"]] += n
        image["objects"] += n
        for s, m, ignored in zip(e["dtScores"], e["dtMatches"][0], e["dtIgnore"][0]):
            if not ignored:
                rows[e["category_id"]].append((s, bool(m)))
            if s >= score:
                image["ignored" if ignored else "true_positives" if m else "false_positives"] += 1
    for i, image in images.items():
        image["misses"] = image["objects"] - image["true_positives"]
        image["f1"] = f1(image["true_positives"], image["false_positives"], image["misses"])
        image["ap"] = aps[i]
    everything = [r for c in rows for r in rows[c]]
    total = sum(objects.values())
    return {
        "best_score": (best(everything, total) or {"score": 0.0})["score"],
        "images": [{"id": i} | image for i, image in images.items()],
        "f1": [operating(everything, total, score), best(everything, total)]
        + [f for c in rows for f in (operating(rows[c], objects[c], score), best(rows[c], objects[c]))],
        "confusion": confusion(coco, found, ev, iou_type, iou, score),
        "calibration": [reliability(everything, bins)] + [reliability(rows[c], bins) for c in rows],
    }


def ours(answer):
    def reliable(r):
        bins = [[b["detections"], b["mean_score"], b["precision"]] for b in r["bins"]]
        return {k: r[k] for k in ("ece", "mce", "outside", "detections")} | {"bins": bins}

    f1s, calibration = answer["f1"], answer["calibration"]
    drop = ("file_name", "detections")
    return {
        "images": [{k: v for k, v in i.items() if k not in drop} for i in answer["per_image"]],
        "f1": [f for c in [f1s["overall"]] + f1s["per_category"] for f in (c["at_score"], c["best"])],
        "confusion": answer["confusion"]["counts"],
        "calibration": [reliable(r) for r in [calibration["overall"]] + calibration["per_category"]],
    }


def difference(a, b, path=""):
    """The largest difference and where it is."""
    if isinstance(b, dict) and isinstance(a, dict) and a.keys() == b.keys():
        found = [difference(a[k], b[k], f"{path}.{k}") for k in b]
    elif isinstance(b, list) and isinstance(a, list) and len(a) == len(b):
        found = [difference(x, y, f"{path}[{k}]") for k, (x, y) in enumerate(zip(a, b))]
    elif a is None or b is None or isinstance(a, (dict, list)) or isinstance(b, (dict, list)):
        return (0.0, path) if a is None and b is None else (float("inf"), f"{path}: {a} instead of {b}")
    else:
        return abs(a - b), f"{path}: {a} instead of {b}"
    return max(found, default=(0.0, path))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("explain")
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    process = subprocess.Popen([args.explain], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worst, failures, compared, confused = 0.0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        gt_path, dt_path = os.path.join(folder, "gt.json"), os.path.join(folder, "dt.json")
        for n in range(args.datasets):
            rng = np.random.default_rng([args.seed, n])
            iou_type = ("bbox", "segm")[n % 2]
            gt = dataset(rng, iou_type == "segm", False)
            known = {c["id"] for c in gt["categories"]}
            dt = [d for d in results(rng, gt, iou_type == "segm", False) if d["category_id"] in known]
            if not dt:
                continue  # pycocotools cannot read an empty list
            for path, value in ((gt_path, gt), (dt_path, dt)):
                with open(path, "w") as f:
                    json.dump(value, f)
            job = {"gt": gt_path, "dt": dt_path, "iou_type": iou_type, "bins": int(rng.integers(1, 20))}
            job["iou"] = float(rng.choice([0.5, 0.5, 0.3, 0.75]))
            if rng.random() < 0.5:
                job["score"] = float(rng.choice([0.0, 0.5, 0.3, 0.7, d_score(rng, dt)]))
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            compared += 1
            if "error" in answer:
                found = (float("inf"), answer["error"])
            else:
                want = reference(gt, dt, job, answer["score"])
                found = difference(ours(answer), {k: v for k, v in want.items() if k != "best_score"})
                if "score" not in job and answer["score"] != want["best_score"]:
                    found = (float("inf"), f"score {answer['score']} instead of {want['best_score']}")
                size = len(want["confusion"]) - 1
                confused += any(want["confusion"][i][j] for i in range(size) for j in range(size) if i != j)
            worst = max(worst, found[0])
            if not found[0] <= TOLERANCE:
                failures += 1
                print(f"data set {n} ({iou_type}, {job}): {found[1]}")
    process.stdin.close()
    process.wait()
    print(f"{compared} data sets compared, {failures} differ, worst difference {worst:.3g}; "
          f"{confused} with categories taken for others")
    return 1 if failures or not compared else 0


def d_score(rng, dt):
    return dt[int(rng.integers(len(dt)))]["score"]


if __name__ == "__main__":
    sys.exit(main())
