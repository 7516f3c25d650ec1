//! The schema as the migrations make it, and as a database has it: what the doctor compares.
//!
//! What is expected is written down nowhere else than in the migrations. Those for SQLite are run in memory, and the
//! catalogue of that database is what is expected. For PostgreSQL it is kept as its catalogue says it
//! (`doctor/postgres.tsv`), which a test compares with a database that has just been migrated, and writes anew.

use diesel::sql_types::{Bool, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryableByName};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::backend::{Conn, Engine};
use super::error::{Problem, StoreError};
use super::migrate::known_versions;
use super::rows::TextRow;
use super::statement::sql;

/// The indexes that guarantees rest on: those of SPEC section 2, and the one that keeps a tenant's runs apart.
pub const GUARDING_INDEXES: &[(&str, &str)] = &[
    ("G1", "operation_runs_active_tenant"),
    ("G1", "operation_runs_active_workspace"),
    ("G2", "operation_runs_holder_tenant"),
    ("G2", "operation_runs_holder_workspace"),
    ("G1", "operation_runs_one_running"),
];

/// The triggers that guarantees rest on.
pub const GUARDING_TRIGGERS: &[(&str, &str)] = &[
    ("G4", "operation_runs_completed_is_final"),
    ("G4", "restore_items_ended_is_final"),
    ("G12", "operation_runs_holder_stays"),
];

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// What a PostgreSQL has after the migrations: table, kind, name and definition of each object, one in a line.
const POSTGRES: &str = include_str!("doctor/postgres.tsv");

const CATALOGUE_OF_POSTGRES: &str = include_str!("doctor/catalogue.sql");
const CATALOGUE_OF_SQLITE: &str = "SELECT tbl_name AS of_table, type AS kind, name, sql AS definition, TRUE AS works \
     FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name NOT LIKE 'sqlite_%' AND tbl_name NOT LIKE '__diesel%'";

/// A part of the schema that can be missing, changed or switched off by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its table.
    pub table: String,
    /// `column`, `constraint`, `index`, `trigger`, or the `options` of a table.
    pub kind: String,
    /// Its name within the table.
    pub name: String,
    /// As the engine spells it, [`normal`].
    pub definition: String,
    /// Whether it is in force: only PostgreSQL has indexes that are not valid, and what is switched off.
    pub works: bool,
}

#[derive(QueryableByName)]
struct ObjectRow {
    #[diesel(sql_type = Text)]
    of_table: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    definition: String,
    #[diesel(sql_type = Bool)]
    works: bool,
}

impl ObjectRow {
    fn objects(self) -> Vec<Object> {
        let definition = normal(&self.definition);
        if self.kind == "table" {
            return parts_of(&self.of_table, &definition);
        }
        let Self { of_table: table, kind, name, works, .. } = self;
        vec![Object { table, kind, name, definition, works }]
    }
}

/// What the migrations make on this engine.
pub fn expected(engine: Engine) -> Result<Vec<Object>, Problem> {
    match engine {
        Engine::Sqlite => migrated_in_memory(),
        Engine::Postgres => Ok(POSTGRES.lines().filter_map(object).collect()),
    }
}

/// What the database has.
pub async fn found(conn: &mut Conn<'_>) -> Result<Vec<Object>, Problem> {
    let text = match conn.engine() {
        Engine::Sqlite => CATALOGUE_OF_SQLITE,
        Engine::Postgres => CATALOGUE_OF_POSTGRES,
    };
    let rows: Vec<ObjectRow> = conn.rows(sql(text)).await?;
    Ok(rows.into_iter().flat_map(ObjectRow::objects).collect())
}

/// Whether the database has migrations that this program does not know: they may have changed whatever no guarantee
/// rests on.
pub async fn is_newer(conn: &mut Conn<'_>) -> Result<bool, Problem> {
    const APPLIED: &str = "SELECT version AS word FROM __diesel_schema_migrations";
    let known = known_versions();
    let applied: Vec<TextRow> = conn.rows(sql(APPLIED)).await?;
    Ok(applied.iter().any(|row| !known.contains(&row.word)))
}

fn migrated_in_memory() -> Result<Vec<Object>, Problem> {
    let refused = |source| StoreError::Refused { operation: "migrating a database in memory", source };
    let mut conn = SqliteConnection::establish(":memory:").map_err(|error| refused(error.into()))?;
    conn.run_pending_migrations(SQLITE).map_err(refused)?;
    let rows: Vec<ObjectRow> = diesel::RunQueryDsl::load(sql(CATALOGUE_OF_SQLITE), &mut conn)?;
    Ok(rows.into_iter().flat_map(ObjectRow::objects).collect())
}

