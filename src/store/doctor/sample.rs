//! A sample of the texts that the ledger keeps, searched for what must not be there (G8): tokens, secrets, e-mail addresses
//! and user principal names. In names that a directory or an operator gave (of policies, of groups, of snapshots) an
//! address may stand for good reason: there only secrets are looked for.
//!
//! It shows what slipped through, not that nothing did: it knows shapes, and looks at the newest rows alone.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Text};
use regex_lite::Regex;

use super::EXAMPLES_MAX;
use crate::ids::RunId;
use crate::store::backend::Conn;
use crate::store::error::Problem;
use crate::store::records::Finding;
use crate::store::statement::sql;

/// The finding's name in metrics and JSON.
pub const KEY: &str = "personal_or_secret";
/// What it says.
pub const WHAT: &str =
    "no text of the newest 2000 rows of each kind looks like a secret or an e-mail address";

/// LIMIT: the newest rows of each kind whose texts are looked at.
const ROWS_MAX: i64 = 2000;

/// Each part takes its rows from the end of an index.
const TEXTS: &str = "SELECT 'run ' || CAST(r.id AS text) AS place, r.id AS run_id, FALSE AS is_name, \
     r.initiator_name || ' ' || coalesce(r.cancel_requested_by, '') || ' ' \
     || CAST(r.context AS text) || ' ' || CAST(r.failure_summary AS text) AS said \
     FROM (SELECT * FROM operation_runs ORDER BY id DESC LIMIT $1) r \
     UNION ALL SELECT 'attempts of run ' || CAST(a.run_id AS text), a.run_id, FALSE, CAST(a.failure_summary AS text) \
     FROM (SELECT * FROM run_attempts ORDER BY run_id DESC, lease_token DESC LIMIT $1) a \
     UNION ALL SELECT 'snapshot ' || CAST(s.id AS text), coalesce(s.operation_run_id, 0), FALSE, \
     CAST(s.failure_summary AS text) || ' ' || CAST(s.coverage AS text) \
     FROM (SELECT * FROM snapshots ORDER BY id DESC LIMIT $1) s \
     UNION ALL SELECT 'label of snapshot ' || CAST(s.id AS text), coalesce(s.operation_run_id, 0), TRUE, s.label \
     FROM (SELECT * FROM snapshots ORDER BY id DESC LIMIT $1) s WHERE s.label IS NOT NULL \
     UNION ALL SELECT 'items of run ' || CAST(i.operation_run_id AS text), i.operation_run_id, FALSE, i.message \
     FROM (SELECT * FROM restore_items ORDER BY operation_run_id DESC, policy_type DESC, policy_id DESC LIMIT $1) i \
     WHERE i.message IS NOT NULL \
     UNION ALL SELECT 'restore ' || CAST(x.id AS text), x.operation_run_id, FALSE, CAST(x.failure_summary AS text) \
     FROM (SELECT * FROM restore_runs ORDER BY id DESC LIMIT $1) x \
     UNION ALL SELECT 'line ' || CAST(l.id AS text) || ' of the audit', 0, FALSE, \
     l.actor || ' ' || coalesce(l.peer, '') || ' ' || CAST(l.detail AS text) \
     FROM (SELECT * FROM audit ORDER BY id DESC LIMIT $1) l \
     UNION ALL SELECT 'schedule ' || CAST(c.id AS text), 0, FALSE, \
     c.name || ' ' || c.created_by || ' ' || CAST(c.inputs AS text) || ' ' || coalesce(c.last_problem, '') \
     FROM (SELECT * FROM schedules ORDER BY id DESC LIMIT $1) c \
     UNION ALL SELECT 'policy ' || p.policy_id || ' of tenant ' || CAST(p.tenant_id AS text), 0, TRUE, p.name \
     FROM (SELECT * FROM policies ORDER BY snapshot_id DESC LIMIT $1) p \
     UNION ALL SELECT d.kind || ' ' || d.object_id || ' of tenant ' || CAST(d.tenant_id AS text), 0, TRUE, d.name \
     FROM (SELECT * FROM directory_names ORDER BY tenant_id DESC, kind DESC, object_id DESC LIMIT $1) d";

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    place: String,
    #[diesel(sql_type = BigInt)]
    run_id: i64,
    #[diesel(sql_type = Bool)]
    is_name: bool,
    #[diesel(sql_type = Text)]
    said: String,
}

