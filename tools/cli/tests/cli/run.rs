//! How the tests start `care-det` and what they need around it.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Categories of [`Room::data_set`]: ids with holes, as in COCO.
const CATEGORIES: [(i64, &str); 3] = [(1, "person"), (3, "car"), (18, "dog")];

/// A fresh folder to run in.
pub(crate) struct Room(TempDir);

impl Room {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders it lies in.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file in the room")).expect("its folder");
        std::fs::write(path, content).expect("a file in the room");
    }

    /// Writes `count` pictures of three shapes into a folder and returns their names, the folder included.
    pub(crate) fn pictures(&self, folder: &str, count: u32) -> Vec<String> {
        std::fs::create_dir_all(self.path(folder)).expect("a folder");
        let write = |i: u32| {
            let (width, height) = shape(i);
            let name = format!("{folder}/{i:03}.png");
            let block = |x: u32, y: u32, c: u32| ((x / 16 * 83 + y / 16 * 151 + i * 37 + c * 61) % 256) as u8;
            let pixel = |x, y| image::Rgb([block(x, y, 0), block(y, x, 1), (x * 2 + y) as u8]);
            image::RgbImage::from_fn(width, height, pixel).save(self.path(&name)).expect("a picture");
            name
        };
        (0..count).map(write).collect()
    }

    /// Writes a COCO data set with a split `val` of `count` pictures, two objects each.
    pub(crate) fn data_set(&self, name: &str, count: u32) {
        self.pictures(&format!("{name}/val"), count);
        let image = |i: u32| {
            let (width, height) = shape(i);
            json!({"id": i + 1, "file_name": format!("{i:03}.png"), "width": width, "height": height})
        };
        let object = |k: u32| {
            let (side, category) = (20 + k % 3 * 8, CATEGORIES[k as usize % 3].0);
            json!({"id": k + 1, "image_id": k / 2 + 1, "category_id": category, "iscrowd": 0,
                   "bbox": [4 + k % 2 * 30, 6, side, side], "area": side * side})
        };
        let categories = CATEGORIES.map(|(id, name)| json!({"id": id, "name": name}));
        let truth = json!({
            "images": (0..count).map(image).collect::<Vec<_>>(),
            "annotations": (0..2 * count).map(object).collect::<Vec<_>>(),
            "categories": categories,
        });
        self.file(&format!("{name}/annotations/instances_val.json"), truth.to_string());
    }

    /// Writes a data set in ADE20K's layout: `train` and `val` pictures whose classes are the three blocks of their colours.
    pub(crate) fn scenes(&self, name: &str, train: u32, val: u32) {
        for (part, count) in [("training", train), ("validation", val)] {
            let pictures = self.pictures(&format!("{name}/images/{part}"), count);
            for picture in pictures {
                let label = self.path(&picture.replace("/images/", "/annotations/"));
                std::fs::create_dir_all(label.parent().expect("a folder")).expect("a folder");
                let of = image::open(self.path(&picture)).expect("a picture").to_rgb8();
                let class = |x, y| image::Luma([1 + of.get_pixel(x, y).0[0] / 86]);
                image::GrayImage::from_fn(of.width(), of.height(), class).save(label).expect("a label map");
            }
        }
        self.file(&format!("{name}/objectInfo.txt"), "Idx\tName\n1\tdark\n2\tmiddle\n3\tbright\n");
    }

    /// Puts recipe weights for the classes of [`Room::data_set`] here as `w.safetensors`. They are made once.
    pub(crate) fn weights(&self) {
        static MADE: OnceLock<PathBuf> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let (room, path) =
                (Self::new(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipe.safetensors"));
            room.data_set("d", 1);
            room.det("weights init --recipe A/e2e/retina --labels-from d --out w.safetensors").exits(0);
            std::fs::copy(room.path("w.safetensors"), &path).expect("room for the weights");
            path
        });
        let here = self.path("w.safetensors");
        std::fs::hard_link(made, &here)
            .or_else(|_| std::fs::copy(made, &here).map(drop))
            .expect("the weights");
    }

    /// Runs `care-det` here; arguments are separated by white space.
    pub(crate) fn det(&self, args: &str) -> Ran {
        self.det_with(args, &[])
    }

    /// Runs `care-det` here with environment variables.
    pub(crate) fn det_with(&self, args: &str, env: &[(&str, &str)]) -> Ran {
        let output = self.command(args).envs(env.iter().copied()).output().expect("care-det starts");
        Ran { args: args.to_owned(), output }
    }

    /// Runs `care-seg` here.
    pub(crate) fn seg(&self, args: &str) -> Ran {
        let output =
            self.program(assert_cmd::cargo::cargo_bin!("care-seg"), args).output().expect("care-seg starts");
        Ran { args: args.to_owned(), output }
    }

    /// Starts `care-det` here and does not wait.
    pub(crate) fn spawn(&self, args: &str) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("care-det starts")
    }

    /// Starts `care-seg` here and does not wait.
    pub(crate) fn spawn_seg(&self, args: &str) -> Child {
        let mut command = self.program(assert_cmd::cargo::cargo_bin!("care-seg"), args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("care-seg starts")
    }

    fn command(&self, args: &str) -> Command {
        self.program(assert_cmd::cargo::cargo_bin!("care-det"), args)
    }

    fn program(&self, path: &Path, args: &str) -> Command {
        let mut command = Command::new(path);
        command.current_dir(self.0.path()).env_remove("CARE_ISA").env_remove("RUST_BACKTRACE");
        command.args(args.split_whitespace());
        command
    }
}

/// Width and height of picture `i`: lying, standing, square.
fn shape(i: u32) -> (u32, u32) {
    [(96, 64), (64, 96), (80, 80)][i as usize % 3]
}

/// A finished run.
pub(crate) struct Ran {
    args: String,
    output: Output,
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).expect("stdout is UTF-8")
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).expect("stderr is UTF-8")
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "care-det {}\nstdout: {}\nstderr: {}",
            self.args,
            self.stdout(),
            self.stderr()
        );
        self
    }

    /// Checks that stderr has every one of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        let stderr = self.stderr();
        for text in texts {
            assert!(stderr.contains(text), "care-det {}: no {text:?} in stderr:\n{stderr}", self.args);
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        self
    }

    /// The one line of JSON that `--json` must leave on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = self.stdout();
        assert!(text.ends_with('\n') && text.lines().count() == 1, "one line of JSON, got:\n{text}");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

/// A folder of shared test data: `$VARIABLE`, or `name` beside the workspace; says loudly when it is not there.
pub(crate) fn shared(variable: &str, name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path =
        std::env::var_os(variable).map_or_else(|| workspace.join("../shared").join(name), PathBuf::from);
    if path.is_dir() {
        return Some(path.canonicalize().expect("a folder that is there"));
    }
    eprintln!("SKIPPED: {variable} is not set and {} is not there", path.display());
    None
}

/// Real pictures and results.
pub(crate) fn data() -> Option<PathBuf> {
    shared("CARE_DATA", "data")
}

/// Reference numbers.
pub(crate) fn golden() -> Option<PathBuf> {
    shared("CARE_GOLDEN", "golden")
}
