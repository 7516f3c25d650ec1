//! Cursors of lists: the key of the last item, opaque to clients. Never an offset, so that inserts move nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::StoreError;
use super::records::Page;

/// The id behind a cursor of a list by id.
///
/// # Errors
/// [`StoreError::Cursor`].
pub fn after_id(cursor: Option<&str>) -> Result<Option<i64>, StoreError> {
    cursor.map(decode::<i64>).transpose()
}

/// The type and id behind a cursor of a list of policies.
///
/// # Errors
/// [`StoreError::Cursor`].
pub fn after_policy(cursor: Option<&str>) -> Result<Option<(String, String)>, StoreError> {
    cursor.map(decode::<(String, String)>).transpose()
}

fn decode<K: serde::de::DeserializeOwned>(cursor: &str) -> Result<K, StoreError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::Cursor)?;
    serde_json::from_slice(&bytes).map_err(|_| StoreError::Cursor)
}

/// The page of `limit` items out of up to `limit + 1` that were read.
pub fn next_of<T, K: serde::Serialize>(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|item| {
        let key = serde_json::to_vec(&key(item)).expect("a key is numbers and text");
        URL_SAFE_NO_PAD.encode(key)
    });
    Page { items, next_cursor }
}

/// How many rows to ask for: one more than the page, to know whether there is a next one.
pub fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}
