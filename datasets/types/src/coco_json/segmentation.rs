//! The dialects of `segmentation`: a list of polygons, one flat polygon, run lengths as a list or as a string.
use crate::{Rle, Segmentation};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

/// `null` and `[]` are no mask.
pub(super) fn optional<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Segmentation>, D::Error> {
    Ok(match Option::<Segmentation>::deserialize(d)? {
        Some(Segmentation::Polygons(rings)) if rings.is_empty() => None,
        other => other,
    })
}

impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(SegmentationVisitor)
    }
}

impl Serialize for Segmentation {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Segmentation::Polygons(rings) => rings.serialize(s),
            Segmentation::Rle(rle) => rle.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Rle {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Segmentation::deserialize(d)? {
            Segmentation::Rle(rle) => Ok(rle),
            Segmentation::Polygons(_) => Err(D::Error::custom(
                "polygons where run lengths are needed: {\"size\": [h, w], \"counts\": …}",
            )),
        }
    }
}

impl Serialize for Rle {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(2))?;
        map.serialize_entry("size", &[self.height, self.width])?;
        map.serialize_entry("counts", &self.to_compressed_string())?;
        map.end()
    }
}

struct SegmentationVisitor;

impl<'de> Visitor<'de> for SegmentationVisitor {
    type Value = Segmentation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of polygons or {\"size\": [h, w], \"counts\": …}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Segmentation, A::Error> {
        let mut rings = Vec::new();
        let mut flat = Vec::new();
        while let Some(item) = seq.next_element()? {
            match item {
                Item::Ring(ring) => rings.push(ring),
                Item::Number(v) => flat.push(v),
            }
        }
        match (rings.is_empty(), flat.is_empty()) {
            (false, false) => {
                return Err(A::Error::custom("numbers and lists mixed in one list of polygons"));
            }
            (true, false) => rings.push(flat),
            _ => {}
        }
        if let Some((i, ring)) = rings.iter().enumerate().find(|(_, r)| r.len() % 2 == 1) {
            return Err(A::Error::custom(format_args!(
                "polygon {i} has {} coordinates, an odd number",
                ring.len()
            )));
        }
        Ok(Segmentation::Polygons(rings))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Segmentation, A::Error> {
        let (mut size, mut counts) = (None, None);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.as_ref() {
                "size" => size = Some(map.next_value::<[u32; 2]>()?),
                "counts" => counts = Some(map.next_value::<Counts>()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let [height, width] = size.ok_or_else(|| A::Error::custom("run lengths without `size`"))?;
        let rle = match counts.ok_or_else(|| A::Error::custom("run lengths without `counts`"))? {
            Counts::Text(text) => Rle::from_compressed_str(height, width, &text),
            Counts::List(list) => Rle::from_counts(height, width, &list),
        };
        rle.map(Segmentation::Rle).map_err(A::Error::custom)
    }
}

/// An element of a polygon list.
enum Item {
    Number(f64),
    Ring(Vec<f64>),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a polygon [x0, y0, x1, y1, …]")
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Item, E> {
                Ok(Item::Number(v))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Item, E> {
                Ok(Item::Number(v as f64))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Item, E> {
                Ok(Item::Number(v as f64))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Item, A::Error> {
                let mut ring = Vec::new();
                while let Some(v) = seq.next_element::<f64>()? {
                    ring.push(v);
                }
                Ok(Item::Ring(ring))
            }
        }
        d.deserialize_any(ItemVisitor)
    }
}

/// Run lengths, either way.
enum Counts {
    Text(String),
    List(Vec<u32>),
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct CountsVisitor;
        impl<'de> Visitor<'de> for CountsVisitor {
            type Value = Counts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("run lengths as a list or as a compressed string")
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Counts, E> {
                Ok(Counts::Text(v.to_string()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Counts, A::Error> {
                let mut list = Vec::new();
                while let Some(v) = seq.next_element()? {
                    list.push(v);
                }
                Ok(Counts::List(list))
            }
        }
        d.deserialize_any(CountsVisitor)
    }
}
