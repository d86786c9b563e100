//! From files, by columns, to the bits that records give.
mod synthetic;

use care_map::{Areas, CocoMetrics, Params, evaluate, evaluate_files};
use care_types::coco_json::{ResultRecord, read_dataset, read_results, results_json};
use care_types::{CategoryId, ImageId};
use std::path::{Path, PathBuf};
use synthetic::{Data, Random, SMALL, Sizes, data};

/// An annotation file and a results file.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("care-map-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["gt.json", "dt.json"].map(|name| self.0.join(name))
    }

    fn write(&self, gt: &str, dt: &str) -> [PathBuf; 2] {
        let paths = self.paths();
        std::fs::write(&paths[0], gt).unwrap();
        std::fs::write(&paths[1], dt).unwrap();
        paths
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn by_records([gt, dt]: &[PathBuf; 2], params: &Params) -> care_map::Result<CocoMetrics> {
    evaluate(&read_dataset(gt)?, &read_results(dt)?, params)
}

fn assert_same(name: &str, paths: &[PathBuf; 2], params: &Params) -> Option<CocoMetrics> {
    let columns = evaluate_files(&paths[0], &paths[1], params);
    match (columns, by_records(paths, params)) {
        (Ok(a), Ok(b)) => {
            assert_eq!((&a.funnel, &a.protocol, &a.stats), (&b.funnel, &b.protocol, &b.stats), "{name}");
            assert_eq!(
                (&a.per_category, &a.pycocotools_stats),
                (&b.per_category, &b.pycocotools_stats),
                "{name}"
            );
            assert!(a.curves == b.curves, "{name}: other curves");
            Some(a)
        }
        (a, b) => {
            assert_eq!(a.map_err(|e| e.to_string()), b.map_err(|e| e.to_string()), "{name}");
            None
        }
    }
}

fn write(files: &Files, data: &Data) -> [PathBuf; 2] {
    files.write(&serde_json::to_string(&data.gt).unwrap(), &results_json(&data.dt))
}

#[test]
fn files_give_the_bits_of_records() {
    let files = Files::new("bits");
    let (mut scored, mut found) = (0, 0);
    for seed in 0..400 {
        let mut data = data(seed, SMALL);
        let mut random = Random::new(seed);
        // Some of what is dropped, or odd.
        for a in &mut data.gt.annotations {
            match random.below(30) {
                0 => a.category_id = CategoryId(99),
                1 => a.image_id = ImageId(5555),
                2 => a.id = 0,
                3 => a.area = None,
                4 => a.id = 3,
                _ => {}
            }
        }
        for r in &mut data.dt {
            match random.below(40) {
                0 => r.category_id = CategoryId(99),
                1 => r.score = -0.0,
                _ => {}
            }
        }
        if seed % 4 == 1 {
            data.params.img_ids = Some(data.gt.images.iter().step_by(2).map(|i| i.id).collect());
        }
        if seed % 7 == 1 {
            data.params.cat_ids = Some(vec![data.gt.categories[seed as usize % 3].id]);
        }
        if seed % 9 == 4 {
            data.params.max_dets = vec![3, 1];
        }
        data.params.quirks = seed % 11 == 3;
        let name = format!("seed {seed}");
        if let Some(metrics) = assert_same(&name, &write(&files, &data), &data.params) {
            scored += 1;
            found += usize::from(metrics.stats[0] > 0.0);
        }
    }
    assert!(scored > 350 && found > 200, "{scored} scored, {found} above 0");
}

/// Long enough for several parts, with records whose start looks like that of a record.
#[test]
fn long_files_are_joined_where_records_begin() {
    let files = Files::new("long");
    let sizes = Sizes { pictures: 900, categories: 3, objects: 12, detections: 60, side: 150 };
    for seed in [1, 2] {
        let data = data(seed, sizes);
        let [gt, dt] = [serde_json::to_string(&data.gt).unwrap(), results_json(&data.dt)];
        assert!(dt.len() > 2 << 20, "{}", dt.len());
        let odd =
            dt.replace("{\"image_id\"", "{\"note\":[{\"a\":1},{\"a\":2},\n {\"a\":\"},{\"}],\"image_id\"");
        for (name, dt) in [("plain", &dt), ("odd", &odd)] {
            let metrics = assert_same(name, &files.write(&gt, dt), &data.params);
            assert!(metrics.is_some_and(|m| m.stats[0] > 0.0), "{name}");
        }
        // Any number of threads.
        let paths = files.paths();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let seven = rayon::ThreadPoolBuilder::new().num_threads(7).build().unwrap();
        let score = || evaluate_files(&paths[0], &paths[1], &data.params).unwrap();
        let (a, b) = (one.install(score), seven.install(score));
        assert!(a == b);
    }
}

/// What is wrong is said as it is said of records.
#[test]
fn mistakes_have_the_messages_of_records() {
    let files = Files::new("mistakes");
    for seed in 0..60 {
        let mut data = data(seed, SMALL);
        let Some(last) = data.dt.last_mut() else { continue };
        match seed % 6 {
            0 => last.image_id = ImageId(5555),
            1 => (last.bbox, last.segmentation) = (None, None),
            2 => data.gt.images.iter_mut().for_each(|i| i.width += 1),
            3 => data.gt.annotations.iter_mut().for_each(|a| (a.bbox, a.segmentation) = (None, None)),
            4 => data.gt.images.clear(),
            _ => data.params.img_ids = Some(vec![ImageId(5555)]),
        }
        let name = format!("seed {seed}");
        let paths = write(&files, &data);
        assert_same(&name, &paths, &data.params);
        let text = std::fs::read_to_string(&paths[1]).unwrap();
        for (from, to) in
            [("\"score\":", "\"scores\":"), ("]", ""), ("\"image_id\":", "\"image_id\":\"1\",\"x\":")]
        {
            std::fs::write(&paths[1], text.replacen(from, to, 1)).unwrap();
            assert!(assert_same(&name, &paths, &data.params).is_none() || !text.contains(from), "{name}");
        }
    }
    let missing = Path::new("missing.json");
    let e = evaluate_files(missing, missing, &Params::default()).unwrap_err();
    assert_eq!(e.to_string(), read_dataset(missing).unwrap_err().to_string());
}

/// An object that no detection meets is never drawn; that it could not be is said all the same.
#[test]
fn a_picture_too_large_for_masks_is_refused_without_detections_in_it() {
    let files = Files::new("large");
    let gt = r#"{"images":[{"id":1,"width":100000,"height":100000},{"id":2,"width":4,"height":3}],
"categories":[{"id":2,"name":"dog"}],
"annotations":[{"id":1,"image_id":1,"category_id":2,"bbox":[0,0,4,3],"area":12,"segmentation":[[0,0,4,0,4,3,0,3]]}]}"#;
    let dt = r#"[{"image_id":2,"category_id":2,"segmentation":{"size":[3,4],"counts":"0<"},"score":0.5}]"#;
    let paths = files.write(gt, dt);
    let metrics = assert_same("large", &paths, &Params::new(care_map::IouType::Segm));
    assert!(metrics.is_none(), "scored {:?}", metrics.map(|m| m.stats));
}

/// The first record decides where areas come from, also when it is alone in that.
#[test]
fn areas_come_from_where_the_first_record_has_them() {
    let files = Files::new("areas");
    let data = data(2, SMALL);
    let masks: Vec<ResultRecord> = data.dt.iter().filter(|r| r.segmentation.is_some()).cloned().collect();
    for given in 0..8 {
        let mut dt = masks.clone();
        for (i, r) in dt.iter_mut().enumerate() {
            let bbox = r.segmentation.as_ref().map(|m| m.bbox());
            r.bbox = bbox.filter(|_| (given >> i.min(2)) & 1 == 1);
        }
        let areas = Areas::of(&dt).unwrap();
        for kind in [care_map::IouType::Bbox, care_map::IouType::Segm] {
            let params = Params { iou_type: kind, ..data.params.clone() };
            let paths = files.write(&serde_json::to_string(&data.gt).unwrap(), &results_json(&dt));
            assert_same(&format!("{given} {areas:?} {kind:?}"), &paths, &params);
        }
    }
}
