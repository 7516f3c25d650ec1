//! One SQL text for both engines, with its values.
//!
//! Values are numbered (`$1`, `$2`, in any order, repeated at will). The text is cut at the numbers and each engine's
//! own placeholder put there, so a text reads the same on both. Statements are prepared once per connection and kept
//! by their text: every text is a constant, or one of a small number.

use std::borrow::Cow;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text, Untyped};
use diesel::sqlite::Sqlite;
use uuid::Uuid;

use super::types::{DocumentText, SqlId, SqlInstant, sql as types, storable};
use crate::clock::Instant;

/// A text with its values.
#[must_use]
pub struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// Begins a statement.
pub fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement { text: text.into(), values: Vec::new() }
}

impl Statement {
    /// Gives the next number its value.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Gives the text after the parts so far; for lists whose conditions are optional.
    pub fn push(&mut self, text: &str) {
        self.text.to_mut().push_str(text);
    }

    /// Adds a value and its number to the text.
    pub fn push_value(&mut self, value: impl Into<Value>) {
        self.values.push(value.into());
        let number = format!("${}", self.values.len());
        self.push(&number);
    }
}

/// A value of a statement.
pub enum Value {
    /// `bigint`.
    Int(Option<i64>),
    /// `integer`.
    Small(i32),
    /// `smallint`.
    Tiny(i16),
    /// `boolean`.
    Flag(bool),
    /// `text`.
    Text(Option<Cow<'static, str>>),
    /// `bytea`.
    Bytes(Vec<u8>),
    /// `timestamptz`.
    Instant(Option<SqlInstant>),
    /// `uuid`.
    Id(Option<SqlId>),
    /// `jsonb`.
    Document(DocumentText),
    /// `bigint[]`, PostgreSQL only.
    Ints(Vec<Option<i64>>),
    /// `smallint[]`, PostgreSQL only.
    Tinies(Vec<i16>),
    /// `boolean[]`, PostgreSQL only.
    Flags(Vec<bool>),
    /// `text[]`, PostgreSQL only.
    Texts(Vec<String>),
}

/// Conversions into a [`Value`].
macro_rules! from {
    ($($from:ty: |$name:ident| $value:expr;)*) => {
        $(impl From<$from> for Value { fn from($name: $from) -> Self { $value } })*
    };
}

from! {
    i64: |v| Self::Int(Some(v));
    Option<i64>: |v| Self::Int(v);
    i32: |v| Self::Small(v);
    i16: |v| Self::Tiny(v);
    bool: |v| Self::Flag(v);
    &'static str: |v| Self::Text(Some(Cow::Borrowed(v)));
    String: |v| Self::Text(Some(Cow::Owned(storable(v))));
    Option<String>: |v| Self::Text(v.map(|text| Cow::Owned(storable(text))));
    Option<&'static str>: |v| Self::Text(v.map(Cow::Borrowed));
    Vec<u8>: |v| Self::Bytes(v);
    Instant: |v| Self::Instant(Some(SqlInstant(v)));
    Option<Instant>: |v| Self::Instant(v.map(SqlInstant));
    Uuid: |v| Self::Id(Some(SqlId(v)));
    Option<Uuid>: |v| Self::Id(v.map(SqlId));
    DocumentText: |v| Self::Document(v);
    Vec<Option<i64>>: |v| Self::Ints(v);
    Vec<i16>: |v| Self::Tinies(v);
    Vec<bool>: |v| Self::Flags(v);
    Vec<String>: |v| Self::Texts(v.into_iter().map(storable).collect());
}

/// Walks the text, giving the pieces between the numbers to `push` and the values at the numbers to `bind`.
fn walk<'b>(
    statement: &'b Statement,
    mut visit: impl FnMut(&'b str, Option<&'b Value>) -> QueryResult<()>,
) -> QueryResult<()> {
    let mut rest: &'b str = &statement.text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = after[..digits].parse().map_err(|_| unnumbered())?;
        let value = number.checked_sub(1).and_then(|index| statement.values.get(index));
        visit(&rest[..at], Some(value.ok_or_else(unnumbered)?))?;
        rest = &after[digits..];
    }
    visit(rest, None)
}

fn unnumbered() -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError("a statement names a value that it was not given".into())
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        walk(self, |text, value| {
            out.push_sql(text);
            match value {
                None => Ok(()),
                Some(Value::Int(v)) => out.push_bind_param::<Nullable<BigInt>, _>(v),
                Some(Value::Small(v)) => out.push_bind_param::<Integer, _>(v),
                Some(Value::Tiny(v)) => out.push_bind_param::<SmallInt, _>(v),
                Some(Value::Flag(v)) => out.push_bind_param::<Bool, _>(v),
                Some(Value::Text(v)) => out.push_bind_param::<Nullable<Text>, _>(v),
                Some(Value::Bytes(v)) => out.push_bind_param::<Binary, _>(v),
                Some(Value::Instant(v)) => out.push_bind_param::<Nullable<types::Instant>, _>(v),
                Some(Value::Id(v)) => out.push_bind_param::<Nullable<types::Id>, _>(v),
                Some(Value::Document(v)) => out.push_bind_param::<types::Document, _>(v),
                Some(Value::Ints(v)) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(v),
                Some(Value::Tinies(v)) => out.push_bind_param::<Array<SmallInt>, _>(v),
                Some(Value::Flags(v)) => out.push_bind_param::<Array<Bool>, _>(v),
                Some(Value::Texts(v)) => out.push_bind_param::<Array<Text>, _>(v),
            }
        })
    }
}

impl QueryFragment<Sqlite> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        walk(self, |text, value| {
            out.push_sql(text);
            match value {
                None => Ok(()),
                Some(Value::Int(v)) => out.push_bind_param::<Nullable<BigInt>, _>(v),
                Some(Value::Small(v)) => out.push_bind_param::<Integer, _>(v),
                Some(Value::Tiny(v)) => out.push_bind_param::<SmallInt, _>(v),
                Some(Value::Flag(v)) => out.push_bind_param::<Bool, _>(v),
                Some(Value::Text(v)) => out.push_bind_param::<Nullable<Text>, _>(v),
                Some(Value::Bytes(v)) => out.push_bind_param::<Binary, _>(v),
                Some(Value::Instant(v)) => out.push_bind_param::<Nullable<types::Instant>, _>(v),
                Some(Value::Id(v)) => out.push_bind_param::<Nullable<types::Id>, _>(v),
                Some(Value::Document(v)) => out.push_bind_param::<types::Document, _>(v),
                Some(Value::Ints(_) | Value::Tinies(_) | Value::Flags(_) | Value::Texts(_)) => {
                    Err(diesel::result::Error::QueryBuilderError("SQLite has no arrays".into()))
                }
            }
        })
    }
}

impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

impl<C> diesel::RunQueryDsl<C> for Statement {}
