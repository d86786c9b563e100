#!/usr/bin/env python3
"""Compares care-map with pycocotools on random small data sets, arrays and figures to 1e-9.

    cargo build --release -p care-map --example evaluate
    python3 eval/map/tests/compare_pycocotools.py target/release/examples/evaluate --datasets 2000 [--seed 1]

Needs numpy and pycocotools. What the random sets hold on purpose: crowds, ties in scores and IoUs, areas and IoUs that
fall exactly on a limit, empty pictures, unknown categories, annotation id 0, repeated ids (the last two with quirks on),
odd maxDets, thresholds, ranges, selections of pictures and categories, categories as one; polygons, run lengths as lists
and as strings; result files with and without boxes, and boxes evaluated as masks. Exit code 1 on any difference.
"""
import argparse
import collections
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

TOLERANCE = 1e-9


def number(rng, low, high):
    """A coordinate: whole, half, two decimals, or any."""
    value = rng.uniform(low, high)
    return [float(int(value)), int(value * 2) / 2, round(value, 2), value][rng.integers(4)]


def box(rng, size):
    h, w = size
    x, y = number(rng, -4, w), number(rng, -4, h)
    bw, bh = number(rng, 0, w * rng.uniform(0.05, 1)), number(rng, 0, h * rng.uniform(0.05, 1))
    if rng.random() < 0.1:
        bw, bh = [(32, 32), (96, 96), (16, 64), (1, 1), (0, 5)][rng.integers(5)]
    return [x, y, float(bw), float(bh)]


def jitter(rng, b, size):
    """A box near another: the same, shifted so that the IoU is a simple fraction, or noisy."""
    x, y, w, h = b
    kind = rng.integers(4)
    if kind == 0:
        return list(b)
    if kind == 1:
        k = [1 / 3, 1 / 4, 1 / 9, 1 / 7, 3 / 17][rng.integers(5)]  # shifts with IoU .5, .6, .8, .75, .7
        return [x + w * k, y, w, h]
    scale = 0.1 if kind == 2 else 0.3
    dx, dy, dw, dh = rng.normal(0, scale, 4)
    return [x + dx * w, y + dy * h, abs(w * (1 + dw)), abs(h * (1 + dh))]


def bitmap(rng, size, b):
    h, w = size
    m = np.zeros((h, w), np.uint8, order="F")
    x0, y0 = max(int(b[0]), 0), max(int(b[1]), 0)
    m[y0 : max(int(b[1] + b[3]), 0), x0 : max(int(b[0] + b[2]), 0)] = 1
    if rng.random() < 0.5:
        m &= (rng.random((h, w)) < 0.8).astype(np.uint8)
    return np.asfortranarray(m)


def list_counts(m):
    flat = m.flatten(order="F")
    counts, value, run = [], 0, 0
    for v in flat:
        if v != value:
            counts.append(run)
            value, run = v, 0
        run += 1
    return counts + [run]


def polygon(rng, b):
    n = int(rng.integers(3, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n)) if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi, n)
    ring = []
    for a in angles:
        x, y = b[0] + b[2] * (1 + np.cos(a)) / 2, b[1] + b[3] * (1 + np.sin(a)) / 2
        x, y = [(x, y), (round(x, 2), round(y, 2)), (round(x), round(y))][rng.integers(3)]
        ring += [float(x), float(y)]
    return ring


def segmentation(rng, size, b, crowd):
    if not crowd and rng.random() < 0.6:
        return [polygon(rng, b) for _ in range(int(rng.integers(1, 3)))]
    m = bitmap(rng, size, b)
    if rng.random() < 0.5:
        return {"size": list(size), "counts": list_counts(m)}
    rle = mask_utils.encode(m)
    return {"size": list(size), "counts": rle["counts"].decode()}


def rle_text(rng, size, b):
    m = bitmap(rng, size, b)
    return {"size": list(size), "counts": mask_utils.encode(m)["counts"].decode()}


