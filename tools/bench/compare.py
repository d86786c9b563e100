#!/usr/bin/env python3
"""Measures care-det beside ONNX Runtime, PyTorch and OpenCV, and writes BENCH.md.

  cargo build --release
  python tools/bench/compare.py --baselines ../shared/baselines --pictures ../shared/data/coco_ccby/images

--baselines is a folder with `bench.py` and `care_torch.py`: the same networks in PyTorch and ONNX Runtime, run round by round beside
ours, each in its own process. --pictures is a folder of JPEG files (below it, too). Needs from PyPI: torch, torchvision, onnx,
onnxruntime, onnxscript, numpy, safetensors, opencv-python-headless.

One thread is measured in CPU time, two threads in wall time: leave the machine alone for those. `--only passes,files` measures some
groups (passes, avx2, train, threads, files, cold); a file written by it says that the others are missing.
"""
import argparse, json, os, shutil, statistics, subprocess, sys, tempfile, time

import report

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("passes", "avx2", "train", "threads", "files", "cold")
RETINANET = "retinanet@800x1344"


class Bench:
    """The comparison of whole passes: runs the script of the baselines."""

    def __init__(self, args):
        self.args = args

    def __call__(self, threads, cases=None, train=False, isa=None):
        command = [sys.executable, os.path.join(self.args.baselines, "bench.py"), "--json", "--threads", str(threads)]
        command += ["--rounds", str(self.args.rounds), "--repeat", str(self.args.repeat)]
        command += ["--ours", f"{self.args.ours} bench {{args}} --json"]
        command += (["--cases", ",".join(cases)] if cases else []) + (["--train"] if train else [])
        env = dict(os.environ, **({"CARE_ISA": isa} if isa else {}))
        return json.loads(checked(command, env=env).stdout.splitlines()[-1])


def checked(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nfailed:\n{done.stderr[-2000:]}")
    return done


def cost(command):
    """CPU and wall seconds of a process and what it starts."""
    before, start = os.times(), time.perf_counter()
    checked(command)
    wall, after = time.perf_counter() - start, os.times()
    return dict(cpu=after.children_user + after.children_system - before.children_user - before.children_system, wall=wall)


def median(costs):
    return {key: statistics.median(c[key] for c in costs) for key in costs[0]}


def weights(args, folder):
    """The same untrained network, which finds a few hundred boxes a picture, for us and for ONNX Runtime (any input size)."""
    ours, theirs = os.path.join(folder, "weights.safetensors"), os.path.join(folder, "retinanet.onnx")
    checked([args.ours, "weights", "init", "--model", "retinanet_care_s0", "--recipe", "bench", "--out", ours])
    export = "import sys, torch; sys.path.insert(0, sys.argv[1]); from care_torch import RetinaNet; from safetensors.torch import load_file\n" \
             "net = RetinaNet().eval(); net.load_state_dict(load_file(sys.argv[2]))\n" \
             "axes = {'x': {2: 'h', 3: 'w'}, **{f'o{i}': {2: f'h{i % 5}', 3: f'w{i % 5}'} for i in range(10)}}\n" \
             "torch.onnx.export(net, (torch.randn(1, 3, 800, 1088),), sys.argv[3], dynamo=False, opset_version=20,\n" \
             "                  input_names=['x'], output_names=[f'o{i}' for i in range(10)], dynamic_axes=axes)"
    checked([sys.executable, "-W", "ignore", "-c", export, args.baselines, ours, theirs])
    return ours, theirs


def pictures(args, folder):
    """All pictures in one folder, in the order of their names."""
    flat = os.path.join(folder, "pictures")
    os.makedirs(flat)
    for base, _, names in sorted(os.walk(args.pictures)):
        for name in names:
            if name.lower().endswith((".jpg", ".jpeg")):
                shutil.copy(os.path.join(base, name), flat)
    return flat


def infer(args, weights, source, out, threads):
    return [args.ours, "infer", source, "--weights", weights, "--save", "coco", "--conf", "0.05", "--out", out, "--overwrite",
            "--threads", str(threads), "--quiet"]


def files(args, folder, ours, theirs, flat):
    """Picture files to a results file, at one thread (CPU time) and two (wall time)."""
    out, results = os.path.join(folder, "out"), os.path.join(folder, "theirs.json")
    row = dict(pictures=len(os.listdir(flat)))
    for threads, key in ((1, "cpu"), (2, "wall")):
        got = dict(ours=[], theirs=[])
        for _ in range(args.rounds):
            got["ours"].append(cost(infer(args, ours, flat, out, threads)))
            script = os.path.join(HERE, "opencv_ort.py")
            got["theirs"].append(cost([sys.executable, script, theirs, flat, results, "--threads", str(threads)]))
        row[key] = {who: median(costs)[key] for who, costs in got.items()}
    row["agree"] = report.agreement(os.path.join(out, "results.bbox.json"), results)
    return row


def cold(args, folder, ours, flat):
    """What a process of one picture costs beyond one pass at the picture's size (CPU time of one thread)."""
    one = os.path.join(folder, "one")
    os.makedirs(one)
    name = sorted(os.listdir(flat))[0]
    shutil.copy(os.path.join(flat, name), one)
    sys.path.insert(0, HERE)
    from opencv_ort import load
    height, width = load(os.path.join(one, name))[0].shape[2:]
    out = os.path.join(folder, "cold")
    whole = median([cost(infer(args, ours, one, out, 1)) for _ in range(2 * args.rounds + 1)])
    command = [args.ours, "bench", "--model", "retinanet_care_s0", "--size", f"{height}x{width}", "--threads", "1", "--repeat", "5", "--json"]
    once = json.loads(checked(command).stdout)["cpu_ms"] / 1e3
    return dict(whole=whole["cpu"], once=once)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--ours", default="target/release/care-det")
    ap.add_argument("--baselines", required=True)
    ap.add_argument("--pictures", required=True)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--repeat", type=int, default=3)
    ap.add_argument("--only", default=",".join(GROUPS))
    ap.add_argument("--out", default="BENCH.md")
    args = ap.parse_args()
    args.ours, groups, bench, got = os.path.abspath(args.ours), args.only.split(","), Bench(args), {}
    args.load = os.getloadavg()[0]
    if set(groups) - set(GROUPS):
        ap.error(f"--only knows {', '.join(GROUPS)}")
    if "passes" in groups:
        got["passes"] = bench(1)
    if "avx2" in groups:
        got["avx2"] = bench(1, [RETINANET], isa="avx2")
    if "train" in groups:
        got["train"] = bench(1, train=True)
    if "threads" in groups:
        cases = ["care_s0@224", RETINANET]
        got["one"], got["two"] = bench(1, cases), bench(2, cases)
    if {"files", "cold"} & set(groups):
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = weights(args, folder)
            flat = pictures(args, folder)
            if "files" in groups:
                got["files"] = files(args, folder, ours, theirs, flat)
            if "cold" in groups:
                got["cold"] = cold(args, folder, ours, flat)
    text = report.markdown(got, checked([args.ours, "--version"]).stdout, [g for g in GROUPS if g not in groups], args)
    with open(args.out, "w") as f:
        f.write(text)
    print(text)


if __name__ == "__main__":
    main()
