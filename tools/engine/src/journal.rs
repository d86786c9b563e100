//! What an evaluation has found so far, so that one that was killed goes on where it was, to the same bits.
//!
//! A text file: what is evaluated, as one line of JSON, then a line per picture: its id, its box records and its mask
//! records, separated by tabs. Lines are appended whole; what a killed process leaves of a line is cut off.

use crate::error::{Error, Result};
use crate::evaluate::Records;
use care_types::ImageId;
use care_types::coco_json::{self, ResultRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the records of a picture follow from. Found under anything else, they are not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Program and version.
    pub program: String,
    /// Instruction set: results may differ in their last bits.
    pub isa: String,
    /// SHA-256 of the weights file.
    pub weights: String,
    /// Architecture, preprocessing and thresholds, as JSON.
    pub settings: String,
    /// Fingerprint of the data set.
    pub data: String,
}

impl Subject {
    /// What differs, for people.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            ("another version of the program", self.program == other.program),
            ("another instruction set", self.isa == other.isa),
            ("other weights", self.weights == other.weights),
            ("other settings of the detector", self.settings == other.settings),
            ("other data", self.data == other.data),
        ];
        parts.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
    }
}

/// An evaluation in progress.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    done: BTreeMap<i64, Records>,
}

impl Journal {
    /// The name of the file in the folder of the results.
    pub const NAME: &'static str = "unfinished.tsv";

    /// Goes on with the evaluation that a folder holds, or starts one.
    ///
    /// # Errors
    /// `Config` when the folder holds an unfinished evaluation of something else, or another process works there;
    /// `Internal` when it cannot be read or written.
    pub fn open(folder: &Path, subject: &Subject) -> Result<Self> {
        let path = folder.join(Self::NAME);
        let failed = |e| Error::internal(format!("{}: cannot be read or written: {e}", path.display()));
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        // other errors: the file system has no locks
        if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::config(format!("{}: another process works here", folder.display())));
        }
        let text = fs::read(&path).map_err(failed)?;
        let Some(length) = first_line(&text) else {
            // nothing, or a process was killed while it wrote the first line
            let head = serde_json::to_string(subject).map_err(|e| Error::internal(e.to_string()))?;
            file.set_len(0).and_then(|()| file.write_all(format!("{head}\n").as_bytes())).map_err(failed)?;
            return Ok(Self { path, file, done: BTreeMap::new() });
        };
        let of: Option<Subject> = serde_json::from_slice(&text[..length]).ok();
        let difference = of.map_or(Some("something else"), |of| of.difference(subject));
        if let Some(difference) = difference {
            return Err(Error::config(format!(
                "{}: the folder holds an unfinished evaluation, but of {difference}; name another folder, or start \
                 again with --overwrite",
                folder.display()
            )));
        }
        let (done, used) = read_lines(&text[length..]);
        let end = (length + used) as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(failed)?;
        Ok(Self { path, file, done })
    }

    /// Pictures that are done.
    pub fn len(&self) -> usize {
        self.done.len()
    }

    /// True at the beginning.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Whether a picture is done.
    pub fn contains(&self, image: ImageId) -> bool {
        self.done.contains_key(&image.0)
    }

    /// The records of a picture that is done.
    pub fn take(&mut self, image: ImageId) -> Option<Records> {
        self.done.remove(&image.0)
    }

    /// Keeps the records of a picture.
    ///
    /// # Errors
    /// `Internal` when they cannot be written.
    pub fn keep(&mut self, image: ImageId, records: &Records) -> Result<()> {
        let list = |records: &[ResultRecord]| serde_json::to_string(records);
        let line =
            list(&records.boxes).and_then(|b| Ok(format!("{}\t{b}\t{}\n", image.0, list(&records.masks)?)));
        let line = line.map_err(|e| Error::internal(e.to_string()))?;
        let failed = |e| Error::internal(format!("{}: cannot be written: {e}", self.path.display()));
        self.file.write_all(line.as_bytes()).map_err(failed)
    }

    /// Removes the file: everything is done.
    ///
    /// # Errors
    /// `Internal` when that fails.
    pub fn finish(self) -> Result<()> {
        let Self { path, .. } = self;
        fs::remove_file(&path)
            .map_err(|e| Error::internal(format!("{}: cannot be removed: {e}", path.display())))
    }
}

