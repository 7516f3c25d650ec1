//! Assignment sets: their content, stored once under its hash, and read back.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::Text;

use super::backend::{Backend, Conn, Engine};
use super::error::{Problem, StoreError};
use super::rows::NumberRow;
use super::statement::sql;
use super::types::{DocumentText, Word};
use crate::clock::Instant;
use crate::domain::assignment::{AssignmentSet, AssignmentsHash};

/// LIMIT: how often a set that retention is just removing is written again.
const TRIES_MAX: usize = 10;

/// Sets to be stored, with their canonical text, by hash. The text is made before a writer is taken.
#[derive(Default)]
pub struct Sets(BTreeMap<String, String>);

impl Sets {
    /// Adds a set; its hash as the ledger holds it.
    pub fn add(&mut self, set: &AssignmentSet) -> String {
        let canonical = set.canonical();
        let hash = AssignmentsHash::of(&canonical).to_string();
        let text = || String::from_utf8(canonical).expect("canonical JSON is UTF-8");
        self.0.entry(hash.clone()).or_insert_with(text);
        hash
    }

    /// Adds a set whose hash is known; the hash as the ledger holds it.
    pub fn add_hashed(&mut self, set: &AssignmentSet, hash: AssignmentsHash) -> String {
        let hash = hash.to_string();
        let text = || String::from_utf8(set.canonical()).expect("canonical JSON is UTF-8");
        self.0.entry(hash.clone()).or_insert_with(text);
        hash
    }

    /// Adds a set where there is one.
    pub fn add_some(&mut self, set: Option<&AssignmentSet>) -> Option<String> {
        set.map(|set| self.add(set))
    }

    /// Stores what is not stored yet. Until the transaction ends none of them can be removed.
    ///
    /// ORDER: by hash, so that two that share sets cannot wait for each other.
    pub async fn store(self, conn: &mut Conn<'_>, now: Instant) -> Result<(), Problem> {
        const ONE: &str = "INSERT INTO assignment_sets (hash, assignments, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (hash) DO NOTHING";
        const ALL: &str = "INSERT INTO assignment_sets (hash, assignments, created_at) \
             SELECT b.hash, b.assignments, $3 FROM unnest($1, $2) AS b (hash, assignments) \
             ORDER BY b.hash ON CONFLICT (hash) DO NOTHING";
        const KEPT: &str = "SELECT count(*) AS n FROM (SELECT 1 FROM assignment_sets WHERE hash = ANY ($1) \
             ORDER BY hash FOR KEY SHARE) kept";
        if conn.engine() == Engine::Sqlite {
            for (hash, canonical) in self.0 {
                conn.execute(sql(ONE).bind(hash).bind(canonical).bind(now)).await?;
            }
            return Ok(());
        }
        if self.0.is_empty() {
            return Ok(());
        }
        let (hashes, texts): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        for _ in 0..TRIES_MAX {
            conn.execute(sql(ALL).bind(hashes.clone()).bind(texts.clone()).bind(now)).await?;
            // RACE: retention may be removing a set that was there; what is locked here it leaves alone, what it has
            // removed is missing and is written again.
            let kept: Option<NumberRow> = conn.row(sql(KEPT).bind(hashes.clone())).await?;
            if kept.is_some_and(|row| usize::try_from(row.n) == Ok(hashes.len())) {
                return Ok(());
            }
        }
        Err(Problem::Corrupt("assignment sets vanish as fast as they are written".to_owned()))
    }
}

/// A set as the ledger holds it.
pub fn parsed(hash: AssignmentsHash, text: &str) -> Result<AssignmentSet, Problem> {
    serde_json::from_str(text)
        .map_err(|_| Problem::Corrupt(format!("assignment set {hash}: expected its normal form")))
}

#[derive(QueryableByName)]
struct SetRow {
    #[diesel(sql_type = Text)]
    hash: Word<AssignmentsHash>,
    #[diesel(sql_type = Text)]
    assignments: String,
}

/// See [`super::Store::assignment_sets`].
pub async fn assignment_sets(
    backend: &Backend,
    hashes: Vec<AssignmentsHash>,
) -> Result<BTreeMap<AssignmentsHash, AssignmentSet>, StoreError> {
    const OPERATION: &str = "reading assignment sets";
    const SQLITE: &str = "SELECT a.hash, a.assignments FROM json_each($1) j \
         CROSS JOIN assignment_sets a ON a.hash = j.value";
    const POSTGRES: &str = "SELECT hash, assignments FROM assignment_sets WHERE hash = ANY ($1)";
    let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
    let rows: Vec<SetRow> = backend
        .read(OPERATION, move |conn| {
            Box::pin(async move {
                conn.rows(match conn.engine() {
                    Engine::Sqlite => sql(SQLITE).bind(DocumentText::of(&hashes)),
                    Engine::Postgres => sql(POSTGRES).bind(hashes),
                })
                .await
            })
        })
        .await?;
    let sets = rows.into_iter().map(|row| Ok((row.hash.0, parsed(row.hash.0, &row.assignments)?)));
    sets.collect::<Result<_, Problem>>().map_err(|problem| problem.during(OPERATION))
}