def dataset(rng, segm, quirks):
    n_images, n_cats = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    image_ids = rng.choice(60, n_images, replace=False).tolist()
    cat_ids = rng.choice(20, n_cats, replace=False).tolist()
    high = 140 if segm else 400
    images = [{"id": i, "height": int(rng.integers(1, high)), "width": int(rng.integers(1, high))} for i in image_ids]
    sizes = {i["id"]: (i["height"], i["width"]) for i in images}
    annotations, used = [], []
    for image in images:
        for _ in range(int(rng.integers(0, [1, 4, 12][rng.integers(3)] + 1))):
            size = sizes[image["id"]]
            b = box(rng, size) if not used or rng.random() < 0.8 else list(used[-1])
            used.append(b)
            crowd = int(rng.random() < 0.15)
            area = b[2] * b[3] if rng.random() < 0.6 else float([1024, 9216, 0, 1e10, 1023.5][rng.integers(5)])
            a = {"image_id": image["id"], "category_id": int(cat_ids[rng.integers(n_cats)]), "bbox": b}
            a |= {"area": area, "iscrowd": crowd, "segmentation": segmentation(rng, size, b, crowd)}
            if rng.random() < 0.1:
                a["ignore"] = 1
            annotations.append(a)
    rng.shuffle(annotations)
    first = 0 if quirks else 1
    for k, a in enumerate(annotations):
        a["id"] = k + first
        if quirks and rng.random() < 0.15:
            a["id"] = int(rng.integers(0, len(annotations) + 1))
    categories = [{"id": int(c), "name": f"c{c}"} for c in cat_ids]
    return {"images": images, "annotations": annotations, "categories": categories}


def results(rng, gt, segm, quirks):
    sizes = {i["id"]: (i["height"], i["width"]) for i in gt["images"]}
    cats = [c["id"] for c in gt["categories"]]
    with_box = (not segm) or rng.random() < 0.3
    with_mask = segm or rng.random() < 0.1
    rectangles = segm and quirks and with_box and rng.random() < 0.5
    only_mask = not segm and with_mask and rng.random() < 0.5
    digits = int([1, 2, 6][rng.integers(3)])
    out = []

    def add(image_id, category_id, b):
        record = {"image_id": image_id, "category_id": category_id}
        score = round(float(rng.random()), digits) * [1, 1, 1, 100, -1][rng.integers(5)]
        record["score"] = score
        if with_box and not only_mask:
            record["bbox"] = b
        if with_mask and not (rectangles and rng.random() < 0.7):
            record["segmentation"] = rle_text(rng, sizes[image_id], b)
        out.append(record)

    for a in gt["annotations"]:
        for _ in range(int(rng.integers(0, 4))):
            category = a["category_id"] if rng.random() < 0.8 else int(cats[rng.integers(len(cats))])
            add(a["image_id"], category, jitter(rng, a["bbox"], sizes[a["image_id"]]))
    for image_id in sizes:
        for _ in range(int(rng.integers(0, 4))):
            category = int(cats[rng.integers(len(cats))]) if rng.random() < 0.9 else 999
            add(image_id, category, box(rng, sizes[image_id]))
    rng.shuffle(out)
    return out


def parameters(rng, gt):
    p = {}
    if rng.random() < 0.4:
        n = int(rng.integers(3, 5))
        p["maxDets"] = rng.choice([1, 2, 3, 5, 10, 100, 300], n, replace=False).tolist()
    if rng.random() < 0.2:
        p["iouThrs"] = [[0.5], [0.1, 0.5, 1.0], [0.75, 0.5, 0.25], np.linspace(0, 1, 41).tolist()][rng.integers(4)]
    if rng.random() < 0.2:
        p["recThrs"] = [[0.0, 0.5, 1.0], np.linspace(0, 1, 11).tolist(), [0.5, 0.9, 0.1, 0.0]][rng.integers(3)]
    if rng.random() < 0.2:
        p["areaRng"] = [[0, 1e10], [0, 100.0], [100.0, 1e10]]
        p["areaRngLbl"] = ["all", "small", "large"]
    if rng.random() < 0.2:
        ids = [i["id"] for i in gt["images"]]
        p["imgIds"] = rng.choice(ids, int(rng.integers(1, len(ids) + 1)), replace=False).tolist()
    if rng.random() < 0.2:
        ids = [c["id"] for c in gt["categories"]]
        p["catIds"] = rng.choice(ids, int(rng.integers(1, len(ids) + 1)), replace=False).tolist()
    if rng.random() < 0.2:
        p["useCats"] = 0
    return p