/// Bytes of the first line with its end.
fn first_line(text: &[u8]) -> Option<usize> {
    text.iter().position(|&b| b == b'\n').map(|at| at + 1)
}

/// The pictures, and how many bytes they take: up to the first line that is no picture.
fn read_lines(mut text: &[u8]) -> (BTreeMap<i64, Records>, usize) {
    let (mut done, all) = (BTreeMap::new(), text.len());
    while let Some(length) = first_line(text) {
        let Some((id, records)) = read_line(&text[..length - 1]) else { break };
        done.insert(id, records);
        text = &text[length..];
    }
    (done, all - text.len())
}

fn read_line(line: &[u8]) -> Option<(i64, Records)> {
    let mut fields = line.split(|&b| b == b'\t');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let mut list = || coco_json::parse_results(fields.next()?).ok();
    let records = Records { boxes: list()?, masks: list()? };
    let all = records.boxes.iter().chain(&records.masks);
    (fields.next().is_none() && all.into_iter().all(|r| r.image_id == ImageId(id))).then_some((id, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_types::{BoxXywh, CategoryId, Rle};

    fn subject() -> Subject {
        let [program, isa, weights, settings, data] =
            ["p 1", "avx2", "abc", "{\"a\":\t1}", "d"].map(str::to_owned);
        Subject { program, isa, weights, settings, data }
    }

    fn records(id: i64, n: usize) -> Records {
        let record = |k: usize| ResultRecord {
            image_id: ImageId(id),
            category_id: CategoryId(1 + k as i64),
            bbox: Some(BoxXywh::new(0.1 + k as f64, f64::from(1.0f32 / 3.0), 7.0, 1e-7)),
            score: f64::from(0.7f32) / (k + 1) as f64,
            ..Default::default()
        };
        let rle = Rle::from_mask(&[0, 1, 1, 0, 1, 0], 2, 3).unwrap();
        let mask = |k| ResultRecord { bbox: None, segmentation: Some(rle.clone()), ..record(k) };
        Records { boxes: (0..n).map(record).collect(), masks: (0..n).map(mask).collect() }
    }

    #[test]
    fn what_was_kept_is_there_again_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), &subject()).unwrap();
        let kept = [(7, records(7, 3)), (-2, records(-2, 0)), (9, records(9, 1))];
        kept.iter().for_each(|(id, records)| journal.keep(ImageId(*id), records).unwrap());
        drop(journal);
        let mut again = Journal::open(dir.path(), &subject()).unwrap();
        assert_eq!(again.len(), 3);
        for (id, records) in &kept {
            let found = again.take(ImageId(*id)).unwrap();
            assert_eq!((&found.boxes, &found.masks), (&records.boxes, &records.masks));
        }
        assert!(again.is_empty());
        again.finish().unwrap();
        assert!(Journal::open(dir.path(), &subject()).unwrap().is_empty());
    }

    #[test]
    fn two_processes_do_not_write_into_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(dir.path(), &subject()).unwrap();
        let refused = Journal::open(dir.path(), &subject()).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(first);
        Journal::open(dir.path(), &subject()).unwrap();
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_lines_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Journal::NAME);
        let mut journal = Journal::open(dir.path(), &subject()).unwrap();
        let head = fs::read(&path).unwrap().len();
        (1..=3).for_each(|id| journal.keep(ImageId(id), &records(id, 1)).unwrap());
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(dir.path(), &subject()).unwrap();
            let lines = whole[head.min(cut)..cut].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(journal.len(), lines, "cut at {cut}");
            journal.keep(ImageId(8), &records(8, 2)).unwrap();
            drop(journal);
            let again = Journal::open(dir.path(), &subject()).unwrap();
            assert_eq!(again.len(), lines + 1, "cut at {cut}");
        }
    }

    #[test]
    fn an_evaluation_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Journal::open(dir.path(), &subject()).unwrap();
        let refused = |s: Subject| Journal::open(dir.path(), &s).unwrap_err().to_string();
        assert!(refused(Subject { weights: "abd".into(), ..subject() }).contains("of other weights"));
        assert!(refused(Subject { data: "e".into(), ..subject() }).contains("of other data"));
        fs::write(dir.path().join(Journal::NAME), "a list of mine\n").unwrap();
        assert!(refused(subject()).contains("something else"));
        assert_eq!(fs::read(dir.path().join(Journal::NAME)).unwrap(), b"a list of mine\n");
    }
}
