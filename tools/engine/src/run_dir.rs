//! The folder of a training run: what lies where, and how it stays consistent when the process is killed.

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::program;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The resolved configuration.
pub const CONFIG: &str = "config.resolved.toml";
/// What the run was made with.
pub const ENVIRONMENT: &str = "env.json";
/// One line per step and per evaluation; reproducible to the byte.
pub const METRICS: &str = "metrics.jsonl";
/// Where the time went; not reproducible.
pub const TIMINGS: &str = "timings.jsonl";
/// Everything that was said.
pub const LOG: &str = "log.txt";
/// The complete state.
pub const SNAPSHOT: &str = "checkpoints/last.safetensors";
/// The state before a step that was not finite.
pub const DIVERGED: &str = "checkpoints/diverged.safetensors";
/// Weights of the best evaluation.
pub const BEST: &str = "weights/best.safetensors";
/// Weights of the last evaluation or the end.
pub const LAST: &str = "weights/last.safetensors";

/// What a run was made with: for people, and to notice that the data changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub version: String,
    /// Instruction set of the kernels.
    pub instruction_set: String,
    /// Features of the processor that the kernels could use.
    pub cpu_features: Vec<String>,
    /// Threads at the start; results do not depend on them.
    pub threads: usize,
    /// Fingerprint of the training pictures and their annotations.
    pub train_data: String,
    /// Fingerprint of the pictures that are scored.
    pub val_data: String,
    /// SHA-256 of the file that the numbers started from; empty for drawn values.
    pub start_weights: String,
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the folder with configuration and environment inside: it appears whole, by a rename.
    ///
    /// # Errors
    /// `Config` when it exists or cannot be made.
    pub fn create(path: &Path, config: &RunConfig, environment: &Environment) -> Result<Self> {
        let shown = path.display();
        if path.exists() {
            let program = program(config.network.task());
            return Err(Error::config(format!(
                "--out {shown}: exists already; name a new folder, or go on with `{program} resume {shown}`"
            )));
        }
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |e: std::io::Error| Error::config(format!("--out {shown}: could not be made: {e}"));
        fs::create_dir_all(parent).map_err(failed)?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let fresh =
            tempfile::Builder::new().prefix(&format!(".{name}.")).tempdir_in(parent).map_err(failed)?;
        for folder in ["checkpoints", "weights"] {
            fs::create_dir(fresh.path().join(folder)).map_err(failed)?;
        }
        let json = serde_json::to_string_pretty(environment).map_err(|e| Error::internal(e.to_string()))?;
        fs::write(fresh.path().join(CONFIG), config.to_toml()?).map_err(failed)?;
        fs::write(fresh.path().join(ENVIRONMENT), json + "\n").map_err(failed)?;
        readable_by_all(fresh.path()).map_err(failed)?;
        fs::rename(fresh.path(), path).map_err(failed)?;
        let _gone = fresh.keep();
        Ok(Self(path.to_owned()))
    }

    /// Opens the folder of a run that was started, and removes what a killed process left half-written.
    ///
    /// # Errors
    /// `Config` when it is not the folder of a run.
    pub fn open(path: &Path) -> Result<(Self, RunConfig, Environment)> {
        let shown = path.display();
        if !path.join(CONFIG).is_file() {
            return Err(Error::config(format!("{shown}: is not the folder of a run (it has no {CONFIG})")));
        }
        let text = |name: &str| {
            let path = path.join(name);
            fs::read_to_string(&path).map_err(|e| Error::config(format!("{}: {e}", path.display())))
        };
        let config =
            RunConfig::from_toml(&text(CONFIG)?).map_err(|e| e.context(path.join(CONFIG).display()))?;
        let environment = serde_json::from_str(&text(ENVIRONMENT)?)
            .map_err(|e| Error::config(format!("{}: {e}", path.join(ENVIRONMENT).display())))?;
        for folder in ["checkpoints", "weights"] {
            sweep(&path.join(folder));
        }
        Ok((Self(path.to_owned()), config, environment))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Opens a file of lines to append to. With `keep`, it is first cut back to that many bytes: lines after the last
    /// snapshot belong to steps that will be taken again.
    ///
    /// # Errors
    /// `Config` when it cannot be written.
    pub fn lines(&self, name: &str, keep: Option<u64>) -> Result<Lines> {
        let path = self.file(name);
        let failed = |e: std::io::Error| Error::config(format!("{}: {e}", path.display()));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let mut bytes = file.metadata().map_err(failed)?.len();
        if let Some(keep) = keep {
            if bytes < keep {
                return Err(Error::config(format!(
                    "{}: has {bytes} bytes, the snapshot was made at {keep}; was it edited?",
                    path.display()
                )));
            }
            file.set_len(keep).map_err(failed)?;
            bytes = keep;
        }
        Ok(Lines { file, path, bytes })
    }
}

/// Temporary files of writes that were cut short; they are never read, so failing to remove one is harmless.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Temporary folders are private; a result folder is what the umask makes of it.
#[cfg(unix)]
fn readable_by_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let like = fs::metadata(path.join("weights"))?.permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(like))
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// A file of JSON lines; each line is written at once.
#[derive(Debug)]
pub struct Lines {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Lines {
    /// Appends one value.
    ///
    /// # Errors
    /// `Internal` when the disk is full.
    pub fn push(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(value).map_err(|e| Error::internal(e.to_string()))?;
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| Error::internal(format!("{}: {e}", self.path.display())))?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Waits until the lines are on the disk and tells how long the file is.
    ///
    /// # Errors
    /// `Internal` when the disk refuses.
    pub fn settle(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(|e| Error::internal(format!("{}: {e}", self.path.display())))?;
        Ok(self.bytes)
    }
}
