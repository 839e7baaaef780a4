//! `docker image prune`: images that nobody names or uses.
//!
//! Which images go, and in which words, follows Docker's `image_prune.go`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;

use crate::collect::Collect;
use crate::error::{ErrorKind, StoreError};
use crate::image::{Image, ImageId, ImageUse, Removed, Timestamp, chain_ids};
use crate::store::Store;

/// Which images may go.
#[derive(Clone, Debug)]
pub struct PruneFilter {
    /// Only images without a tag; else all that no container uses.
    pub dangling: bool,
    /// Only images that were made until then.
    pub until: Option<Timestamp>,
    /// Only images whose labels agree with all of these.
    pub labels: Vec<LabelFilter>,
}

/// What an image's labels must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// Whether images that have the label stay (`label!=`), else those without it.
    pub negated: bool,
    /// The label's name.
    pub key: String,
    /// Its value; `None` is any.
    pub value: Option<String>,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names and images, in the order in which they went.
    pub removed: Vec<Removed>,
    /// Bytes given back: of layers as Docker counts them, of partial downloads as they are.
    pub bytes: u64,
}

impl Store {
    /// Removes images that nobody names or uses, and partial downloads: those left behind long
    /// ago, and with `dangling` unset all that no pull is at.
    ///
    /// `in_use` names the containers of an image; it is asked under the store's lock.
    ///
    /// # Errors
    /// When the database or a configuration cannot be read. Images that cannot be removed stay.
    pub fn prune_images(
        &self,
        filter: &PruneFilter,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Pruned, StoreError> {
        let sizes = self.chain_sizes()?;
        let mut pruned = Pruned::default();
        // Further platforms of a name stay and go with it.
        let parts = self.images().parts()?;
        for image in self.images().list()? {
            if parts.contains(&image.id) || !self.may_go(filter, &image)? {
                continue;
            }
            for name in names_to_remove(filter, &image) {
                let changes = self.lock_changes();
                let removed = self.remove_rows(&changes, &name, false, true, in_use);
                drop(changes);
                match removed {
                    Ok(removed) => pruned.removed.extend(removed),
                    // It is in use, or went meanwhile.
                    Err(error)
                        if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                    Err(error) => {
                        tracing::warn!(image = %image.id, %error, "cannot remove an image");
                    }
                }
            }
        }
        for removed in &pruned.removed {
            let Removed::DeletedLayer(chain) = removed else { continue };
            pruned.bytes += sizes.get(chain).copied().unwrap_or(0);
        }
        // Once for all of them; the bytes of their layers are counted already.
        if !pruned.removed.is_empty() {
            self.remove_unused_layers(&self.lock_changes())?;
        }
        let everything = !filter.dangling;
        let how = Collect { drop_idle_leases: everything, all_partials: everything };
        pruned.bytes += self.collect_garbage(how)?.bytes;
        Ok(pruned)
    }

    fn may_go(&self, filter: &PruneFilter, image: &Image) -> Result<bool, StoreError> {
        let nameless = image.repo_tags.is_empty() && image.repo_digests.is_empty();
        let has_children = self.database().has_children(&image.id)?;
        if has_children && (nameless || filter.dangling) {
            return Ok(false);
        }
        if let Some(until) = filter.until {
            let created = image.config.created.as_deref().and_then(parse_time);
            // Compat: an image of no known time stays.
            if created.is_none_or(|created| created > until) {
                return Ok(false);
            }
        }
        let labels = image.config.config.labels.as_ref();
        Ok(filter.labels.iter().all(|wanted| {
            let value = labels.and_then(|labels| labels.get(&wanted.key));
            let agrees = value
                .is_some_and(|value| wanted.value.as_ref().is_none_or(|wanted| wanted == value));
            agrees != wanted.negated
        }))
    }

    /// The size of each of Docker's layers, by chain id.
    fn chain_sizes(&self) -> Result<HashMap<Digest, u64>, StoreError> {
        let mut sizes = HashMap::new();
        for (_, layers) in self.database().layers_of_images()? {
            let (diff_ids, bytes): (Vec<Digest>, Vec<u64>) = layers.into_iter().unzip();
            sizes.extend(chain_ids(&diff_ids).into_iter().zip(bytes));
        }
        Ok(sizes)
    }
}

/// What to ask the removal for: each name, or the id of an image that has none.
fn names_to_remove(filter: &PruneFilter, image: &Image) -> Vec<String> {
    let names: Vec<&Reference> = image.repo_tags.iter().chain(&image.repo_digests).collect();
    if names.is_empty() {
        return vec![image.id.to_string()];
    }
    if filter.dangling && !image.repo_tags.is_empty() {
        return Vec::new();
    }
    // With the last tag of a repository its digests go too; asking again finds nothing.
    names.into_iter().map(Reference::familiar).collect()
}

/// RFC 3339, as configurations have it.
fn parse_time(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    if separators.iter().any(|&(at, mark)| text.get(at..at + 1) != Some(mark))
        || !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' '))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let digits = rest
        .strip_prefix('.')
        .map_or(0, |fraction| fraction.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, zone) = match digits {
        0 => ("", rest),
        digits => rest[1..].split_at(digits),
    };
    let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let seconds = number(at..at + 2)? * 3600 + number(at + 3..at + 5)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days since 1970 by the civil calendar, counted from March so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { seconds, nanoseconds })
}
