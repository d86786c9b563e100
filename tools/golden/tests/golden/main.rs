//! One named test per case of the golden set: `cargo test --release --workspace golden`.
//!
//! Runners are found by the case's name or kind. A kind without a runner fails, so that a new kind cannot be overlooked.

use care_golden::{Case, Manifest, golden_root};

mod care;
mod checkpoint;
mod coco;
mod det;
mod image;
mod nms;
mod op;
mod seg;
mod train;

use libtest_mimic::{Arguments, Failed, Trial};

/// Runs one case; the error names the worst tensor.
type Runner = fn(&Case) -> Result<(), String>;

fn runners() -> Vec<(&'static str, Runner)> {
    [
        care::RUNNERS,
        checkpoint::RUNNERS,
        coco::RUNNERS,
        det::RUNNERS,
        image::RUNNERS,
        nms::RUNNERS,
        op::RUNNERS,
        seg::RUNNERS,
        train::RUNNERS,
    ]
    .concat()
}

fn main() {
    let args = Arguments::from_args();
    let Some(root) = golden_root() else {
        let why = "SKIPPED: the golden set is not here (set CARE_GOLDEN or put it into shared/golden beside the workspace)";
        eprintln!("{why}");
        let trial = Trial::test("golden::set_is_absent", || Ok(())).with_ignored_flag(true);
        libtest_mimic::run(&args, vec![trial]).exit();
    };
    let manifest = Manifest::read(&root).unwrap_or_else(|e| panic!("{e}"));
    let runners = runners();
    let mut trials = vec![Trial::test("golden::kinds_are_listed_once", {
        let kinds: Vec<&str> = runners.iter().map(|r| r.0).collect();
        move || listed_once(&kinds)
    })];
    for case in manifest.cases {
        let name = format!("golden::{}::{}", case.kind, case.name);
        // A runner for the case itself goes before one for its kind (`facts` are of several crates).
        let of = |name: &str| runners.iter().filter(|r| r.0 == name).map(|r| r.1).collect::<Vec<Runner>>();
        let found = Some(of(&case.name)).filter(|r| !r.is_empty()).unwrap_or_else(|| of(&case.kind));
        trials.push(match found.as_slice() {
            [] => Trial::test(name, move || Err(Failed::from(format!("no runner for kind `{}`", case.kind)))),
            _ => Trial::test(name, move || found.iter().try_for_each(|run| run(&case)).map_err(Failed::from)),
        });
    }
    libtest_mimic::run(&args, trials).exit();
}

fn listed_once(kinds: &[&str]) -> Result<(), Failed> {
    let mut sorted = kinds.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(Failed::from(format!("kind `{}` is listed twice", w[0]))),
        None => Ok(()),
    }
}
