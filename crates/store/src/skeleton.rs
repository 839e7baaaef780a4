//! Bodies still being written; this file goes away with them.
use crate::error::StoreError;
use crate::image::{Image, ImageId, ImageUse, Removed};
use crate::records::Record;
use crate::store::Store;
use ferry_oci::reference::Reference;

fn pending<T>() -> Result<T, StoreError> {
    Err(StoreError::Invalid("being written".to_owned()))
}
impl Store {
    pub(crate) fn database(&self) -> &Self {
        self
    }
    pub(crate) fn put_record(&self, _: &str, _: &str, _: u32, _: &[u8]) -> Result<(), StoreError> {
        pending()
    }
    pub(crate) fn delete_record(&self, _: &str, _: &str) -> Result<(), StoreError> {
        pending()
    }
    pub(crate) fn get_record(&self, _: &str, _: &str) -> Result<Option<Record>, StoreError> {
        pending()
    }
    pub(crate) fn list_records(&self, _: &str) -> Result<Vec<Record>, StoreError> {
        pending()
    }
    pub(crate) fn list_images(&self) -> Result<Vec<Image>, StoreError> {
        pending()
    }
    pub(crate) fn get_image(&self, r: &str) -> Result<Image, StoreError> {
        Err(StoreError::NoSuchImage(r.to_owned()))
    }
    pub(crate) fn resolve_image(&self, r: &str) -> Result<ImageId, StoreError> {
        Err(StoreError::NoSuchImage(r.to_owned()))
    }
    pub(crate) fn tag_image(&self, _: &str, _: &Reference) -> Result<ImageId, StoreError> {
        pending()
    }
    pub(crate) fn remove_image(
        &self,
        _: &str,
        _: bool,
        _: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Vec<Removed>, StoreError> {
        pending()
    }
}
