//! What a restore sends: one call that changes a policy's assignments, as data.

use serde_json::Value;

/// The method of a [`GraphWrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMethod {
    /// `/assign`, `/update`, or one more assignment.
    Post,
    /// Properties of the object.
    Patch,
    /// One assignment less.
    Delete,
}

/// A call that changes something.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphWrite {
    /// How.
    pub method: WriteMethod,
    /// Where, below the Graph version, with a slash at its beginning; ids are escaped already.
    pub path: String,
    /// The JSON body; `None` for a deletion.
    pub body: Option<Value>,
    /// The statuses that mean success; empty where none is documented, and any 2xx will do.
    pub success: &'static [u16],
}