def reference(gt, dt, job):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(gt)
        coco.createIndex()
        ev = COCOeval(coco, coco.loadRes(copy.deepcopy(dt)), job["iou_type"])
        arrays = ("iouThrs", "recThrs", "kpt_oks_sigmas")
        for key, value in job["params"].items():
            setattr(ev.params, key, np.array(value) if key in arrays else value)
        ev.evaluate()
        ev.accumulate()
        ev.summarize()
    arrays = {k: ev.eval[k].flatten() for k in ("precision", "recall", "scores")}
    return arrays | {"stats": ev.stats}


def compare(got, want):
    """The largest difference, where it is, and in which arrays not all bits are the same."""
    worst, where, inexact = 0.0, "", []
    for key, expected in want.items():
        found = np.array(got["metrics"]["stats"] if key == "stats" else got["curves"][key])
        if found.shape != expected.shape:
            return float("inf"), f"{key}: {found.shape} instead of {expected.shape}", list(want)
        difference = np.abs(found - expected)
        if difference.size and not difference.max() <= worst:
            worst, where = float(difference.max()), f"{key}[{int(difference.argmax())}]"
        if not np.array_equal(found, expected):
            inexact.append(key)
    return worst, where, inexact


def ask(ours, folder, gt, dt, job):
    """The answer of the example `evaluate`."""
    files = {}
    for name, value in (("gt", gt), ("dt", dt)):
        files[name] = os.path.join(folder, name + ".json")
        with open(files[name], "w") as f:
            json.dump(value, f)
    ours.stdin.write(json.dumps(job | files | {"both": True}) + "\n")
    ours.stdin.flush()
    return json.loads(ours.stdout.readline())


def keep(folder, gt, dt, job):
    os.makedirs(folder, exist_ok=True)
    for name, value in (("gt", gt), ("dt", dt), ("job", job)):
        with open(os.path.join(folder, name + ".json"), "w") as f:
            json.dump(value, f)


def run(description, case, reference):
    """Compares on random sets: `case(rng, n)` makes ground truth, results and job, `reference` scores them."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("evaluate")
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bits", action="store_true", help="name the data sets whose arrays have not the same bits")
    parser.add_argument("--keep", help="folder for the first data set that differs")
    args = parser.parse_args()
    ours = subprocess.Popen([args.evaluate], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worst, failures, skipped = 0.0, 0, 0
    inexact = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for n in range(args.datasets):
            gt, dt, job = case(np.random.default_rng([args.seed, n]), n)
            if not dt:
                skipped += 1  # pycocotools cannot read an empty list
                continue
            got = ask(ours, folder, gt, dt, job)
            if "error" in got:
                difference, where, arrays = float("inf"), got["error"], []
            else:
                difference, where, arrays = compare(got, reference(gt, dt, job))
            inexact.update(arrays)
            inexact["any array"] += any(a != "stats" for a in arrays)
            if args.bits and arrays:
                print(f"data set {n}: bits differ in {', '.join(arrays)}: {difference} at {where}")
            worst = max(worst, difference)
            if not difference <= TOLERANCE:
                failures += 1
                print(f"data set {n} ({job}): {difference} at {where}")
                if args.keep and failures == 1:
                    keep(args.keep, gt, dt, job)
    ours.stdin.close()
    ours.wait()
    compared = args.datasets - skipped
    print(f"{compared} data sets compared, {failures} differ, worst difference {worst:.3g}, {skipped} without detections")
    different = ", ".join(f"{name} {count}" for name, count in inexact.items() if name != "any array" and count)
    print(f"{compared - inexact['any array']} with the same bits in all arrays; other bits: {different or 'none'}")
    return 1 if failures or not compared else 0


def case(rng, n):
    iou_type, quirks = ("bbox", "segm")[n % 2], rng.random() < 0.3
    gt = dataset(rng, iou_type == "segm", quirks)
    dt = results(rng, gt, iou_type == "segm", quirks)
    job = {"iou_type": iou_type, "quirks": bool(quirks), "params": parameters(rng, gt)}
    return gt, dt, job


if __name__ == "__main__":
    sys.exit(run(__doc__, case, reference))
