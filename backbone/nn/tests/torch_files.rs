//! PyTorch files of every dialect, built opcode by opcode.

mod pth;

use care_nn::checkpoint::Dtype;
use care_nn::{Checkpoint, ErrorKind, Select};
use pth::{Pickle, floats, legacy_file, zip_file, zip_members};

fn read(bytes: &[u8], select: Select) -> Checkpoint {
    Checkpoint::from_bytes(bytes, "test.pth", &select).unwrap()
}

/// The error must be about weights and name the file.
fn refused(bytes: &[u8], select: Select) -> String {
    let e = Checkpoint::from_bytes(bytes, "test.pth", &select).expect_err("must be refused");
    assert_eq!(e.kind(), ErrorKind::Weights, "{e}");
    assert!(e.to_string().contains("weights file `test.pth`"), "{e}");
    e.to_string()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.get(name).unwrap_or_else(|| panic!("{name} in {:?}", checkpoint.tensors)).to_f32().unwrap()
}

#[test]
fn zip_and_legacy_files_give_the_same_tensors() {
    for file in [pth::example_zip(), pth::example_legacy()] {
        let c = read(&file, Select::Auto);
        assert_eq!(values(&c, "w"), [0., 3., 1., 4., 2., 5.], "transposed");
        assert_eq!(values(&c, "b"), [4., 5.], "a view with an offset");
        assert_eq!(values(&c, "expanded"), [9.; 4], "stride 0");
        assert_eq!(c.metadata["epoch"], "3");
        assert_eq!(c.metadata["args/lr"], "0.5");
        assert_eq!(c.top_level_keys, ["epoch", "args", "state_dict"]);
        let all = read(&file, Select::All);
        assert_eq!(all.tensors[0].name, "state_dict/module.w");
        assert_eq!(values(&read(&file, Select::Key("state_dict".into())), "b"), [4., 5.]);
        let e = refused(&file, Select::Key("state_dicts".into()));
        assert!(e.contains("did you mean `state_dict`") && e.contains("epoch, args, state_dict"), "{e}");
        assert!(refused(&file, Select::Ema).contains("no averaged weights"));
    }
}

#[test]
fn every_rebuild_function_of_pytorch_is_known() {
    let storage = |p: Pickle| p.storage("torch.FloatStorage", "0", 2, false);
    let v1 = |p: Pickle| {
        storage(p.global("torch._utils", "_rebuild_tensor").raw(b"(")).int(1).ints(&[1]).ints(&[1]).raw(b"tR")
    };
    let parameter =
        v1(Pickle::default().global("torch._utils", "_rebuild_parameter").raw(b"(")).raw(b"\x88NtR").0;
    let v3 = |dtype: &str| {
        Pickle::default()
            .global("torch._utils", "_rebuild_tensor_v3")
            .raw(b"(")
            .storage("torch.storage.UntypedStorage", "0", 8, false)
            .int(0)
            .ints(&[2])
            .ints(&[1])
            .raw(b"\x89N")
            .global("torch", dtype)
            .raw(b"tR")
            .0
    };
    let subclass = Pickle::default()
        .global("torch._tensor", "_rebuild_from_type_v2")
        .raw(b"(")
        .global("torch._utils", "_rebuild_tensor_v2")
        .global("torch", "Tensor")
        .raw(b"(");
    let subclass = storage(subclass).int(0).ints(&[2]).ints(&[1]).raw(b"\x89Nt}tR").0;
    let mut p = Pickle::new(2).raw(b"}(");
    let (f32s, u32s) = (v3("float32"), v3("uint32"));
    for (name, value) in [("p", &parameter), ("f", &f32s), ("u", &u32s), ("s", &subclass)] {
        p = p.text(name).raw(value);
    }
    let file = zip_file(&p.raw(b"u").stop(), &[("0", floats(&[1.5, -2.5]))]);
    let c = read(&file, Select::Auto);
    assert_eq!(values(&c, "p"), [-2.5]);
    assert_eq!(values(&c, "f"), [1.5, -2.5]);
    assert_eq!(values(&c, "s"), [1.5, -2.5]);
    assert_eq!(c.get("u").unwrap().dtype, Dtype::U32);
    assert_eq!(c.get("u").unwrap().to_i64().unwrap(), [0x3fc0_0000, 0xc020_0000]);
}

#[test]
fn a_bare_state_dict_beside_foreign_entries_is_found() {
    let p = Pickle::new(2).raw(b"}(").text("w").tensor("0", 1, 0, &[1], &[1], false);
    let p = p.text("extra").global("os", "system").text("rm").raw(b"\x85Ru").stop();
    let c = read(&zip_file(&p, &[("0", floats(&[7.]))]), Select::Auto);
    assert_eq!((values(&c, "w"), c.skipped.as_slice()), (vec![7.], &["extra".to_string()][..]));
    assert!(c.selected.is_none());
}

