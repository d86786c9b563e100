//! Damaged and hostile weights files: no panic, no hang, and memory within a multiple of the file.
//!
//! One test, because it measures the allocations of the whole process.

mod pth;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use care_nn::{Checkpoint, Select};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use pth::{Pickle, floats, unzip, zip_file, zip_members};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's obligations are `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's obligations are `System`'s, and `ptr` came from it.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The worst pickle is one opcode per value: some 40 bytes of arena and stack for one byte of the file, twice while a
/// vector grows. Eight times the file is what tensors may take.
const BYTES_PER_BYTE: usize = 150;
const BYTES_FIXED: usize = 16 << 20;
/// Real files of this size take milliseconds; a busy machine is allowed for.
const TIME: Duration = Duration::from_secs(60);

/// Reads in every way; the result does not matter.
fn read_within_bounds(bytes: &[u8]) {
    let ways = [Select::Auto, Select::Ema, Select::All, Select::Key("state_dict".into())];
    for select in ways {
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let start = Instant::now();
        let result = Checkpoint::from_bytes(bytes, "fuzz", &select);
        let peak = PEAK.load(Relaxed) - before;
        let limit = BYTES_FIXED + BYTES_PER_BYTE * bytes.len();
        assert!(peak <= limit, "{peak} bytes for a file of {}, at most {limit}: {select:?}", bytes.len());
        assert!(start.elapsed() < TIME, "{:?} for a file of {}: {select:?}", start.elapsed(), bytes.len());
        if let Err(e) = result {
            assert!(e.to_string().len() < 20_000, "a message of {} bytes", e.to_string().len());
        }
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Delete(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(i, b)| Damage::Set(i, b)),
        4 => (at(), 0u8..8).prop_map(|(i, b)| Damage::Flip(i, b)),
        1 => at().prop_map(Damage::Cut),
        2 => (at(), 1usize..40).prop_map(|(i, n)| Damage::Delete(i, n)),
        2 => (at(), 1usize..40, 1usize..200).prop_map(|(i, n, k)| Damage::Repeat(i, n, k)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(i, v)| Damage::Insert(i, v)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match damage {
        Damage::Set(i, b) => bytes[i.index(len)] = *b,
        Damage::Flip(i, bit) => bytes[i.index(len)] ^= 1 << bit,
        Damage::Cut(i) => bytes.truncate(i.index(len)),
        Damage::Delete(i, n) => drop(bytes.drain(i.index(len)..(i.index(len) + n).min(len))),
        Damage::Repeat(i, n, k) => {
            let (start, end) = (i.index(len), (i.index(len) + n).min(len));
            let piece = bytes[start..end].repeat(*k);
            bytes.splice(end..end, piece);
        }
        Damage::Insert(i, v) => drop(bytes.splice(i.index(len)..i.index(len), v.iter().copied())),
    }
}

/// Damages the file as it is, and the pickle of a zip file inside an intact archive (whose CRC would catch it).
fn fuzz(seed: &[u8], cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let members = seed.starts_with(b"PK").then(|| unzip(seed));
    let damages = prop::collection::vec(damage(), 1..6);
    let run = |damages: Vec<Damage>| {
        let mut bytes = seed.to_vec();
        damages.iter().for_each(|d| apply(&mut bytes, d));
        read_within_bounds(&bytes);
        if let Some(members) = &members {
            let mut members = members.clone();
            let pickle = members.iter_mut().find(|(name, _)| name.ends_with("data.pkl")).unwrap();
            damages.iter().for_each(|d| apply(&mut pickle.1, d));
            read_within_bounds(&zip_members(&members));
        }
        Ok(())
    };
    runner.run(&damages, run).unwrap();
}

/// Pickles that make much of little: each is a file of one or two megabytes.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    const MANY: usize = 300_000;
    let tensor = |p: Pickle, shape: &[i32], strides: &[i32]| p.tensor("0", 1, 0, shape, strides, false);
    let state_dict = || Pickle::new(2).raw(b"}").text("state_dict").raw(b"}(");
    let mut all = Vec::new();
    let mut add = |name, pickle: Pickle| {
        all.push((name, zip_file(&pickle.raw(b".").0, &[("0", floats(&[1.0]))])));
    };
    // lists of two references to the list before: 2^30 paths
    let laughs = (0..30u8).fold(Pickle::new(2).raw(b"]q\x00"), |p, i| {
        p.raw(&[b']', b'(', b'h', i, b'h', i, b'e', b'q', i + 1])
    });
    add("billion laughs", Pickle::new(2).raw(b"}").text("a").raw(&laughs.0[2..]).raw(b"s"));
    add("nested lists", Pickle::new(2).raw(&b"]".repeat(MANY)).raw(&b"a".repeat(MANY - 1)));
    add("nested tuples", Pickle::new(2).raw(b"N").raw(&b"\x85".repeat(MANY)));
    add("many values", Pickle::new(2).raw(&b"]".repeat(4 * MANY)));
    add("a cycle", Pickle::new(2).raw(b"}q\x00").text("model").raw(b"h\x00s"));
    // one long text as the key of many storages and names
    let long = "k".repeat(100_000);
    let keys = (0..MANY).fold(state_dict().text(&long).raw(b"q\x01Ns"), |p, _| p.raw(b"h\x01Ns"));
    add("a long key", keys.raw(b"us"));
    let classes =
        (0..MANY / 10).fold(Pickle::new(4).text(&long).raw(b"\x94"), |p, _| p.raw(b"h\x00h\x00\x93"));
    add("a long class name", classes);
    // one tuple of many numbers as the arguments or the shape of many calls
    let arguments = (0..MANY).fold(Pickle::new(2).raw(b"("), |p, _| p.raw(b"K\x01")).raw(b"tq\x00");
    let calls = (0..MANY / 3)
        .fold(arguments.clone().global("os", "system").raw(b"q\x01"), |p, _| p.raw(b"h\x01h\x00R0"));
    add("many calls with many arguments", calls);
    let pairs =
        (0..MANY / 10).fold(Pickle::new(2).raw(b"]("), |p, _| p.raw(b"NN\x86")).raw(b"eq\x00\x85q\x01");
    let dicts = (0..MANY / 3)
        .fold(pairs.global("collections", "OrderedDict").raw(b"q\x02"), |p, _| p.raw(b"h\x02h\x01R0"));
    add("many ordered dicts of many pairs", dicts);
    // many expanded tensors of one number
    let expanded = (0..20_000).fold(state_dict(), |p, i| tensor(p.text(&i.to_string()), &[1 << 20], &[0]));
    add("expanded tensors", expanded.raw(b"us"));
    let empty = (0..20_000)
        .fold(state_dict(), |p, i| tensor(p.text(&i.to_string()), &[0, i32::MAX, i32::MAX], &[0, 0, 0]));
    add("empty tensors", empty.raw(b"us"));
    add("many dimensions", tensor(state_dict().text("w"), &vec![1; 100_000], &vec![1; 100_000]).raw(b"us"));
    // metadata of one long list, referred to by many keys
    let list =
        (0..4096).fold(Pickle::new(2).raw(b"}(").text("l").raw(b"]("), |p, _| p.raw(b"K\x01")).raw(b"eq\x00");
    let metadata = (0..MANY / 3).fold(list, |p, _| p.raw(b"U\x01ah\x00"));
    let metadata = tensor(metadata.text("w"), &[1], &[1]).raw(b"u");
    add("metadata", metadata);
    // many views of one large storage, read again and again in turn with another
    let views = (0..20_000).fold(state_dict(), |p, i| {
        p.text(&i.to_string()).tensor(if i % 2 == 0 { "a" } else { "b" }, 1 << 18, 0, &[2], &[2], false)
    });
    let storage = vec![0u8; 1 << 20];
    let views = views.raw(b"us").stop();
    all.push(("strided views", zip_file(&views, &[("a", storage.clone()), ("b", storage)])));
    all
}

#[test]
fn hostile_files_cost_no_more_than_a_multiple_of_their_size() {
    for (name, file) in bombs() {
        eprintln!("{name}: {} bytes", file.len());
        read_within_bounds(&file);
    }
    let example = Checkpoint::from_bytes(&pth::example_zip(), "example", &Select::Auto).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    example.write_safetensors(&path).unwrap();
    for seed in [pth::example_zip(), pth::example_legacy(), std::fs::read(&path).unwrap()] {
        fuzz(&seed, 1500);
    }
    let golden = std::env::var_os("CARE_GOLDEN").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden"),
        std::path::PathBuf::from,
    );
    for name in ["zoo.pth", "zoo_legacy.pth", "proto4.pth", "mmcv1_half.pth", "odd_reduce.pth"] {
        match std::fs::read(golden.join("pth").join(name)) {
            Ok(seed) => fuzz(&seed, 400),
            Err(_) => eprintln!("SKIPPED: {name} of the golden set is not here (CARE_GOLDEN)"),
        }
    }
}
