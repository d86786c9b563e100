#!/usr/bin/env python3
"""Compares care-map's panoptic quality with panopticapi on random small sets: PQ, SQ, RQ to 1e-9, and what is refused.

    cargo build --release -p care-map --example panoptic
    python3 eval/map/tests/compare_panoptic.py target/release/examples/panoptic --datasets 2000 [--seed 1]

Needs numpy. With panopticapi and Pillow installed
(`pip install pillow git+https://github.com/cocodataset/panopticapi`) its own code is the reference, fed with PNG files;
without, a few lines from the paper's definition (Kirillov et al., 2019, section 4) and the rules of the official script.
The sets hold crowds (several of a category too), void on both sides, IoUs of exactly 1/2, segments that the ground
truth's PNG has and its JSON has not and the other way round, ids above 65,535; and one in ten has an error. Exit code 1
on any difference.
"""
import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

try:
    from panopticapi.evaluation import pq_compute_single_core
    from PIL import Image
except ImportError:
    pq_compute_single_core = None

TOLERANCE = 1e-9


class Refused(Exception):
    pass


def layout(rng, size, ids):
    """Rectangles, or vertical bands whose IoU with others is often a simple fraction."""
    h, w = size
    out = np.zeros(size, np.int64)
    if rng.random() < 0.3:
        edges = np.sort(rng.integers(0, w + 1, len(ids)))
        for x, i in zip(edges, ids):
            out[:, x:] = i
    else:
        for i in ids:
            y, x = rng.integers(0, h), rng.integers(0, w)
            out[y : y + rng.integers(1, h + 1), x : x + rng.integers(1, w + 1)] = i
    if rng.random() < 0.5:
        out[rng.random(size) < 0.1] = 0
    return out


def new_ids(rng, n):
    high = int(rng.choice([20, 70000, 256**3]))
    return rng.choice(np.arange(1, high) if high < 1e6 else rng.integers(1, high, 50), n, replace=False).tolist()


def side(rng, pixels, categories, crowds):
    present = [int(i) for i in np.unique(pixels) if i]
    rng.shuffle(present)
    segments = []
    for i in present:
        crowd = int(crowds and rng.random() < 0.25)
        area = int((pixels == i).sum())
        segments.append({"id": i, "category_id": int(rng.choice(categories)), "iscrowd": crowd, "area": area})
    return {"pixels": pixels, "segments_info": segments}


def picture(rng, categories):
    size = tuple(int(v) for v in rng.integers(1, 14, 2))
    pixels = layout(rng, size, new_ids(rng, int(rng.integers(0, 7))))
    truth = side(rng, pixels, categories, True)
    if rng.random() < 0.7:  # like the truth, with changes
        guess = np.roll(pixels, int(rng.integers(0, 3)), int(rng.integers(0, 2)))
        guess[rng.random(size) < rng.choice([0, 0.2])] = 0
        prediction = side(rng, guess, categories, False)
        of = {s["id"]: s["category_id"] for s in truth["segments_info"]}
        for s in prediction["segments_info"]:
            if s["id"] in of and rng.random() < 0.85:
                s["category_id"] = of[s["id"]]
    else:
        prediction = side(rng, layout(rng, size, new_ids(rng, int(rng.integers(0, 7)))), categories, False)
    if truth["segments_info"] and rng.random() < 0.1:
        truth["segments_info"].pop()
    if rng.random() < 0.1:
        truth["segments_info"].append({"id": 256**3 - 1, "category_id": categories[0], "iscrowd": 0, "area": 0})
    return {"truth": truth, "prediction": prediction}


def spoil(rng, pictures):
    """An error in one prediction, if it has a segment."""
    prediction = pictures[int(rng.integers(len(pictures)))]["prediction"]
    segments = prediction["segments_info"]
    kind = int(rng.integers(3))
    if kind == 0 and segments:
        segments.pop()
    elif kind == 1:
        segments.append({"id": 256**3 - 2, "category_id": 1, "iscrowd": 0})
    elif segments:
        segments[0]["category_id"] = 999


def definition(pictures, categories):
    """TP, FP, FN and sum of IoU of each category, segment by segment."""
    known = {c["id"] for c in categories}
    sums = {c: [0, 0, 0, 0.0] for c in known}
    for p in pictures:
        g, d = p["truth"]["pixels"], p["prediction"]["pixels"]
        truths = {s["id"]: s for s in p["truth"]["segments_info"]}
        found = {s["id"]: s for s in p["prediction"]["segments_info"]}
        if {int(i) for i in np.unique(d)} - {0} != set(found) or any(s["category_id"] not in known for s in found.values()):
            raise Refused
        crowd_of = {s["category_id"]: s["id"] for s in truths.values() if s["iscrowd"]}
        matched_truths, matched = set(), set()
        for i, s in truths.items():
            for j, f in found.items():
                if s["iscrowd"] or s["category_id"] != f["category_id"]:
                    continue
                both = ((g == i) & (d == j)).sum()
                iou = both / max(((g == i) | ((d == j) & (g != 0))).sum(), 1)
                if iou > 0.5:
                    sums[s["category_id"]][0] += 1
                    sums[s["category_id"]][3] += iou
                    matched_truths.add(i)
                    matched.add(j)
        for i, s in truths.items():
            sums[s["category_id"]][2] += not s["iscrowd"] and i not in matched_truths
        for j, f in found.items():
            excused = (d == j) & ((g == 0) | (g == crowd_of.get(f["category_id"], 0)))
            sums[f["category_id"]][1] += j not in matched and excused.sum() / (d == j).sum() <= 0.5
    return sums