/// Shapes of what lets somebody in: a JSON web token, a header with credentials, a client secret of Entra, a private key,
/// a token of our own.
const SECRETS: [&str; 5] = [
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    r"(?i:\b(?:bearer|basic)\s+[a-z0-9+/_.~-]{16,})",
    r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{20,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
    r"\batlasd_[A-Za-z0-9_-]{40,}",
];
/// An e-mail address or user principal name, also a guest's. The annotations of OData have no dot before them.
const ADDRESS: &str = r"(?i:[a-z0-9._+-]+(?:#EXT#)?(?:@|%40)(?:[a-z0-9-]+\.)+[a-z]{2,})";

const COMPILES: &str = "the shapes are constant and a test compiles them";
static SECRET_SHAPES: LazyLock<Regex> = LazyLock::new(|| Regex::new(&SECRETS.join("|")).expect(COMPILES));
static ADDRESS_SHAPE: LazyLock<Regex> = LazyLock::new(|| Regex::new(ADDRESS).expect(COMPILES));

fn has_secret(text: &str) -> bool {
    SECRET_SHAPES.is_match(text)
}

/// `@odata.nextLink` and its like are names of annotations.
fn has_address(text: &str) -> bool {
    ADDRESS_SHAPE.find_iter(text).any(|found| !found.as_str().to_ascii_lowercase().contains("@odata."))
}

/// Looks at the sample.
pub async fn texts(conn: &mut Conn<'_>) -> Result<Finding, Problem> {
    let rows: Vec<TextRow> = conn.rows(sql(TEXTS).bind(ROWS_MAX)).await?;
    let has_shape = |row: &&TextRow| has_secret(&row.said) || (!row.is_name && has_address(&row.said));
    let found: Vec<&TextRow> = rows.iter().filter(has_shape).collect();
    let examples_max = usize::try_from(EXAMPLES_MAX).unwrap_or_default();
    let runs: BTreeSet<RunId> =
        found.iter().filter(|row| row.run_id > 0).map(|row| RunId(row.run_id)).collect();
    Ok(Finding {
        guarantee: "G8".to_owned(),
        key: KEY.to_owned(),
        check: WHAT.to_owned(),
        looked_at: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        broken: i64::try_from(found.len()).unwrap_or(i64::MAX),
        examples: runs.into_iter().take(examples_max).collect(),
        advice: if found.is_empty() {
            String::new()
        } else {
            advice(&found[..found.len().min(examples_max)])
        },
    })
}

/// Where it stands, and what to do. Never the text itself.
fn advice(found: &[&TextRow]) -> String {
    let places: BTreeSet<&str> = found.iter().map(|row| row.place.as_str()).collect();
    format!(
        "look at {}; find out what wrote it, withdraw what is a secret, and remove these rows once nothing needs them",
        places.into_iter().collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::{ROWS_MAX, WHAT, has_address, has_secret};

    #[test]
    fn shapes_are_told_from_what_a_ledger_says() {
        let address = ["jane", "contoso.example"].join("@");
        let token = format!("eyJ{}.eyJ{}", "a".repeat(20), "b".repeat(20));
        let bearer = format!("Authorization: Bearer {}", "c".repeat(30));
        for bad in [token.as_str(), &bearer, "-----BEGIN RSA PRIVATE KEY-----"] {
            assert!(has_secret(bad) && !has_address(bad), "{bad}");
        }
        assert!(has_address(&address) && !has_secret(&address));
        let hash = "0123456789abcdef".repeat(4);
        for fine in
            ["assignments@odata.nextLink", "schedule", &hash, "signal:SIGUSR1", "3 of 7 policies failed"]
        {
            assert!(!has_secret(fine) && !has_address(fine), "{fine}");
        }
        assert!(WHAT.contains(&format!(" {ROWS_MAX} ")));
    }
}
