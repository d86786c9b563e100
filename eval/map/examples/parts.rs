//! Times evaluation in one go and in parts, and a comparison, and checks that the parts give the same bits:
//!
//! `cargo run --release -p care-map --example parts -- GT.json DT.json [bbox|segm]`
//!
//! CPU times are those of `RAYON_NUM_THREADS=1`. The second result of the comparison is the first one without every
//! tenth detection.
use care_map::{CompareOptions, Evaluator, Params, Result, Shard, compare, evaluate};
use care_types::coco_json::{read_dataset, read_results};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [gt, dt, rest @ ..] = &arguments[..] else {
        return Err(care_map::Error::config("parts GT.json DT.json [bbox|segm]"));
    };
    let (gt, dt) = (read_dataset(Path::new(gt))?, read_results(Path::new(dt))?);
    let params = Params::new(rest.first().map_or("bbox", String::as_str).parse()?);
    let whole = timed("evaluate", || evaluate(&gt, &dt, &params))?;
    let new = || Evaluator::new(&gt.categories, &params);

    let mut records: BTreeMap<_, _> = gt.images.iter().map(|i| (i.id, (i, Vec::new(), Vec::new()))).collect();
    for a in &gt.annotations {
        records.entry(a.image_id).and_modify(|r| r.1.push(a.clone()));
    }
    for r in &dt {
        records.entry(r.image_id).and_modify(|all| all.2.push(r.clone()));
    }
    let one_by_one = timed("add, picture by picture", || {
        let mut all = new()?;
        for (image, objects, found) in records.into_values() {
            all.add(image, objects, &found)?;
        }
        Ok(all)
    })?;
    let parts = timed("add_shard, 8 parts", || {
        (0..8)
            .map(|index| new().and_then(|mut e| e.add_shard(&gt, &dt, Shard { index, count: 8 }).map(|()| e)))
            .collect::<Result<Vec<_>>>()
    })?;
    let files = timed("to_bytes", || Ok(parts.iter().map(Evaluator::to_bytes).collect::<Vec<_>>()))?;
    let merged = timed("from_bytes and merge", || {
        let mut all = new()?;
        for file in &files {
            all.merge(Evaluator::from_bytes(file)?)?;
        }
        Ok(all)
    })?;
    let metrics = timed("finish", || merged.finish())?;
    let bytes: usize = files.iter().map(Vec::len).sum();
    let used = whole.funnel.detections.used;
    println!("{used} detections, {:.2} bytes each on the wire", bytes as f64 / used as f64);
    println!("same figures: {}, {}", metrics == whole, one_by_one.finish()? == whole);

    let mut fewer = new()?;
    let some: Vec<_> = dt.iter().enumerate().filter(|(at, _)| at % 10 > 0).map(|(_, r)| r.clone()).collect();
    fewer.add_all(&gt, &some)?;
    let comparison =
        timed("compare, 1,000 resamples", || compare(&merged, &fewer, &CompareOptions::default()))?;
    for figure in &comparison.figures {
        println!("{}", comparison.statement(figure, "all", "fewer"));
    }
    Ok(())
}

fn timed<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    result
}
