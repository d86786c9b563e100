#!/usr/bin/env python3
"""CPU time and peak memory of COCO evaluators from PyPI beside care-det, from files to figures, each in a process of its own.

    pip install pycocotools faster-coco-eval hotcoco ultrafast-pycocotools vernier
    cargo bench -p care-map --bench scale -- --write DIR
    cargo build --release
    python3 eval/map/benches/compare_others.py target/release/care-det DIR [--rounds 3] [--only NAME ...]

One thread each; rounds are interleaved, and medians shown, the interpreter's start included. A tool that is not installed
is left out. Exit code 1 when the twelve figures of two tools differ by more than 1e-9.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE = 1e-9
ONE_THREAD = {name: "1" for name in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def drop_in(coco, coco_eval):
    """A package with pycocotools' classes."""

    def stats(gt, dt, kind):
        truth = coco(gt)
        ev = coco_eval(truth, truth.loadRes(dt), kind)
        ev.evaluate()
        ev.accumulate()
        ev.summarize()
        return ev.stats

    return stats


def pycocotools():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return drop_in(COCO, COCOeval)


def faster_coco_eval():
    from faster_coco_eval import COCO, COCOeval_faster

    return drop_in(COCO, COCOeval_faster)


def ultrafast_pycocotools():
    from ultrafast_pycocotools.coco import COCO
    from ultrafast_pycocotools.cocoeval import COCOeval

    return drop_in(COCO, COCOeval)


def hotcoco():
    from hotcoco import COCO, COCOeval

    def stats(gt, dt, kind):
        truth = COCO(gt)
        ev = COCOeval(truth, truth.load_res(dt), kind)
        ev.run()
        return ev.stats

    return stats


def vernier():
    from vernier.instance import Bbox, CocoDataset, Evaluator, Segm

    def stats(gt, dt, kind):
        iou = Segm() if kind == "segm" else Bbox()
        truth = CocoDataset.from_json(Path(gt).read_bytes())
        evaluator = Evaluator(iou=iou, parity_mode="strict")
        return evaluator.evaluate(truth, Path(dt).read_bytes(), num_threads=1).stats

    return stats


TOOLS = {f.__name__: f for f in (pycocotools, faster_coco_eval, ultrafast_pycocotools, hotcoco, vernier)}


def measure(command, kind):
    """Figures, CPU seconds and peak MiB of a command whose last line is JSON."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, env=os.environ | ONE_THREAD)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    answer = json.loads(text.strip().splitlines()[-1])
    return answer["iou_type"][kind]["stats"], used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("care_det")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--tool", choices=list(TOOLS), help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="bbox", help=argparse.SUPPRESS)
    args = parser.parse_args()
    files = {kind: [str(args.folder / "gt.json"), str(args.folder / name)] for kind, name in
             (("bbox", "boxes.json"), ("segm", "masks.json"))}
    if args.tool:
        figures = TOOLS[args.tool]()(*files[args.kind], args.kind)
        print("\n" + json.dumps({"iou_type": {args.kind: {"stats": [float(v) for v in figures]}}}))
        return 0
    names = ["care-det"] + [name for name in args.only if importlib.util.find_spec(name)]
    different = 0
    for kind, (gt, dt) in files.items():
        runs = {name: [] for name in names}
        for _ in range(args.rounds):
            for name in names:
                command = [sys.executable, __file__, args.care_det, str(args.folder), "--tool", name, "--kind", kind]
                if name == "care-det":
                    command = [args.care_det, "eval", "coco", "--gt", gt, "--dt", dt, "--iou-type", kind, "--json"]
                runs[name].append(measure(command, kind))
        want = runs["care-det"][0][0]
        print(f"{kind:<24} {'CPU s':>8} {'peak MB':>8} {'ours/it':>8} {'difference':>11}")
        ours = statistics.median(cpu for _, cpu, _ in runs["care-det"])
        for name, rows in runs.items():
            cpu, peak = (statistics.median(row[i] for row in rows) for i in (1, 2))
            worst = max(abs(a - b) for row in rows for a, b in zip(row[0], want, strict=True))
            different += not worst <= TOLERANCE
            print(f"  {name:<22} {cpu:>8.2f} {peak:>8.0f} {ours / cpu:>8.3f} {worst:>11.2g}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
