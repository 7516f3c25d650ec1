//! The floor: the same rows, written by a bare loop with group commit on the same engine. No actor, no verdict, no
//! store: one writer that takes what has come, writes it in one transaction, and answers.

use std::ffi::{CStr, CString};
use std::ptr;

use libsqlite3_sys as ffi;
use tokio::sync::{mpsc, oneshot};

use crate::support::{Engine, identity};

/// A row to write: what an admitted run consists of.
pub struct Row {
    hash: String,
    context: String,
    written: oneshot::Sender<()>,
}

/// The way to the writer.
#[derive(Clone)]
pub struct Floor {
    rows: mpsc::UnboundedSender<Row>,
}

/// As many as the registry writes at once.
const BATCH_MAX: usize = 512;

impl Floor {
    /// A writer to the migrated ledger at `url`, which has the tenant and workspace with these ids.
    pub fn start(runtime: &tokio::runtime::Runtime, engine: Engine, url: &str, scope: (i64, i64)) -> Self {
        let (rows, mut waiting) = mpsc::unbounded_channel();
        match engine {
            Engine::Sqlite => {
                let path = url.trim_start_matches("sqlite://").to_owned();
                std::thread::spawn(move || {
                    let writer = Sqlite::open(&path);
                    while let Some(batch) = next_batch_blocking(&mut waiting) {
                        writer.write(&batch, scope);
                        for row in batch {
                            // A caller that has gone needs no answer.
                            let _ = row.written.send(());
                        }
                    }
                });
            }
            Engine::Postgres => {
                let url = url.to_owned();
                runtime.spawn(async move {
                    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
                        .await
                        .expect("the bench's database");
                    tokio::spawn(connection);
                    let insert = client.prepare(POSTGRES_INSERT).await.expect("a statement of ours");
                    while let Some(batch) = next_batch(&mut waiting).await {
                        let hashes: Vec<&str> = batch.iter().map(|row| row.hash.as_str()).collect();
                        let contexts: Vec<&str> = batch.iter().map(|row| row.context.as_str()).collect();
                        let written = client
                            .query(&insert, &[&scope.0, &scope.1, &hashes, &contexts])
                            .await
                            .expect("distinct rows are taken");
                        assert_eq!(written.len(), batch.len());
                        for row in batch {
                            // A caller that has gone needs no answer.
                            let _ = row.written.send(());
                        }
                    }
                });
            }
        }
        Self { rows }
    }

    /// Writes the row of identity number `number`; returns when it is durable.
    pub async fn write(&self, number: u64) {
        let (written, done) = oneshot::channel();
        let context = format!(
            "{{\"identity_version\":1,\"inputs\":{{\"policy_ids\":[\"{number}\"],\"policy_types\":null}}}}"
        );
        let row = Row { hash: identity(number).to_string(), context, written };
        assert!(self.rows.send(row).is_ok(), "the writer lives as long as the floor");
        done.await.expect("the writer answers");
    }
}

fn gather(first: Row, waiting: &mut mpsc::UnboundedReceiver<Row>) -> Vec<Row> {
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX
        && let Ok(row) = waiting.try_recv()
    {
        batch.push(row);
    }
    batch
}

fn next_batch_blocking(waiting: &mut mpsc::UnboundedReceiver<Row>) -> Option<Vec<Row>> {
    let first = waiting.blocking_recv()?;
    Some(gather(first, waiting))
}

async fn next_batch(waiting: &mut mpsc::UnboundedReceiver<Row>) -> Option<Vec<Row>> {
    let first = waiting.recv().await?;
    Some(gather(first, waiting))
}

const POSTGRES_INSERT: &str = "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, \
     outcome, run_identity_hash, context, created_at, updated_at, priority) \
     SELECT $1, $2, 'bench', 'assignments.fetch', 'queued', 'pending', h, c::jsonb, now(), now(), 1 \
     FROM unnest($3::text[], $4::text[]) AS r(h, c) RETURNING id";

const SQLITE_INSERT: &CStr =
    c"INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, \
     outcome, run_identity_hash, context, created_at, updated_at, priority) \
     VALUES (?1, ?2, 'bench', 'assignments.fetch', 'queued', 'pending', ?3, ?4, ?5, ?5, 1) RETURNING id";

/// SQLite's C interface, used by one thread.
struct Sqlite {
    database: *mut ffi::sqlite3,
    insert: *mut ffi::sqlite3_stmt,
}

impl Sqlite {
    fn open(path: &str) -> Self {
        let path = CString::new(path).expect("a path of ours has no NUL");
        let mut database = ptr::null_mut();
        let mut insert = ptr::null_mut();
        // SAFETY: `path` outlives the call, `database` and `insert` are valid out pointers, and each result is checked
        // before the pointer is used.
        unsafe {
            assert_eq!(ffi::sqlite3_open(path.as_ptr(), &mut database), ffi::SQLITE_OK);
            let this = Self { database, insert: ptr::null_mut() };
            this.run(c"PRAGMA busy_timeout=5000");
            this.run(c"PRAGMA journal_mode=WAL");
            this.run(c"PRAGMA synchronous=FULL");
            this.run(c"PRAGMA foreign_keys=ON");
            let prepared =
                ffi::sqlite3_prepare_v2(database, SQLITE_INSERT.as_ptr(), -1, &mut insert, ptr::null_mut());
            assert_eq!(prepared, ffi::SQLITE_OK);
            Self { insert, ..this }
        }
    }

    fn run(&self, sql: &CStr) {
        // SAFETY: the connection is open and belongs to this thread; no callback is given.
        let result =
            unsafe { ffi::sqlite3_exec(self.database, sql.as_ptr(), None, ptr::null_mut(), ptr::null_mut()) };
        assert_eq!(result, ffi::SQLITE_OK, "{sql:?}");
    }

    fn write(&self, batch: &[Row], scope: (i64, i64)) {
        self.run(c"BEGIN IMMEDIATE");
        for row in batch {
            // SAFETY: the statement is prepared, its five parameters exist, and both texts outlive the step
            // (SQLITE_STATIC), after which it is reset.
            unsafe {
                let text = |at, text: &str| {
                    let length = i32::try_from(text.len()).expect("a short text");
                    ffi::sqlite3_bind_text(self.insert, at, text.as_ptr().cast(), length, None)
                };
                ffi::sqlite3_bind_int64(self.insert, 1, scope.0);
                ffi::sqlite3_bind_int64(self.insert, 2, scope.1);
                assert_eq!(text(3, &row.hash), ffi::SQLITE_OK);
                assert_eq!(text(4, &row.context), ffi::SQLITE_OK);
                ffi::sqlite3_bind_int64(self.insert, 5, 1_700_000_000_000_000);
                assert_eq!(ffi::sqlite3_step(self.insert), ffi::SQLITE_ROW);
                let _id = ffi::sqlite3_column_int64(self.insert, 0);
                assert_eq!(ffi::sqlite3_step(self.insert), ffi::SQLITE_DONE);
                ffi::sqlite3_reset(self.insert);
            }
        }
        self.run(c"COMMIT");
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // SAFETY: both were made by `open` and are used by nobody else.
        unsafe {
            ffi::sqlite3_finalize(self.insert);
            ffi::sqlite3_close(self.database);
        }
    }
}
