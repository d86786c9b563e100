#!/usr/bin/env python3
"""Picture files to a COCO results file with OpenCV and ONNX Runtime: what `care-det infer --save coco` is measured against.

  python opencv_ort.py RETINANET.onnx DIR RESULTS.json [--threads T] [--conf 0.05]

Does what a careful user of these libraries would: OpenCV decodes, resizes (1333x800) and normalises, the network takes any size,
scores are cut before the sigmoid, the best 1000 per level are decoded, OpenCV suppresses per class, the best 100 are kept.
Needs: numpy, onnxruntime, opencv-python-headless.
"""
import argparse, json, os

import cv2
import numpy as np
import onnxruntime as ort

MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
STRIDES, CLASSES, LIMIT = (8, 16, 32, 64, 128), 80, abs(np.log(16 / 1000))


def base_anchors(stride):
    """[9, 4]: three ratios (height / width), then three sizes per octave."""
    boxes = []
    for ratio in (0.5, 1.0, 2.0):
        for step in range(3):
            size = stride * 4 * 2 ** (step / 3)
            w, h = size / np.sqrt(ratio), size * np.sqrt(ratio)
            boxes.append((-w / 2, -h / 2, w / 2, h / 2))
    return np.float32(boxes)


def load(path):
    """The network's input [1, 3, H, W], the resized size and the scale back to the picture."""
    picture = cv2.imread(path, cv2.IMREAD_COLOR)
    h, w = picture.shape[:2]
    factor = min(1333 / max(h, w), 800 / min(h, w))
    rw, rh = int(w * factor + 0.5), int(h * factor + 0.5)
    resized = cv2.cvtColor(cv2.resize(picture, (rw, rh), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    x = np.zeros((1, 3, -(-rh // 32) * 32, -(-rw // 32) * 32), np.float32)
    x[0, :, :rh, :rw] = ((resized - MEAN) / STD).transpose(2, 0, 1)
    return x, (rw, rh), (w / rw, h / rh)


def candidates(logits, deltas, stride, conf):
    """Boxes, scores and classes of one level's best 1000."""
    _, _, h, w = logits.shape
    flat = logits.reshape(-1)
    at = np.flatnonzero(flat > np.log(conf / (1 - conf)))
    if len(at) > 1000:
        at = at[np.argpartition(flat[at], -1000)[-1000:]]
    channel, cell = at // (h * w), at % (h * w)
    anchor, cls = channel // CLASSES, channel % CLASSES
    d = deltas.reshape(9, 4, h * w)[anchor, :, cell]
    prior = base_anchors(stride)[anchor]
    centre = np.stack((cell % w * stride, cell // w * stride), 1) + d[:, :2] * (prior[:, 2:] - prior[:, :2])
    half = (prior[:, 2:] - prior[:, :2]) * np.exp(np.clip(d[:, 2:], -LIMIT, LIMIT)) / 2
    return np.hstack((centre - half, centre + half)), 1 / (1 + np.exp(-flat[at])), cls


def detect(session, path, conf):
    x, (rw, rh), scale = load(path)
    outputs = session.run(None, {session.get_inputs()[0].name: x})
    levels = [candidates(l, d, s, conf) for l, d, s in zip(outputs[:5], outputs[5:], STRIDES)]
    boxes, scores, classes = (np.concatenate(part) for part in zip(*levels))
    boxes = np.clip(boxes, 0, (rw, rh, rw, rh)) * np.float32(scale * 2)
    xywh = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]))
    keep = np.array(cv2.dnn.NMSBoxesBatched(xywh.tolist(), scores.tolist(), classes.tolist(), conf, 0.5), int)
    keep = keep[np.argsort(-scores[keep], kind="stable")][:100]
    return [(int(classes[i]), xywh[i].tolist(), float(scores[i])) for i in keep]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("pictures")
    ap.add_argument("results")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--conf", type=float, default=0.05)
    a = ap.parse_args()
    cv2.setNumThreads(a.threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = a.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if a.threads > 1 else "0")
    session = ort.InferenceSession(a.model, options, providers=["CPUExecutionProvider"])
    rows = []
    for number, name in enumerate(sorted(os.listdir(a.pictures)), 1):
        found = detect(session, os.path.join(a.pictures, name), a.conf)
        rows += [dict(image_id=number, category_id=c, bbox=b, score=s) for c, b, s in found]
    with open(a.results, "w") as f:
        json.dump(rows, f)


if __name__ == "__main__":
    main()
