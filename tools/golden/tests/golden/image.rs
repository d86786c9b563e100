//! Decoding, resizing, preprocessing.
//!
//! Resizing is held to the reference's very bytes, where the set would allow a level of difference.

use care_data::resize::{cv2, nearest, pil};
use care_data::transforms::normalize;
use care_data::{ClassifyPreprocess, Preprocess, Scale, decode_path};
use care_golden::{Case, Checker};
use care_types::Size;
use image::RgbImage;
use serde_json::{Value, json};

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("image_decode", decode),
    ("image_resize", resize),
    ("image_resize_pil", resize_pil),
    ("label_resize", resize_labels),
    ("det_preprocess", detector_input),
    ("cls_preprocess", classifier_input),
];

fn text<'a>(entry: &'a Value, key: &str) -> Result<&'a str, String> {
    entry[key].as_str().ok_or_else(|| format!("`{key}` is not a text: {entry}"))
}

fn pair(value: &Value) -> Result<[u32; 2], String> {
    match value.as_array().map(Vec::as_slice) {
        Some([a, b]) => Ok([a, b].map(|v| v.as_u64().unwrap_or_default() as u32)),
        _ => Err(format!("not a pair: {value}")),
    }
}

fn picture(case: &Case, entry: &Value, key: &str) -> Result<RgbImage, String> {
    decode_path(&case.root.join(text(entry, key)?)).map_err(|e| e.to_string())
}

fn images(case: &Case) -> Result<&Vec<Value>, String> {
    case.json["images"]
        .as_array()
        .filter(|a| !a.is_empty())
        .ok_or_else(|| "the case has no images".to_owned())
}

/// Runs a check for every image of a case and reports all that fail.
fn for_each(case: &Case, check: impl Fn(&Value) -> Result<(), String>) -> Result<(), String> {
    let failures: Vec<String> = images(case)?
        .iter()
        .filter_map(|entry| {
            let name = ["name", "file", "png", "src"].iter().find_map(|k| entry[*k].as_str()).unwrap_or("?");
            check(entry).err().map(|e| format!("{name}: {e}"))
        })
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n  ")) }
}

/// Equal sizes, and bytes that differ by at most `max`, on average by at most `mean`.
fn compare(got: &RgbImage, want: &RgbImage, max: f64, mean: f64) -> Result<(), String> {
    if got.dimensions() != want.dimensions() {
        return Err(format!("size {:?}, expected {:?}", got.dimensions(), want.dimensions()));
    }
    let differences: Vec<f64> =
        got.as_raw().iter().zip(want.as_raw()).map(|(g, w)| f64::from(g.abs_diff(*w))).collect();
    let worst = differences.iter().copied().fold(0.0, f64::max);
    let average = differences.iter().sum::<f64>() / differences.len() as f64;
    if worst > max || average > mean {
        return Err(format!("differs by up to {worst}, on average {average:.3}; allowed {max} and {mean}"));
    }
    Ok(())
}

fn decode(case: &Case) -> Result<(), String> {
    for_each(case, |entry| {
        let got = picture(case, entry, "file")?;
        let want = picture(case, entry, "decoded_png")?;
        if json!(crc32fast::hash(want.as_raw())) != entry["crc32_rgb"] {
            return Err("the reference picture itself is not decoded exactly".to_owned());
        }
        let tolerance = &entry["jpeg_tolerance"];
        let limit = |key: &str| tolerance[key].as_f64().unwrap_or(0.0);
        compare(&got, &want, limit("max"), limit("mean"))
    })
}

fn resize(case: &Case) -> Result<(), String> {
    for_each(case, |entry| {
        let src = picture(case, entry, "src")?;
        let [long, short] = pair(&entry["scale"])?;
        let preprocess = Preprocess { scale: Scale { long, short }, ..Preprocess::default() };
        let geometry = preprocess.geometry(Size::new(src.width(), src.height()));
        let [height, width] = pair(&entry["out_hw"])?;
        if geometry.resized != Size::new(width, height) {
            return Err(format!("size {:?}, expected {width}x{height}", geometry.resized));
        }
        if json!([geometry.scale_w, geometry.scale_h]) != entry["scale_factor_wh"] {
            return Err(format!("scale {:?}", [geometry.scale_w, geometry.scale_h]));
        }
        let got = cv2::resize_bilinear(&src, width, height);
        for crop in entry["crops"].as_array().into_iter().flatten() {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|k| crop[k].as_u64().unwrap_or_default() as u32);
            let part = image::imageops::crop_imm(&got, x, y, w, h).to_image();
            compare(&part, &picture(case, crop, "png")?, 0.0, 0.0)
                .map_err(|e| format!("crop at {x},{y}: {e}"))?;
        }
        if entry["png"].is_string() {
            compare(&got, &picture(case, entry, "png")?, 0.0, 0.0)?;
        }
        let crc = crc32fast::hash(got.as_raw());
        if json!(crc) == entry["crc32"] {
            Ok(())
        } else {
            Err(format!("CRC-32 {crc}, expected {}", entry["crc32"]))
        }
    })
}

