//! Writes small PyTorch files opcode by opcode, so that tests need no Python.
#![allow(dead_code)] // each test binary uses a part

use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;

/// A pickle under construction.
#[derive(Clone, Default)]
pub(crate) struct Pickle(pub(crate) Vec<u8>);

impl Pickle {
    pub(crate) fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.raw(b"J").raw(&value.to_le_bytes())
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub(crate) fn ints(self, values: &[i32]) -> Self {
        let open = self.raw(b"(");
        values.iter().fold(open, |p, &v| p.int(v)).raw(b"t")
    }

    /// A storage by its persistent id; `legacy` has a sixth part.
    pub(crate) fn storage(self, class: &str, key: &str, count: i32, legacy: bool) -> Self {
        let (module, name) = class.rsplit_once('.').unwrap();
        let open = self.raw(b"(").text("storage").global(module, name).text(key).text("cpu").int(count);
        if legacy { open.raw(b"NtQ") } else { open.raw(b"tQ") }
    }

    /// `_rebuild_tensor_v2` of a float storage.
    pub(crate) fn tensor(
        self,
        key: &str,
        count: i32,
        offset: i32,
        shape: &[i32],
        strides: &[i32],
        legacy: bool,
    ) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"(")
            .storage("torch.FloatStorage", key, count, legacy)
            .int(offset)
            .ints(shape)
            .ints(strides)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    pub(crate) fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A zip-format file of the pickle and its storages.
pub(crate) fn zip_file(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut members = vec![("archive/data.pkl".to_string(), pickle.to_vec())];
    members.extend(storages.iter().map(|(key, bytes)| (format!("archive/data/{key}"), bytes.clone())));
    zip_members(&members)
}

pub(crate) fn zip_members(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in members {
        zip.start_file(name.as_str(), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The members of a zip file.
pub(crate) fn unzip(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut entry = zip.by_index(i).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.name().unwrap().into_owned(), content)
        })
        .collect()
}

/// A legacy file of the pickle and its float storages.
pub(crate) fn legacy_file(pickle: &[u8], storages: &[(&str, Vec<f32>)]) -> Vec<u8> {
    let magic = [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
    let mut file = magic.to_vec();
    file.extend(Pickle::new(2).int(1001).stop());
    file.extend(Pickle::new(2).raw(b"}").text("little_endian").raw(b"\x88s").stop());
    file.extend_from_slice(pickle);
    let keys = storages.iter().fold(Pickle::new(2).raw(b"]("), |p, (key, _)| p.text(key));
    file.extend(keys.raw(b"e").stop());
    for (_, values) in storages {
        file.extend((values.len() as i64).to_le_bytes());
        file.extend(floats(values));
    }
    file
}

/// A nested state dict: `w` (transposed, of a shared storage), `b`, and things that are not tensors.
pub(crate) fn example_pickle(legacy: bool) -> Vec<u8> {
    Pickle::new(2)
        .raw(b"}(")
        .text("epoch")
        .int(3)
        .text("args")
        .global("argparse", "Namespace")
        .raw(b")\x81}")
        .text("lr")
        .raw(b"G\x3f\xe0\x00\x00\x00\x00\x00\x00sb")
        .text("state_dict")
        .global("collections", "OrderedDict")
        .raw(b")R(")
        .text("module.w")
        .tensor("0", 6, 0, &[3, 2], &[1, 3], legacy)
        .text("module.b")
        .tensor("0", 6, 4, &[2], &[1], legacy)
        .text("module.expanded")
        .tensor("1", 1, 0, &[4], &[0], legacy)
        .raw(b"uu")
        .stop()
}

pub(crate) fn example_zip() -> Vec<u8> {
    zip_file(&example_pickle(false), &[("0", floats(&[0., 1., 2., 3., 4., 5.])), ("1", floats(&[9.]))])
}

pub(crate) fn example_legacy() -> Vec<u8> {
    legacy_file(&example_pickle(true), &[("0", vec![0., 1., 2., 3., 4., 5.]), ("1", vec![9.])])
}