#[test]
fn weights_two_levels_down_and_only_averaged_ones_are_found() {
    let tensor = |p: Pickle| p.raw(b"}").text("w").tensor("0", 1, 0, &[], &[], false).raw(b"s");
    let nested =
        tensor(Pickle::new(2).raw(b"}").text("model").raw(b"}").text("state_dict")).raw(b"ss").stop();
    let c = read(&zip_file(&nested, &[("0", floats(&[7.]))]), Select::Auto);
    assert_eq!((values(&c, "w"), c.selected.as_deref()), (vec![7.], Some("model/state_dict")));
    let averaged = tensor(Pickle::new(2).raw(b"}").text("state_dict_ema")).raw(b"s").stop();
    let file = zip_file(&averaged, &[("0", floats(&[7.]))]);
    assert_eq!(values(&read(&file, Select::Ema), "w"), [7.]);
    assert_eq!(read(&file, Select::Auto).selected.as_deref(), Some("state_dict_ema"));
}

#[test]
fn what_is_no_checkpoint_is_named() {
    let tar = [vec![b'x'; 257], b"ustar\0".to_vec(), vec![0; 300]].concat();
    let cases: [(&[u8], &str); 8] = [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (&tar, "tar archive"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x80\x04N.", "plain pickle"),
        (b"PK\x03\x04 and no more", "zip archive"),
        (&[7; 100], "no known format"),
    ];
    for (bytes, words) in cases {
        let e = refused(bytes, Select::Auto);
        assert!(e.contains(words), "{words}: {e}");
    }
    let missing = Checkpoint::read("no/such/file.pth", &Select::Auto).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Config);
    assert!(missing.to_string().contains("no/such/file.pth"));
}

#[test]
fn damaged_files_are_refused() {
    for file in [pth::example_zip(), pth::example_legacy()] {
        for cut in 1..file.len() {
            refused(&file[..cut], Select::Auto);
        }
    }
    // no storage, a storage that is too short, strides that reach beyond it, an unreadable type
    let one = |p: Pickle| Pickle::new(2).raw(b"}").text("w").raw(&p.0).raw(b"s").stop();
    let whole = one(Pickle::default().tensor("0", 2, 0, &[2], &[1], false));
    assert!(refused(&zip_file(&whole, &[]), Select::Auto).contains("data/0"));
    assert!(refused(&zip_file(&whole, &[("0", floats(&[1.]))]), Select::Auto).contains("w: needs 8 bytes"));
    let far = one(Pickle::default().tensor("0", 2, 0, &[2, 2], &[1, i32::MAX], false));
    refused(&zip_file(&far, &[("0", floats(&[1., 2.]))]), Select::Auto);
    let huge = one(Pickle::default().tensor("0", 1, 0, &[i32::MAX, i32::MAX], &[0, 0], false));
    assert!(refused(&zip_file(&huge, &[("0", floats(&[1.]))]), Select::Auto).contains("eight times"));
    let negative = one(Pickle::default().tensor("0", 1, 0, &[-1], &[1], false));
    refused(&zip_file(&negative, &[("0", floats(&[1.]))]), Select::Auto);
    let complex = Pickle::default().global("torch._utils", "_rebuild_tensor_v2").raw(b"(");
    let complex = complex.storage("torch.ComplexFloatStorage", "0", 1, false).int(0).ints(&[1]).ints(&[1]);
    let complex = one(complex.raw(b"\x89NtR"));
    assert!(refused(&zip_file(&complex, &[("0", vec![0; 8])]), Select::Auto).contains("ComplexFloatStorage"));
}

#[test]
fn things_that_are_no_state_dict_are_described() {
    let module = Pickle::new(2).global("models.care", "CARE").raw(b")\x81}b").stop();
    let e = refused(&zip_file(&module, &[]), Select::Auto);
    assert!(e.contains("models.care.CARE") && e.contains("state_dict()"), "{e}");
    let empty = Pickle::new(2).raw(b"}").text("epoch").int(1).raw(b"s").stop();
    assert!(refused(&zip_file(&empty, &[]), Select::Auto).contains("its keys are: epoch"));
    let other = zip_members(&[("readme.txt".to_string(), b"hello".to_vec())]);
    assert!(refused(&other, Select::Auto).contains("without data.pkl"));
    let big_endian = zip_members(&[
        ("a/data.pkl".to_string(), Pickle::new(2).raw(b"}").stop()),
        ("a/byteorder".to_string(), b"big".to_vec()),
    ]);
    assert!(refused(&big_endian, Select::Auto).contains("big-endian"));
}

#[test]
fn the_last_of_equal_names_wins_as_in_python() {
    let p = Pickle::new(2).raw(b"}(").text("w").tensor("0", 1, 0, &[1], &[1], true);
    let p = p.text("w").tensor("1", 1, 0, &[1], &[1], true).raw(b"u").stop();
    let file = legacy_file(&p, &[("0", vec![1.]), ("1", vec![2.])]);
    let c = read(&file, Select::Auto);
    assert_eq!((c.tensors.len(), values(&c, "w")), (1, vec![2.]));
}
