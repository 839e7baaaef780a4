//! Answers as the engine wrote them, for clients that show them as they are.

use bytes::Bytes;

use crate::{Client, ClientError};

impl Client {
    /// `GET` of a path with its query, which the caller has escaped; the body as it came.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with Docker's status and words, or the exchange failed.
    pub async fn get_raw(&self, path: &str) -> Result<Bytes, ClientError> {
        let (_status, body) = self.get(path).bytes().await?;
        Ok(body)
    }
}