fn resize_pil(case: &Case) -> Result<(), String> {
    for_each(case, |entry| {
        let filter = match text(entry, "filter")? {
            "bilinear" => pil::Filter::Bilinear,
            "bicubic" => pil::Filter::Bicubic,
            other => return Err(format!("unknown filter {other}")),
        };
        let [width, height] = pair(&entry["out_wh"])?;
        let got = pil::resize(&picture(case, entry, "src")?, width, height, filter);
        compare(&got, &picture(case, entry, "png")?, 0.0, 0.0)
    })
}

fn resize_labels(case: &Case) -> Result<(), String> {
    let label = case.input("label")?;
    let [h, w] = [label.shape[0] as u32, label.shape[1] as u32];
    let values = label.i64();
    let mut checker = Checker::new(case);
    for name in case.names("output") {
        let (height, width) =
            name.trim_start_matches("cv2_").split_once('x').ok_or("output without a size")?;
        let side = |s: &str| s.parse::<u32>().map_err(|e| format!("{name}: {e}"));
        let (height, width) = (side(height)?, side(width)?);
        let got: Vec<f64> =
            nearest::resize_cv2(&values, [w, h], [width, height]).into_iter().map(|v| v as f64).collect();
        checker.values_f64(&name, &[height as usize, width as usize], &got);
        let by_pillow = nearest::resize_pil(&values, [w, h], [width, height]);
        let differing = by_pillow.iter().zip(&got).filter(|(a, b)| **a as f64 != **b).count();
        let want = &case.json["pil_differing_pixels"][name.trim_start_matches("cv2_")];
        if json!(differing) != *want {
            checker
                .fail(1.0, format!("{name}: Pillow's rule differs in {differing} pixels, expected {want}"));
        }
    }
    checker.finish()
}

/// `[H, W, 3]` pictures of one size as a `[N, 3, H, W]` array.
fn planes(pictures: &[Vec<f32>], size: Size) -> Vec<f32> {
    let area = size.area() as usize;
    let plane = |p: &'_ Vec<f32>, c: usize| (0..area).map(|i| p[i * 3 + c]).collect::<Vec<f32>>();
    pictures.iter().flat_map(|p| (0..3).flat_map(move |c| plane(p, c))).collect()
}

fn moments(case: &Case, key: &str) -> Result<[f32; 3], String> {
    let values: Vec<f32> =
        serde_json::from_value(case.json[key].clone()).map_err(|e| format!("{key}: {e}"))?;
    values.try_into().map_err(|_| format!("{key} has not three numbers"))
}

fn detector_input(case: &Case) -> Result<(), String> {
    let [long, short] = pair(&case.json["scale"])?;
    let preprocess = Preprocess {
        mean: moments(case, "mean")?,
        std: moments(case, "std")?,
        scale: Scale { long, short },
        pad_divisor: case.usize("pad_size_divisor")? as u32,
        ..Preprocess::default()
    };
    let mut checker = Checker::new(case);
    let mut batch = Vec::new();
    let metas = case.json["metas"].as_array().ok_or("no metas")?;
    let [height, width] = pair(&metas[0]["batch_input_shape"])?;
    let size = Size::new(width, height);
    for (src, meta) in case.json["src"].as_array().ok_or("no src")?.iter().zip(metas) {
        let path = case.root.join(src.as_str().unwrap_or_default());
        let picture = decode_path(&path).map_err(|e| e.to_string())?;
        let sample = preprocess.apply(&picture);
        let g = sample.geometry;
        let hw = |s: Size| json!([s.height, s.width]);
        let got = json!({"img_shape": hw(g.resized), "pad_shape": hw(g.padded), "batch_input_shape": hw(size),
            "ori_shape": hw(g.original), "scale_factor": [g.scale_w, g.scale_h]});
        if got != *meta {
            checker.fail(f64::INFINITY, format!("metas: got {got}, expected {meta}"));
        }
        // Only this case mixes sizes in a batch; what `apply` pads to must be the same values.
        let resized = preprocess.interpolation.resize(&picture, g.resized);
        if sample.pixels != normalize(&resized, g.padded, preprocess.mean, preprocess.std) {
            checker.fail(f64::INFINITY, "apply is not resize and normalize".to_owned());
        }
        batch.push(normalize(&resized, size, preprocess.mean, preprocess.std));
    }
    checker.values("batch", &[2, 3, height as usize, width as usize], &planes(&batch, size));
    checker.finish()
}

fn classifier_input(case: &Case) -> Result<(), String> {
    let preprocess = ClassifyPreprocess::default();
    let mut checker = Checker::new(case);
    for entry in images(case)? {
        let src = picture(case, entry, "src")?;
        let name = text(entry, "crop_png")?.trim_start_matches("pre/cls_").trim_end_matches(".png");
        if let Err(e) = compare(&preprocess.crop(&src), &picture(case, entry, "crop_png")?, 0.0, 0.0) {
            checker.fail(f64::INFINITY, format!("crop of {name}: {e}"));
        }
        let x = planes(&[preprocess.apply(&src)], Size::new(224, 224));
        checker.values(&format!("x/{name}"), &[3, 224, 224], &x);
    }
    checker.finish()
}
