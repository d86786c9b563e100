//! Sealed files: what is written comes back, and what cannot be is refused.
use care_types::ErrorKind;
use care_types::state::{StateKind, StateReader, StateWriter, read_state, write_state};
use proptest::prelude::*;

const KIND: StateKind = StateKind::Segmentations;
/// Name of the kind, version, length of the body.
const HEAD: usize = 20;

/// A file whose body is these bytes.
fn file(body: &[u8]) -> Vec<u8> {
    let mut file = StateWriter::new(KIND).seal()[..12].to_vec();
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file.extend(crc32fast::hash(&file).to_le_bytes());
    file
}

fn number(body: &[u8]) -> care_types::Result<u64> {
    StateReader::open(KIND, &file(body)).unwrap().number("n")
}

proptest! {
    #[test]
    fn what_is_written_comes_back(
        numbers in prop::collection::vec((any::<u64>(), 0..64u32), 0..20),
        texts in prop::collection::vec(".{0,9}", 0..5),
        flags in prop::collection::vec(any::<bool>(), 0..5),
    ) {
        let mut writer = StateWriter::new(KIND);
        writer.list(numbers.iter(), |to, &(value, shift)| {
            to.number(value >> shift);
            to.signed((value as i64) >> shift);
            to.float(f64::from_bits(value));
        });
        writer.list(texts.iter(), |to, text| to.text(text));
        flags.iter().for_each(|flag| writer.number((*flag).into()));
        let mut sent = Vec::new();
        write_state(&writer.seal(), &mut sent).unwrap();
        prop_assert_eq!(StateKind::of(&sent), Some(KIND));
        let file = read_state(KIND, &sent[..]).unwrap();
        prop_assert_eq!(&file, &sent);
        let mut reader = StateReader::open(KIND, &file).unwrap();
        let read = reader.list("numbers", |from, name| {
            Ok((from.number(name)?, from.signed(name)?, from.float(name)?.to_bits()))
        });
        let expected: Vec<_> =
            numbers.iter().map(|&(value, shift)| (value >> shift, (value as i64) >> shift, value)).collect();
        prop_assert_eq!(read.unwrap(), expected);
        prop_assert_eq!(reader.list("texts", StateReader::text).unwrap(), texts);
        for flag in &flags {
            prop_assert!(!reader.is_finished() && reader.end().is_err());
            prop_assert_eq!(reader.flag("flag").unwrap(), *flag);
        }
        prop_assert!(reader.is_finished() && reader.end().is_ok());
    }

    #[test]
    fn damage_is_always_noticed(body in prop::collection::vec(any::<u8>(), 0..50), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let whole = file(&body);
        prop_assert!(StateReader::open(KIND, &whole).is_ok());
        let mut damaged = whole.clone();
        damaged[at.index(whole.len())] ^= flip;
        prop_assert!(StateReader::open(KIND, &damaged).is_err());
        prop_assert!(StateReader::open(KIND, &whole[..at.index(whole.len())]).is_err());
        prop_assert!(StateReader::open(KIND, &[&whole[..], b"x"].concat()).is_err());
    }
}

#[test]
fn numbers_have_64_bits_at_most() {
    let most = [&[0xff; 9][..], &[0x01]].concat();
    assert_eq!(number(&most).unwrap(), u64::MAX);
    for body in [[&[0xff; 9][..], &[0x02]].concat(), vec![0x80; 11], vec![0xff; 9], vec![]] {
        assert_eq!(number(&body).unwrap_err().kind(), ErrorKind::Input, "{body:?}");
    }
}

#[test]
fn another_kind_is_named() {
    let other = StateWriter::new(StateKind::Detections).seal();
    let e = read_state(KIND, &other[..]).unwrap_err().to_string();
    assert!(e.contains("of detections, expected one of segmentations"), "{e}");
    assert_eq!(StateKind::of(&other[..7]), None);
    let e = StateReader::open(KIND, b"{\"images\":").err().unwrap().to_string();
    assert!(e.contains("starts with `{\\\"images`"), "{e}");
    assert!(StateReader::open(KIND, &other[..HEAD]).is_err());
}
