//! The three SQL types that the engines store differently, and how our values become them.
//!
//! | type | PostgreSQL | SQLite |
//! | --- | --- | --- |
//! | [`sql::Instant`] | `timestamptz` | `INTEGER`, microseconds since 1970 |
//! | [`sql::Id`] | `uuid` | `BLOB`, 16 bytes |
//! | [`sql::Document`] | `jsonb` | `TEXT` |
//!
//! The object ids are PostgreSQL's own fixed ones, so that no query looks a type up.

use std::io::Write;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::{Sqlite, SqliteValue};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::clock::Instant;

/// The SQL types.
pub mod sql {
    use diesel::query_builder::QueryId;
    use diesel::sql_types::SqlType;

    /// A point in time, whole microseconds.
    #[derive(Clone, Copy, Debug, SqlType, QueryId)]
    #[diesel(postgres_type(oid = 1184, array_oid = 1185))]
    #[diesel(sqlite_type(name = "Long"))]
    pub struct Instant;

    /// A UUID.
    #[derive(Clone, Copy, Debug, SqlType, QueryId)]
    #[diesel(postgres_type(oid = 2950, array_oid = 2951))]
    #[diesel(sqlite_type(name = "Binary"))]
    pub struct Id;

    /// A JSON document.
    #[derive(Clone, Copy, Debug, SqlType, QueryId)]
    #[diesel(postgres_type(oid = 3802, array_oid = 3807))]
    #[diesel(sqlite_type(name = "Text"))]
    pub struct Document;
}

/// From 1970 to 2000, where PostgreSQL's time begins, in microseconds.
const PG_EPOCH_US: i64 = 946_684_800_000_000;
/// The version byte in front of a binary `jsonb`.
const JSONB_VERSION: u8 = 1;

/// A point in time as a query binds and reads it.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct SqlInstant(pub Instant);

impl ToSql<sql::Instant, Pg> for SqlInstant {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&(self.0.micros() - PG_EPOCH_US).to_be_bytes())?;
        Ok(IsNull::No)
    }
}

impl ToSql<sql::Instant, Sqlite> for SqlInstant {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.micros());
        Ok(IsNull::No)
    }
}

impl FromSql<sql::Instant, Pg> for SqlInstant {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let micros = i64::from_be_bytes(value.as_bytes().try_into()?);
        instant(micros.saturating_add(PG_EPOCH_US))
    }
}

impl FromSql<sql::Instant, Sqlite> for SqlInstant {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        instant(<i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?)
    }
}

fn instant(micros: i64) -> deserialize::Result<SqlInstant> {
    Instant::from_micros(micros)
        .map(SqlInstant)
        .ok_or_else(|| "expected an instant that a calendar can name".into())
}

/// A UUID as a query binds and reads it.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub struct SqlId(pub Uuid);

impl ToSql<sql::Id, Pg> for SqlId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl ToSql<sql::Id, Sqlite> for SqlId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_bytes().as_slice());
        Ok(IsNull::No)
    }
}

impl FromSql<sql::Id, Pg> for SqlId {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(value.as_bytes())?))
    }
}

impl FromSql<sql::Id, Sqlite> for SqlId {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
        Ok(Self(Uuid::from_slice(&bytes)?))
    }
}

/// The text of a JSON document, as a query binds it.
#[derive(Clone, Debug)]
pub struct DocumentText(pub String);

impl DocumentText {
    /// The document's text, without what PostgreSQL cannot hold (see [`storable`]).
    ///
    /// # Panics
    /// Never for our types: none has a map with keys that are no text.
    pub fn of<T: serde::Serialize>(value: &T) -> Self {
        let text = serde_json::to_string(value).expect("our documents have only text as keys");
        // The escape may also be the end of an escaped backslash: decided on the parsed document.
        if !text.contains("\\u0000") {
            return Self(text);
        }
        let mut parsed: serde_json::Value = serde_json::from_str(&text).expect("it was written just now");
        replace_nul(&mut parsed);
        Self(parsed.to_string())
    }
}

fn replace_nul(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = storable(std::mem::take(text)),
        serde_json::Value::Array(items) => items.iter_mut().for_each(replace_nul),
        serde_json::Value::Object(map) => {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(key, mut value)| {
                    replace_nul(&mut value);
                    (storable(key), value)
                })
                .collect();
        }
        _ => {}
    }
}

/// The text without the one character that PostgreSQL cannot hold: a NUL from a request would else fail the whole
/// batch that it is in. It becomes U+FFFD on both engines.
pub fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
}

impl ToSql<sql::Document, Pg> for DocumentText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[JSONB_VERSION])?;
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl ToSql<sql::Document, Sqlite> for DocumentText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_str());
        Ok(IsNull::No)
    }
}

/// A JSON document, as a query reads it.
#[derive(Clone, Debug, FromSqlRow)]
pub struct Document<T>(pub T);

impl<T: DeserializeOwned> FromSql<sql::Document, Pg> for Document<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let [JSONB_VERSION, text @ ..] = value.as_bytes() else {
            return Err("expected jsonb version 1".into());
        };
        Ok(Self(serde_json::from_slice(text)?))
    }
}

impl<T: DeserializeOwned> FromSql<sql::Document, Sqlite> for Document<T> {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self(serde_json::from_str(&text)?))
    }
}

/// Text that a type of ours parses: a status, an operation, a hash.
#[derive(Clone, Debug, FromSqlRow)]
pub struct Word<T>(pub T);

/// A value that is one word of a closed list, or of a fixed form, in the ledger.
pub trait FromWord: Sized {
    /// The value, `None` when the word is not of the list.
    fn from_word(word: &str) -> Option<Self>;
}

impl<T: FromWord, DB: Backend> FromSql<Text, DB> for Word<T>
where
    String: FromSql<Text, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let word = <String as FromSql<Text, DB>>::from_sql(value)?;
        T::from_word(&word).map(Self).ok_or_else(|| "expected a word that this version knows".into())
    }
}
