//! Examples at the end of `--help`.

pub(super) const ROOT_EXAMPLES: &str = "\
Examples:
  Score a results file of any detector, with pycocotools' numbers:
    care-det eval coco --gt instances_val2017.json --dt results.json --iou-type bbox
  See the whole chain run without any download (synthetic pictures, weights that ship):
    care-det eval coco --data demo --weights demo
  Detect objects in your pictures; overlays and results go to care-out/:
    care-det infer photos/ --weights w.safetensors --conf 0.3

Results are on stdout, progress and messages on stderr; --json prints one line of JSON.
Exit codes: 0 ok, 1 some inputs failed, 2 usage, 3 data rejected, 4 below --fail-under, 5 weights, 130 interrupted.
CARE_ISA=portable|avx2|avx512|neon forces an instruction set.";

pub(super) const EVAL_EXAMPLES: &str = "\
Examples:
  care-det eval coco --gt instances_val2017.json --dt results.bbox.json --iou-type bbox
  care-det eval coco --gt instances.json --dt results.segm.json --iou-type segm --json
  care-det eval coco --gt person_keypoints_val2017.json --dt results.json --iou-type keypoints
  care-det eval coco --data coco/ --split val2017 --weights w.safetensors --out run1
  care-det eval coco --data demo --weights w.safetensors --limit 10
  care-det eval coco --data coco/ --weights w.safetensors --shard auto --out parts && care-det merge parts

An evaluation of a data set that was stopped or killed goes on when the same command is given again.";

pub(super) const LVIS_EXAMPLES: &str = "\
Example:
  care-det eval lvis --gt lvis_v1_val.json --dt results.json --iou-type bbox,segm";

pub(super) const PANOPTIC_EXAMPLES: &str = "\
Example:
  care-det eval panoptic --gt panoptic_val2017.json --pred predictions.json --per-category";

pub(super) const MERGE_EXAMPLES: &str = "\
Examples:
  care-det eval coco --data coco/ --weights w.safetensors --shard 1/2 --out parts
  care-det eval coco --data coco/ --weights w.safetensors --shard 2/2 --out parts
  care-det merge parts --out whole
  care-seg eval ade20k --data ade/ --weights w.safetensors --shard auto --out parts
  care-seg merge parts
The figures, and metrics.json, are those of one run, to the bit.";

pub(super) const COMPARE_EXAMPLES: &str = "\
Examples:
  care-det compare run1 run2
  care-det compare a.json b.json --gt instances_val2017.json --per-category";

pub(super) const INFER_EXAMPLES: &str = "\
Examples:
  care-det infer street.jpg --weights w.safetensors
  care-det infer photos/ more/cat.png --weights w.safetensors --conf 0.5 --out found
  care-det infer photos/ --weights w.safetensors --save none --json > detections.json";

pub(super) const SEG_EXAMPLES: &str = "\
Examples:
  Score label maps of any segmenter, with mmsegmentation's numbers:
    care-seg eval --gt annotations/validation --pred predictions --classes 150 --reduce-zero-label
  Train a segmenter on your own pictures and masks:
    care-seg train --data my-data/ --out run
  Segment pictures; overlays and label maps go to care-out/:
    care-seg infer photos/ --weights run/weights/best.safetensors

Results are on stdout, progress and messages on stderr; --json prints one line of JSON.
Exit codes: 0 ok, 1 some inputs failed, 2 usage, 3 data rejected, 4 below --fail-under, 5 weights, 130 interrupted.
CARE_ISA=portable|avx2|avx512|neon forces an instruction set.";

pub(super) const EVAL_SEG_EXAMPLES: &str = "\
Examples:
  care-seg eval --gt annotations/validation --pred predictions --classes 150 --reduce-zero-label
  care-seg eval ade20k --data ADEChallengeData2016/ --weights w.safetensors
  care-seg eval ade20k --data my-data/ --weights run/weights/best.safetensors --json
  care-seg eval ade20k --data my-data/ --weights w.safetensors --shard auto --out parts && care-seg merge parts

An evaluation of a data set that was stopped or killed goes on when the same command is given again.";

pub(super) const INFER_SEG_EXAMPLES: &str = "\
Examples:
  care-seg infer street.jpg --weights w.safetensors
  care-seg infer photos/ --weights w.safetensors --save overlay,palette --out seen";

pub(super) const TRAIN_EXAMPLES: &str = "\
Examples:
  care-det train --data my-data/ --probe
  care-det train --data my-data/ --val-fraction 0.1 --out run1
  care-det train --data my-data/ --backbone CARETrans_S0.pth.tar --epochs 30 --set train.lr=0.0001 --out run2
  care-det train --data demo --out demo-run";

pub(super) const WEIGHTS_EXAMPLES: &str = "\
Examples:
  care-det weights inspect w.safetensors
  care-det weights convert CARETrans_S0.pth.tar --out care_s0.safetensors
  care-det weights init --backbone CARETrans_S0.pth.tar --labels-from my-data/ --out w.safetensors
  care-det weights init --recipe demo --labels-from demo --out w.safetensors";

pub(super) const BENCH_EXAMPLES: &str = "\
Examples:
  care-det bench --model retinanet_care_s0 --size 800x1344 --threads 1 --repeat 5
  care-det bench --model care_s0 --size 224x224 --batch 8 --train --json";

pub(super) const DEMO_EXAMPLES: &str = "\
Example:
  care-det demo --write demo-data && care-det eval coco --data demo-data --weights w.safetensors";
