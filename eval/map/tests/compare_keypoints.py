#!/usr/bin/env python3
"""Compares care-map's keypoints with pycocotools on random small data sets, arrays and figures to 1e-9.

    cargo build --release -p care-map --example evaluate
    python3 eval/map/tests/compare_keypoints.py target/release/examples/evaluate --datasets 2000 [--seed 1]

Needs numpy and pycocotools. What the random sets hold on purpose: joints that are not labelled, objects without any,
`num_keypoints` that says otherwise, crowds, ties in scores and similarities, areas on a limit, empty pictures, unknown
categories, annotation id 0 and repeated ids (with quirks on), other numbers of joints with their own sigmas, odd maxDets,
thresholds, ranges, selections of pictures and categories; result files with boxes, with masks and with joints only.
Categories as one are left out: pycocotools compares nothing then. Exit code 1 on any difference.
"""
import sys

import numpy as np
from compare_pycocotools import box, number, parameters, reference, rle_text, run


def pose(rng, b, joints):
    """Joints in and around a box; a third is not labelled, and sometimes none is."""
    labelled = rng.random() * (rng.random() < 0.85)
    values = []
    for _ in range(joints):
        seen = int(rng.integers(1, 3)) if rng.random() < labelled else 0
        x, y = number(rng, b[0] - 5, b[0] + b[2] + 5), number(rng, b[1] - 5, b[1] + b[3] + 5)
        values += [x, y, seen] if seen or rng.random() < 0.2 else [0, 0, 0]
    return values


def near(rng, truth, b):
    """The same joints, or moved by some hundredths of the box."""
    values = list(truth)
    scale = [0, 0.01, 0.05, 0.2][rng.integers(4)]
    for i in range(0, len(values), 3):
        values[i] += float(rng.normal(0, scale)) * max(b[2], 1)
        values[i + 1] += float(rng.normal(0, scale)) * max(b[3], 1)
        values[i + 2] = float(rng.random() < 0.8)
    return values


def dataset(rng, joints, quirks):
    n_images, n_cats = int(rng.integers(1, 7)), int(rng.integers(1, 3))
    image_ids = rng.choice(60, n_images, replace=False).tolist()
    cat_ids = rng.choice(20, n_cats, replace=False).tolist()
    images = [{"id": i, "height": int(rng.integers(1, 400)), "width": int(rng.integers(1, 400))} for i in image_ids]
    annotations = []
    for image in images:
        size = (image["height"], image["width"])
        for _ in range(int(rng.integers(0, [1, 4, 12][rng.integers(3)] + 1))):
            b = box(rng, size)
            keypoints = pose(rng, b, joints)
            if annotations and rng.random() < 0.1:
                keypoints = list(annotations[-1]["keypoints"])
            count = sum(v > 0 for v in keypoints[2::3])
            area = b[2] * b[3] * 0.6 if rng.random() < 0.6 else float([1024, 9216, 0, 1e10, 1023.5][rng.integers(5)])
            a = {"image_id": image["id"], "category_id": int(cat_ids[rng.integers(n_cats)]), "bbox": b, "area": area}
            a |= {"iscrowd": int(rng.random() < 0.15), "keypoints": keypoints, "num_keypoints": count}
            if rng.random() < 0.05:
                a["num_keypoints"] = int(rng.integers(0, 2))
            if rng.random() < 0.1:
                a["ignore"] = 1
            annotations.append(a)
    rng.shuffle(annotations)
    for k, a in enumerate(annotations):
        a["id"] = k + (0 if quirks else 1)
        if quirks and rng.random() < 0.15:
            a["id"] = int(rng.integers(0, len(annotations) + 1))
    return {"images": images, "annotations": annotations, "categories": [{"id": int(c), "name": f"c{c}"} for c in cat_ids]}


def results(rng, gt, joints):
    sizes = {i["id"]: (i["height"], i["width"]) for i in gt["images"]}
    cats = [c["id"] for c in gt["categories"]]
    with_box, with_mask = rng.random() < 0.3, rng.random() < 0.2
    digits = int([1, 2, 6][rng.integers(3)])
    out = []

    def add(image_id, category_id, b, keypoints):
        score = round(float(rng.random()), digits) * [1, 1, 1, 100, -1][rng.integers(5)]
        record = {"image_id": image_id, "category_id": category_id, "keypoints": keypoints, "score": score}
        if with_box:
            record["bbox"] = b
        if with_mask:
            record["segmentation"] = rle_text(rng, sizes[image_id], b)
        out.append(record)

    for a in gt["annotations"]:
        for _ in range(int(rng.integers(0, 4))):
            category = a["category_id"] if rng.random() < 0.8 else int(cats[rng.integers(len(cats))])
            add(a["image_id"], category, a["bbox"], near(rng, a["keypoints"], a["bbox"]))
    for image_id in sizes:
        for _ in range(int(rng.integers(0, [3, 30][int(rng.random() < 0.1)]))):
            category = int(cats[rng.integers(len(cats))]) if rng.random() < 0.9 else 999
            b = box(rng, sizes[image_id])
            add(image_id, category, b, pose(rng, b, joints))
    rng.shuffle(out)
    return out


def case(rng, n):
    quirks = bool(rng.random() < 0.3)
    joints = 17 if rng.random() < 0.7 else int([1, 2, 5, 8, 21, 133][rng.integers(6)])
    gt = dataset(rng, joints, quirks)
    dt = results(rng, gt, joints)
    params = parameters(rng, gt)
    params.pop("useCats", None)
    if rng.random() < 0.6:
        params.pop("maxDets", None)
    elif "maxDets" in params and rng.random() < 0.5:
        params["maxDets"].append(20)
    if joints != 17 or rng.random() < 0.1:
        params["kpt_oks_sigmas"] = rng.uniform(0.02, 0.15, joints).tolist()
    return gt, dt, {"iou_type": "keypoints", "quirks": quirks, "params": params}


if __name__ == "__main__":
    sys.exit(run(__doc__, case, reference))
