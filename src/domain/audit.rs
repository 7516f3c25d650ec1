//! What is kept of a change: who made it, of what, when, from where. Never why, and never a value that was sent:
//! a line says which fields were changed, not to what.

use serde_json::{Map, Value};

use crate::clock::Instant;
use crate::ids::WorkspaceId;

/// What was done. The ledger has the word; a newer program may write others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A run was accepted.
    RunSubmitted,
    /// A run was cancelled, or asked to stop.
    RunCancelled,
    /// A run's request was accepted again.
    RunRetried,
    /// A restore's undo was accepted.
    RunUndone,
    /// A pass of reconcile was accepted.
    ReconcileAsked,
    /// A look at what has changed since a snapshot was accepted.
    DriftAsked,
    /// A snapshot was imported.
    SnapshotImported,
    /// A workspace was added.
    WorkspaceAdded,
    /// A tenant was added.
    TenantAdded,
    /// A tenant was changed.
    TenantChanged,
    /// A token was made.
    TokenCreated,
    /// A token was withdrawn.
    TokenRevoked,
    /// Somebody signed in to the web page.
    SessionBegun,
    /// Somebody signed out.
    SessionEnded,
    /// Somebody tried to sign in with a token that is none.
    SessionRefused,
    /// A schedule was added.
    ScheduleAdded,
    /// A schedule was changed.
    ScheduleChanged,
    /// A schedule was removed.
    ScheduleRemoved,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::RunSubmitted,
        Self::RunCancelled,
        Self::RunRetried,
        Self::RunUndone,
        Self::ReconcileAsked,
        Self::DriftAsked,
        Self::SnapshotImported,
        Self::WorkspaceAdded,
        Self::TenantAdded,
        Self::TenantChanged,
        Self::TokenCreated,
        Self::TokenRevoked,
        Self::SessionBegun,
        Self::SessionEnded,
        Self::SessionRefused,
        Self::ScheduleAdded,
        Self::ScheduleChanged,
        Self::ScheduleRemoved,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunSubmitted => "run.submitted",
            Self::RunCancelled => "run.cancelled",
            Self::RunRetried => "run.retried",
            Self::RunUndone => "run.undone",
            Self::ReconcileAsked => "reconcile.asked",
            Self::DriftAsked => "drift.asked",
            Self::SnapshotImported => "snapshot.imported",
            Self::WorkspaceAdded => "workspace.added",
            Self::TenantAdded => "tenant.added",
            Self::TenantChanged => "tenant.changed",
            Self::TokenCreated => "token.created",
            Self::TokenRevoked => "token.revoked",
            Self::SessionBegun => "session.begun",
            Self::SessionEnded => "session.ended",
            Self::SessionRefused => "session.refused",
            Self::ScheduleAdded => "schedule.added",
            Self::ScheduleChanged => "schedule.changed",
            Self::ScheduleRemoved => "schedule.removed",
        }
    }
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A run.
    Run,
    /// A snapshot.
    Snapshot,
    /// A workspace.
    Workspace,
    /// A tenant.
    Tenant,
    /// A token.
    Token,
    /// A schedule.
    Schedule,
}

impl Object {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Run, Self::Snapshot, Self::Workspace, Self::Tenant, Self::Token, Self::Schedule];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Snapshot => "snapshot",
            Self::Workspace => "workspace",
            Self::Tenant => "tenant",
            Self::Token => "token",
            Self::Schedule => "schedule",
        }
    }
}

impl std::str::FromStr for Object {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|object| object.as_str() == word).ok_or(())
    }
}

/// Through which door a change came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// The HTTP interface.
    #[default]
    Api,
    /// The web page.
    Page,
    /// A command on the ledger itself.
    Cli,
}

impl Via {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::Cli => "cli",
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The token's name, or the operating system's user; empty where nobody is known.
    pub name: String,
    /// The address.
    pub peer: Option<String>,
    /// The door.
    pub via: Via,
}

/// A change, before it is known who made it.
#[derive(Clone, Debug)]
pub struct Change {
    action: Action,
    workspace_id: Option<WorkspaceId>,
    object: Option<(Object, i64)>,
    refused: bool,
    detail: Map<String, Value>,
}

impl Change {
    /// A change that concerns no single thing and no workspace.
    pub fn new(action: Action) -> Self {
        Self { action, workspace_id: None, object: None, refused: false, detail: Map::new() }
    }

    /// It is about this.
    pub fn of(mut self, object: Object, id: i64) -> Self {
        self.object = Some((object, id));
        self
    }

    /// Members of this workspace may see it.
    pub fn in_workspace(mut self, workspace: Option<WorkspaceId>) -> Self {
        self.workspace_id = workspace;
        self
    }

    /// It was tried and refused.
    pub fn refused(mut self) -> Self {
        self.refused = true;
        self
    }

    /// What else there is to say: words and numbers of ours.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// The line of the audit.
    pub fn by(self, asker: Asker, at: Instant) -> Line {
        let Asker { name, peer, via } = asker;
        Line { at, actor: name, peer, via, change: self }
    }
}

/// A line to write.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// Who.
    pub actor: String,
    /// From where.
    pub peer: Option<String>,
    /// Through which door.
    pub via: Via,
    change: Change,
}

impl Line {
    /// What was done.
    pub fn action(&self) -> &'static str {
        self.change.action.as_str()
    }

    /// Whose members may see it.
    pub fn workspace_id(&self) -> Option<WorkspaceId> {
        self.change.workspace_id
    }

    /// What it is about.
    pub fn object(&self) -> Option<(&'static str, i64)> {
        self.change.object.map(|(object, id)| (object.as_str(), id))
    }

    /// `done` or `refused`.
    pub fn outcome(&self) -> &'static str {
        if self.change.refused { "refused" } else { "done" }
    }

    /// What else there is to say.
    pub fn detail(&self) -> &Map<String, Value> {
        &self.change.detail
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_action_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(words.len(), Action::ALL.len());
        assert!("run".parse::<Object>() == Ok(Object::Run) && "runs".parse::<Object>().is_err());
    }

    #[test]
    fn a_line_says_who_what_and_how_it_went() {
        let change = Change::new(Action::TenantChanged).of(Object::Tenant, 7).with("changed", vec!["name"]);
        let asker = Asker { name: "ci".to_owned(), peer: None, via: Via::Page };
        let line = change.refused().by(asker, Instant::from_micros(5).unwrap());
        assert_eq!(
            (line.action(), line.object(), line.outcome()),
            ("tenant.changed", Some(("tenant", 7)), "refused")
        );
        assert_eq!((line.actor.as_str(), line.via.as_str(), line.at.micros()), ("ci", "page", 5));
        assert_eq!(line.detail()["changed"], serde_json::json!(["name"]));
    }
}
