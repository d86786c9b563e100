//! Parameters that a JSON object gives; the others keep their values.
use super::Params;
use care_types::{CategoryId, Error, ImageId, Result};
use serde::{Deserialize, Deserializer};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Given {
    #[serde(rename = "iouThrs", deserialize_with = "present")]
    iou_thrs: Option<Vec<f64>>,
    #[serde(rename = "recThrs", deserialize_with = "present")]
    rec_thrs: Option<Vec<f64>>,
    #[serde(rename = "maxDets", deserialize_with = "present")]
    max_dets: Option<Vec<usize>>,
    #[serde(rename = "areaRng", deserialize_with = "present")]
    area_rng: Option<Vec<[f64; 2]>>,
    #[serde(rename = "areaRngLbl", deserialize_with = "present")]
    area_rng_lbl: Option<Vec<String>>,
    #[serde(rename = "catIds")]
    cat_ids: Option<Vec<CategoryId>>,
    #[serde(rename = "imgIds")]
    img_ids: Option<Vec<ImageId>>,
    #[serde(rename = "useCats", deserialize_with = "flag")]
    use_cats: Option<bool>,
    #[serde(deserialize_with = "present")]
    kpt_oks_sigmas: Option<Vec<f64>>,
    #[serde(deserialize_with = "present")]
    dilation_ratio: Option<f64>,
}

impl Given {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Error::config("evaluation parameters: expected a JSON object"));
        }
        serde_json::from_slice(bytes).map_err(|e| {
            let text = e.to_string().replace("expected usize", "expected a whole number of 0 or more");
            Error::config(format!(
                "evaluation parameters: {}{}",
                text.replace("expected f64", "expected a number"),
                did_you_mean(&text)
            ))
        })
    }

    /// These, and the rest from `base`.
    pub(super) fn over(self, base: Params) -> Params {
        Params {
            iou_thrs: self.iou_thrs.unwrap_or(base.iou_thrs),
            rec_thrs: self.rec_thrs.unwrap_or(base.rec_thrs),
            max_dets: self.max_dets.unwrap_or(base.max_dets),
            area_rng: self.area_rng.unwrap_or(base.area_rng),
            area_rng_lbl: self.area_rng_lbl.unwrap_or(base.area_rng_lbl),
            cat_ids: self.cat_ids.or(base.cat_ids),
            img_ids: self.img_ids.or(base.img_ids),
            use_cats: self.use_cats.unwrap_or(base.use_cats),
            kpt_oks_sigmas: self.kpt_oks_sigmas.unwrap_or(base.kpt_oks_sigmas),
            dilation_ratio: self.dilation_ratio.unwrap_or(base.dilation_ratio),
            ..base
        }
    }
}

/// A value, which null is not.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// The parameter that an unknown field of serde's message is probably meant to be: letter case, an underscore, or an
/// `s` too few or too many are the usual slips.
fn did_you_mean(message: &str) -> String {
    const NAMES: [&str; 10] = [
        "iouThrs",
        "recThrs",
        "maxDets",
        "areaRng",
        "areaRngLbl",
        "catIds",
        "imgIds",
        "useCats",
        "kpt_oks_sigmas",
        "dilation_ratio",
    ];
    let bare = |name: &str| {
        let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
        letters.to_ascii_lowercase().trim_end_matches('s').to_string()
    };
    let other_words = [
        ("categoryid", "catIds"),
        ("imageid", "imgIds"),
        ("iouthreshold", "iouThrs"),
        ("maxdetection", "maxDets"),
    ];
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let near = unknown.map(bare).and_then(|u| {
        let same = NAMES.into_iter().find(|n| bare(n) == u);
        same.or_else(|| other_words.into_iter().find(|w| w.0 == u).map(|w| w.1))
    });
    near.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

fn flag<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(u8),
    }
    Ok(Some(match Flag::deserialize(d)? {
        Flag::Bool(v) => v,
        Flag::Number(v) => v != 0,
    }))
}