fn object(line: &str) -> Option<Object> {
    let mut fields = line.splitn(4, '\t').map(str::to_owned);
    let (table, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
    let definition = fields.next()?.replace("\\n", "\n");
    Some(Object { table, kind, name, definition: normal(&definition), works: true })
}

/// A definition without comments, and with blanks only where words would run together: what two spellings of one object
/// have in common. What stands in quotes stays as it is.
fn normal(definition: &str) -> String {
    let mut text = String::with_capacity(definition.len());
    let mut rest = definition.chars().peekable();
    let mut blank = false;
    while let Some(letter) = rest.next() {
        if letter == '-' && rest.peek() == Some(&'-') {
            rest.by_ref().find(|letter| *letter == '\n');
            blank = true;
            continue;
        }
        if letter.is_whitespace() {
            blank = true;
            continue;
        }
        let joins = |letter: char| matches!(letter, '(' | ')' | ',');
        if blank && !joins(letter) && !text.is_empty() && !text.ends_with(joins) {
            text.push(' ');
        }
        blank = false;
        text.push(letter);
        if matches!(letter, '\'' | '"') {
            for quoted in rest.by_ref() {
                text.push(quoted);
                if quoted == letter {
                    break;
                }
            }
        }
    }
    text
}

/// The columns, constraints and options of a table of SQLite, which has them in one text.
fn parts_of(table: &str, definition: &str) -> Vec<Object> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quote) = (0, None);
    let mut options = String::new();
    let after_name = definition.find('(').map_or("", |at| &definition[at..]);
    for letter in after_name.chars() {
        let is_inside = depth > 0;
        match (quote, letter) {
            (Some(mark), letter) if letter == mark => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            _ => {}
        }
        match letter {
            ',' if depth == 1 && quote.is_none() => parts.push(String::new()),
            _ if !is_inside && depth > 0 => {}
            _ if depth > 0 => parts.last_mut().expect("it begins with one").push(letter),
            _ if !is_inside => options.push(letter),
            _ => {}
        }
    }
    let of = |kind: &str, name: &str, definition: String| Object {
        table: table.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        definition,
        works: true,
    };
    let mut objects: Vec<Object> = parts
        .into_iter()
        .map(|part| {
            let (kind, name) = named(&part);
            let (kind, name) = (kind.to_owned(), name.to_owned());
            of(&kind, &name, part)
        })
        .collect();
    objects.push(of("options", "of the table", options.trim().to_owned()));
    objects
}

/// The kind and name of a part of a table.
fn named(part: &str) -> (&'static str, &str) {
    const NAMELESS: [&str; 4] = ["PRIMARY KEY", "FOREIGN KEY", "UNIQUE", "CHECK"];
    if let Some(named) = part.strip_prefix("CONSTRAINT ") {
        return ("constraint", named.split(' ').next().unwrap_or(named));
    }
    if let Some(nameless) = NAMELESS.iter().find(|words| part.starts_with(&format!("{words}("))) {
        return ("constraint", nameless);
    }
    ("column", part.split(' ').next().unwrap_or(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_definition_are_alike() {
        let spread = "CREATE INDEX a\n    ON t ( b , c )  -- why, it's (so)\n    WHERE d = 'x  ( y'";
        assert_eq!(normal(spread), "CREATE INDEX a ON t(b,c)WHERE d = 'x  ( y'");
        assert_eq!(normal(spread), normal("CREATE INDEX a ON t (b, c) WHERE d = 'x  ( y'"));
        assert_ne!(normal(spread), normal("CREATE INDEX a ON t (b, c) WHERE d = 'x ( y'"));
    }

    #[test]
    fn a_table_falls_into_its_parts() {
        let text = "CREATE TABLE t (\n  id INTEGER PRIMARY KEY, -- its id, of course\n  w TEXT DEFAULT ',' REFERENCES w (id),\n  \
             CONSTRAINT t_w CHECK (w IN ('a', ')')),\n  PRIMARY KEY (id, w)\n) STRICT, WITHOUT ROWID";
        let parts = parts_of("t", &normal(text));
        let parts: Vec<_> = parts
            .iter()
            .map(|part| (part.kind.as_str(), part.name.as_str(), part.definition.as_str()))
            .collect();
        let expected = [
            ("column", "id", "id INTEGER PRIMARY KEY"),
            ("column", "w", "w TEXT DEFAULT ',' REFERENCES w(id)"),
            ("constraint", "t_w", "CONSTRAINT t_w CHECK(w IN('a',')'))"),
            ("constraint", "PRIMARY KEY", "PRIMARY KEY(id,w)"),
            ("options", "of the table", "STRICT,WITHOUT ROWID"),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn what_guards_is_made_by_the_migrations_of_both_engines() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let objects = expected(engine).expect("the migrations apply");
            for (_, name) in GUARDING_INDEXES.iter().chain(GUARDING_TRIGGERS) {
                assert!(objects.iter().any(|object| object.name == *name), "{engine:?} {name}");
            }
        }
    }
}