def official(pictures, categories, folder):
    """The same from panopticapi, over PNG files."""
    annotations = []
    for n, p in enumerate(pictures):
        pair = []
        for name in ("truth", "prediction"):
            Image.fromarray(rgb(p[name]["pixels"])).save(os.path.join(folder, f"{name}{n}.png"))
            segments = [dict(s) for s in p[name]["segments_info"]]
            pair.append({"image_id": n, "file_name": f"{name}{n}.png", "segments_info": segments})
        annotations.append(pair)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            stat = pq_compute_single_core(0, annotations, folder, folder, {c["id"]: c for c in categories})
        except KeyError as error:
            raise Refused from error
    return {c["id"]: [stat[c["id"]].tp, stat[c["id"]].fp, stat[c["id"]].fn, stat[c["id"]].iou] for c in categories}


def figures(sums, categories):
    """Of each category and of all, things, stuff; -1 for what does not occur."""
    each = []
    for c in categories:
        tp, fp, fn, iou = sums[c["id"]]
        n = tp + 0.5 * fp + 0.5 * fn
        each.append([iou / n, iou / tp if tp else 0.0, tp / n] if n else [-1.0] * 3)
    out = each + [[float(v) for v in sums[c["id"]][:3]] for c in categories]
    for wanted in ((0, 1), (1,), (0,)):
        rows = [e for e, c in zip(each, categories) if c["isthing"] in wanted and e[0] >= 0]
        out.append(np.mean(rows, axis=0).tolist() if rows else [-1.0] * 3)
    return np.array(out)


def ours(answer):
    ratio = lambda c: [c["pq"], c["sq"], c["rq"]]
    each = answer["per_category"]
    counts = [[c["true_positives"], c["false_positives"], c["misses"]] for c in each]
    return np.array([ratio(c) for c in each] + counts + [ratio(answer[k]) for k in ("all", "things", "stuff")])


def rgb(pixels):
    return np.stack([pixels % 256, pixels // 256 % 256, pixels // 65536], axis=-1).astype(np.uint8)


def job(pictures, categories):
    pixels = lambda p: {"rgb": rgb(p["pixels"]).flatten().tolist(), "segments_info": p["segments_info"]}
    listed = [{"image_id": n, "truth": pixels(p["truth"]), "prediction": pixels(p["prediction"])} for n, p in enumerate(pictures)]
    return json.dumps({"categories": categories, "pictures": listed})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("panoptic")
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    process = subprocess.Popen([args.panoptic], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worst, failures, refused, matches = 0.0, 0, 0, 0
    for n in range(args.datasets):
        rng = np.random.default_rng([args.seed, n])
        categories = [{"id": int(i), "name": f"c{i}", "isthing": int(rng.integers(2))} for i in rng.permutation(4) + 1]
        pictures = [picture(rng, [c["id"] for c in categories]) for _ in range(int(rng.integers(1, 5)))]
        if rng.random() < 0.1:
            spoil(rng, pictures)
        process.stdin.write(job(pictures, categories) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        try:
            want = figures(definition(pictures, categories), categories)
            if pq_compute_single_core:
                with tempfile.TemporaryDirectory() as folder:
                    theirs = figures(official(pictures, categories, folder), categories)
                assert np.abs(theirs - want).max() <= TOLERANCE, f"data set {n}: the two references differ"
        except Refused:
            refused += 1
            if answer.get("kind") != "Input" or "picture" not in answer["error"] or "segment" not in answer["error"]:
                failures += 1
                print(f"data set {n}: {answer} instead of an error that names picture and segment")
            continue
        if "error" in answer:
            failures += 1
            print(f"data set {n}: {answer}")
            continue
        got = ours(answer)
        difference = np.abs(got - want)
        matches += want[len(categories) : 2 * len(categories), 0].sum()
        worst = max(worst, float(difference.max()))
        if not difference.max() <= TOLERANCE:
            failures += 1
            print(f"data set {n}: row {int(difference.max(axis=1).argmax())}: {got.tolist()} instead of {want.tolist()}")
    process.stdin.close()
    process.wait()
    source = "panopticapi and the definition" if pq_compute_single_core else "the definition"
    print(f"{args.datasets} data sets compared with {source}, {failures} differ, worst difference {worst:.3g}; "
          f"{int(matches)} matches; {refused} refused")
    return 1 if failures or not args.datasets else 0


if __name__ == "__main__":
    sys.exit(main())
