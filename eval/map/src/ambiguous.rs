//! Ids that mean two things.
use crate::{Error, Result};
use care_types::coco_json::Dataset;

/// Refuses pictures and categories whose id is another one's too; the same record twice is harmless.
///
/// # Errors
/// `Input` with both records.
pub(crate) fn refuse(gt: &Dataset) -> Result<()> {
    let images = gt.images.iter().map(|i| (i.id.0, (i.width, i.height, &i.file_name)));
    let categories = gt.categories.iter().map(|c| (c.id.0, &c.name));
    refuse_in("images", images)?;
    refuse_in("categories", categories)
}

fn refuse_in<T: PartialEq>(list: &str, records: impl Iterator<Item = (i64, T)>) -> Result<()> {
    let mut records: Vec<(usize, (i64, T))> = records.enumerate().collect();
    records.sort_by_key(|&(_, (id, _))| id);
    for pair in records.windows(2) {
        let [(first, (id, meant)), (second, (again, other))] = pair else { continue };
        if id == again && meant != other {
            return Err(Error::input(format!(
                "{list}[{second}].id: {id} is the id of {list}[{first}], which is another one: make ids unique"
            )));
        }
    }
    Ok(())
}
