//! Decoder and folder-scan robustness: every file of the `odd_images` set behaves as its manifest says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use care_data::folder::find_pictures;
use care_data::{DecodeLimits, ErrorKind, decode_bytes, decode_path};
use image::RgbImage;
use serde_json::Value;

/// Means of lossy pictures vary with the decoder by less than half a level; the manifest rounds to a tenth.
const MEAN_TOLERANCE: f64 = 0.6;
/// The manifest's own tolerance for quarters of a picture.
const QUADRANT_TOLERANCE: f64 = 3.0;

fn folder() -> Option<PathBuf> {
    let data = std::env::var_os("CARE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = data.join("odd_images");
    if folder.join("manifest.json").is_file() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is not here (set CARE_DATA)", folder.display());
    None
}

fn manifest(folder: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read(folder.join("manifest.json")).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    json["files"].as_object().unwrap().clone().into_iter().collect()
}

fn mean(picture: &RgbImage, [x0, y0, x1, y1]: [u32; 4]) -> [f64; 3] {
    let mut sum = [0u64; 3];
    for y in y0..y1 {
        for x in x0..x1 {
            (0..3).for_each(|c| sum[c] += u64::from(picture.get_pixel(x, y)[c]));
        }
    }
    sum.map(|s| s as f64 / (f64::from(x1 - x0) * f64::from(y1 - y0)))
}

fn far(got: [f64; 3], want: &Value, tolerance: f64) -> Option<String> {
    let want: Vec<f64> = want.as_array()?.iter().map(|v| v.as_f64().unwrap()).collect();
    let off = (0..3).any(|c| (got[c] - want[c]).abs() > tolerance);
    off.then(|| format!("mean {got:.1?}, expected {want:?}"))
}

/// What is wrong with a decoded picture, by its manifest entry.
fn wrong(picture: &RgbImage, entry: &Value) -> Option<String> {
    let (w, h) = picture.dimensions();
    if entry["size"] != serde_json::json!([w, h]) {
        return entry["size"].is_array().then(|| format!("size {w}x{h}, expected {}", entry["size"]));
    }
    let (mx, my) = (w / 2, h / 2);
    let quadrants = &entry["quadrant_mean_rgb"];
    let quarter = |name: &str, area| far(mean(picture, area), &quadrants[name], QUADRANT_TOLERANCE);
    let whole = mean(picture, [0, 0, w, h]);
    far(whole, &entry["mean_rgb"], MEAN_TOLERANCE)
        .or_else(|| far(whole, &entry["mean_rgb_alpha_dropped"], MEAN_TOLERANCE))
        .or_else(|| quarter("top_left", [0, 0, mx, my]))
        .or_else(|| quarter("top_right", [mx, 0, w, my]))
        .or_else(|| quarter("bottom_left", [0, my, mx, h]))
        .or_else(|| quarter("bottom_right", [mx, my, w, h]))
}

/// One line if the file does not behave as the manifest says.
fn check(folder: &Path, name: &str, entry: &Value) -> Option<String> {
    let start = Instant::now();
    let result = decode_path(&folder.join(name));
    let slow = start.elapsed() > Duration::from_secs(30);
    let problem = match (entry["expect"].as_str().unwrap(), &result) {
        _ if slow => Some(format!("took {:?}", start.elapsed())),
        ("decode", Err(e)) => Some(format!("did not decode: {e}")),
        ("decode", Ok(picture)) => wrong(picture, entry),
        ("error", Ok(_)) => Some("decoded, expected an error".to_owned()),
        (_, Err(e)) if !e.to_string().contains(name) => {
            Some(format!("the error does not name the file: {e}"))
        }
        _ => None,
    };
    problem.map(|p| format!("{name}: {p}"))
}

#[test]
fn every_file_behaves_as_its_manifest_says() {
    let Some(folder) = folder() else { return };
    let files = manifest(&folder);
    assert!(files.len() > 90, "{} files in the manifest", files.len());
    let problems: Vec<String> =
        files.iter().filter_map(|(name, entry)| check(&folder, name, entry)).collect();
    assert!(problems.is_empty(), "{} files misbehave:\n  {}", problems.len(), problems.join("\n  "));
    if let Some(peak) = peak_mebibytes() {
        // The largest picture of the set that has to decode is 48 megapixels: 144 MB as RGB beside its 48 MB of grey.
        assert!(peak < 600, "decoding took {peak} MiB");
    }
}

/// The most memory this process has held, where the system says.
fn peak_mebibytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

#[test]
fn the_folder_search_lists_pictures_and_passes_over_the_rest() {
    let Some(folder) = folder() else { return };
    let found: BTreeSet<String> = find_pictures(&[&folder])
        .unwrap()
        .iter()
        .map(|f| f.relative.to_string_lossy().into_owned())
        .collect();
    for (name, entry) in manifest(&folder) {
        match entry["expect"].as_str().unwrap() {
            "skip" => assert!(!found.contains(&name), "{name} is listed"),
            "decode" | "error" => assert!(found.contains(&name), "{name} is not listed"),
            _ => {}
        }
    }
    assert!(found.contains("names/deep/er/nested.jpg") && !found.contains("names/.hidden.jpg"));
}

#[test]
fn errors_say_what_the_file_is() {
    let Some(folder) = folder() else { return };
    for (name, kind, words) in [
        ("jpeg/zero_bytes.jpg", ErrorKind::Input, "empty"),
        ("jpeg/html_404.jpg", ErrorKind::Input, "HTML"),
        ("png/claims_60000x60000.png", ErrorKind::Input, "3600 megapixels"),
        ("size/bilevel_20000x20000.png", ErrorKind::Input, "400 megapixels"),
        ("other/img.avif", ErrorKind::Unsupported, "AVIF"),
        ("other/img.jp2", ErrorKind::Unsupported, "JPEG 2000"),
        ("names/dir.jpg", ErrorKind::Input, "folder"),
        ("no/such.jpg", ErrorKind::Input, "no such file"),
    ] {
        let error = decode_path(&folder.join(name)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains(name), "{error}");
    }
}

/// Cut anywhere, or with any byte changed, a file decodes or is an error: never a panic, never a hang.
#[test]
fn damaged_bytes_never_panic() {
    let Some(folder) = folder() else { return };
    let limits = DecodeLimits { max_pixels: 4_000_000, ..DecodeLimits::default() };
    let names =
        ["png/palette.png", "names/a.b.c.jpg", "other/lzw.tif", "other/animated.gif", "other/lossless.webp"];
    for name in
        names.into_iter().chain(["other/bmp8.bmp", "other/img.ppm", "other/cmyk.tif", "other/animated.webp"])
    {
        let whole = std::fs::read(folder.join(name)).unwrap();
        for step in 0..60usize {
            let at = whole.len() * step / 60;
            let _ = decode_bytes(&whole[..at], name, &limits);
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            changed[(at * 7 + 13) % whole.len()] = 0x80;
            let _ = decode_bytes(&changed, name, &limits);
        }
    }
}
