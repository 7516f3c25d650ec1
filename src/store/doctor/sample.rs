//! A sample of the texts that the ledger keeps, searched for what must not be there (G8): tokens, secrets, e-mail addresses
//! and user principal names.
//!
//! It shows what slipped through, not that nothing did: it knows shapes, and looks at the newest rows alone.

use std::sync::LazyLock;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use regex_lite::Regex;

use super::EXAMPLES_MAX;
use crate::ids::RunId;
use crate::store::backend::Conn;
use crate::store::error::Problem;
use crate::store::records::Finding;
use crate::store::statement::sql;

/// LIMIT: the newest runs, and the newest runs' attempts and snapshots, whose texts are looked at.
const ROWS_MAX: i64 = 2000;

const TEXTS: &str = "SELECT r.id AS run_id, r.initiator_name || ' ' || coalesce(r.cancel_requested_by, '') || ' ' \
     || CAST(r.context AS text) || ' ' || CAST(r.failure_summary AS text) AS said \
     FROM (SELECT * FROM operation_runs ORDER BY id DESC LIMIT $1) r \
     UNION ALL SELECT a.run_id, CAST(a.failure_summary AS text) \
     FROM (SELECT * FROM run_attempts ORDER BY run_id DESC, lease_token DESC LIMIT $1) a \
     UNION ALL SELECT coalesce(s.operation_run_id, 0), CAST(s.failure_summary AS text) || ' ' || CAST(s.coverage AS text) \
     FROM (SELECT * FROM snapshots ORDER BY id DESC LIMIT $1) s";

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = BigInt)]
    run_id: i64,
    #[diesel(sql_type = Text)]
    said: String,
}

/// Shapes that no text of the ledger has.
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    let shapes = [
        // A JSON web token, a header with credentials, a client secret of Entra, a private key, a token of our own.
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        r"(?i:\b(?:bearer|basic)\s+[a-z0-9+/_.~-]{16,})",
        r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{20,}",
        r"-----BEGIN [A-Z ]*PRIVATE KEY",
        r"\batlasd_[A-Za-z0-9_-]{40,}",
        // An e-mail address or user principal name, also a guest's. The annotations of OData have no dot before them.
        r"(?i:[a-z0-9._+-]+(?:#EXT#)?(?:@|%40)(?:[a-z0-9-]+\.)+[a-z]{2,})",
    ];
    Regex::new(&shapes.join("|")).expect("the shapes are constant and a test compiles them")
});

/// `@odata.nextLink` and its like are names of annotations.
fn has_shape(text: &str) -> bool {
    SHAPES.find_iter(text).any(|found| !found.as_str().to_ascii_lowercase().contains("@odata."))
}

/// Looks at the sample.
pub async fn texts(conn: &mut Conn<'_>) -> Result<Finding, Problem> {
    let rows: Vec<TextRow> = conn.rows(sql(TEXTS).bind(ROWS_MAX)).await?;
    let looked_at = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut found: Vec<RunId> =
        rows.iter().filter(|row| has_shape(&row.said)).map(|row| RunId(row.run_id)).collect();
    found.sort_unstable();
    found.dedup();
    let broken = i64::try_from(found.len()).unwrap_or(i64::MAX);
    found.truncate(usize::try_from(EXAMPLES_MAX).unwrap_or_default());
    Ok(Finding {
        guarantee: "G8".to_owned(),
        key: "personal_or_secret".to_owned(),
        check: format!("no text of the newest {ROWS_MAX} runs looks like a secret or an e-mail address"),
        looked_at,
        broken,
        examples: found,
        advice: if broken == 0 {
            String::new()
        } else {
            "find out what wrote it; withdraw what is a secret; remove these runs once they are completed"
                .to_owned()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::has_shape;

    #[test]
    fn shapes_are_told_from_what_a_ledger_says() {
        let address = ["jane", "contoso.example"].join("@");
        let token = format!("eyJ{}.eyJ{}", "a".repeat(20), "b".repeat(20));
        let bearer = format!("Authorization: Bearer {}", "c".repeat(30));
        for bad in [address.as_str(), &token, &bearer, "-----BEGIN RSA PRIVATE KEY-----"] {
            assert!(has_shape(bad), "{bad}");
        }
        let hash = "0123456789abcdef".repeat(4);
        for fine in
            ["assignments@odata.nextLink", "schedule", &hash, "signal:SIGUSR1", "3 of 7 policies failed"]
        {
            assert!(!has_shape(fine), "{fine}");
        }
    }
}
