"""From measurements to BENCH.md: the rows, their targets, and what they were measured on."""
import datetime, importlib.metadata, json, os, platform, re

# group, row, its case, the other program, key of the measurement, target of ours / theirs
PASSES = [
    ("passes", "CARE-S0 224, batch 1", "care_s0@224", "ort", "cpu_ms", 0.80),
    ("passes", "CARE-S0 features 800×1344", "features@800x1344", "ort", "cpu_ms", 0.60),
    ("passes", "RetinaNet CARE-S0 800×1344, tensor to detections", "retinanet@800x1344", "ort", "cpu_ms", 0.45),
    ("passes", "Mask R-CNN CARE-S0 800×1344, 100 detections", "mask_rcnn@800x1344", "torch", "cpu_ms", 0.40),
    ("passes", "Semantic FPN CARE-S0 512×2048, tensor to label map", "semantic@512x2048", "ort", "cpu_ms", 0.60),
    ("avx2", "RetinaNet, ours with AVX2 only", "retinanet@800x1344", "ort", "cpu_ms", 1.0),
    ("passes", "RetinaNet, peak memory", "retinanet@800x1344", "ort", "peak_mb", 0.6),
    ("train", "training step, CARE-S0 224, batch 8", "care_s0@224 b8", "torch", "cpu_ms", 0.6),
    ("train", "training step, RetinaNet 512, batch 2", "retinanet@512 b2", "torch", "cpu_ms", 0.6),
    ("two", "CARE-S0 224, two threads, wall", "care_s0@224", "ort", "wall_ms", 0.8),
    ("two", "RetinaNet 800×1344, two threads, wall", "retinanet@800x1344", "ort", "wall_ms", 0.45),
]
SPEEDUPS = [("CARE-S0 224", "care_s0@224", 1.6), ("RetinaNet 800×1344", "retinanet@800x1344", 1.8)]
NAMES = {"ort": "ONNX Runtime", "torch": "PyTorch"}
FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd")


def rows(got):
    """(row, ours, theirs, ratio, target, met) as text."""
    for group, name, case, other, key, target in PASSES:
        if group not in got:
            continue
        ours, theirs, other_name = measured(got[group][case], other, key)
        unit = "MB" if key == "peak_mb" else "ms"
        ratio = ours / theirs
        yield name, f"{ours:.1f} {unit}", f"{theirs:.1f} {unit} ({other_name})", f"{ratio:.2f}", f"≤ {target:.2f}", ratio <= target
    if "files" in got:
        f = got["files"]
        for key, how in (("cpu", "one thread"), ("wall", "two threads, wall")):
            ours, theirs = f[key]["ours"], f[key]["theirs"]
            name = f"{f['pictures']} picture files to results file, {how}"
            yield name, f"{ours:.2f} s", f"{theirs:.2f} s (OpenCV + ONNX Runtime)", f"{ours / theirs:.2f}", "≤ 0.50", ours / theirs <= 0.5
    if "cold" in got:
        whole, once = got["cold"]["whole"], got["cold"]["once"]
        start = whole - once
        yield "cold start: a process of one picture, beyond one pass", f"{start:.2f} s ({whole:.2f} − {once:.2f})", "–", "–", "≤ 0.30 s", start <= 0.3
    if "two" in got:
        for name, case, target in SPEEDUPS:
            one, two = (got[g][case]["ours"]["wall_ms"] for g in ("one", "two"))
            yield f"{name}, threads 1 → 2", f"{one:.1f} → {two:.1f} ms", "–", f"{one / two:.2f}×", f"≥ {target}×", one / two >= target


def measured(case, other, key):
    """Ours, theirs, and who: of PyTorch the faster memory layout."""
    who = min((k for k in case if k.startswith(other)), key=lambda k: case[k].get(key, float("inf")))
    for k in ("ours", who):
        if "error" in case[k]:
            raise SystemExit(f"{k} failed: {case[k]['error']}")
    return case["ours"][key], case[who][key], NAMES[other] + (", channels last" if who.endswith("nhwc") else "")


def agreement(ours, theirs, iou=0.9):
    """Share of their boxes for which we have one of the same class and place."""
    mine, found, total = {}, 0, 0
    with open(ours) as f:
        records = json.load(f)
    # their categories are class indices, ours COCO's ids in the same order
    ids = {c: i for i, c in enumerate(sorted(COCO_IDS))}
    for r in records:
        mine.setdefault((r["image_id"], ids[r["category_id"]]), []).append(r["bbox"])
    with open(theirs) as f:
        for r in json.load(f):
            total += 1
            found += any(overlap(r["bbox"], b) > iou for b in mine.get((r["image_id"], r["category_id"]), []))
    return found / max(total, 1), total


COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    return inner / max(a[2] * a[3] + b[2] * b[3] - inner, 1e-9)


def machine():
    with open("/proc/cpuinfo") as f:
        info = f.read()
    model = re.search(r"model name\s*: (.*)", info)
    flags = set((re.search(r"(?:flags|Features)\s*: (.*)", info) or [0, ""])[1].split())
    caches = []
    for index in range(5):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        if os.path.exists(folder):
            level, kind, size = (open(f"{folder}/{part}").read().strip() for part in ("level", "type", "size"))
            if kind != "Instruction":
                caches.append(f"L{level} {size}")
    features = ", ".join(f for f in FEATURES if f in flags)
    return f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {features}; {', '.join(caches)}"


def markdown(got, version, missing, args):
    packages = ("onnxruntime", "torch", "torchvision", "opencv-python-headless", "numpy")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    text = f"""# How fast it is

Written by `tools/bench/compare.py` on {datetime.date.today()}. (docs/checks.md says how to run it.)

- Machine: {machine()}; {platform.system()}, Python {platform.python_version()}
- Ours: {" · ".join(version.split(chr(10))).strip(" ·")}
- Beside: {versions}
- One thread: CPU time (user + system). Two threads: wall time. Medians of {args.rounds} interleaved rounds of {args.repeat} passes each.
- Other programs on the machine when it began: {args.load:.1f} (load average); wall times mean something below 0.5.
- Lower is better; the ratio is ours / theirs. ONNX Runtime stops at RetinaNet's raw outputs, ours goes on to detections with every score
  kept. The memory of the others includes Python.

| | ours | theirs | ratio | target | met |
|---|---|---|---|---|---|
"""
    for *cells, met in rows(got):
        text += f"| {' | '.join(cells)} | {'yes' if met else 'no'} |\n"
    if "files" in got:
        share, total = got["files"]["agree"]
        text += f"\nPicture files: of the {total} boxes of OpenCV + ONNX Runtime, {100 * share:.1f} % are found by ours with the same class and IoU > 0.9.\n"
    if missing:
        text += f"\nNot measured in this run: {', '.join(missing)}.\n"
    return text
