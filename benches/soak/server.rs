//! What the server and the daemon spend: the server's own counters, and the daemon's memory.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use crate::bed::Bed;

/// How often dead rows and memory are looked at.
const EVERY: Duration = Duration::from_secs(10);

/// Looks between two lines that tell how it goes.
const PRINTED_EACH: usize = 6;

/// A connection to the server beside the daemon's, for looking alone.
pub struct Server {
    client: Client,
    url: String,
}

/// The log that the server has written.
pub struct Costs {
    pub wal_bytes: i64,
    records: i64,
    page_images: i64,
    transactions: i64,
}

impl Server {
    pub async fn of(bed: &Bed) -> Self {
        Self::at(bed.database.url_text()).await
    }

    async fn at(url: String) -> Self {
        let (client, driver) = tokio_postgres::connect(&url, NoTls).await.expect("the server of the soak");
        tokio::spawn(driver);
        Self { client, url }
    }

    /// The number that a query gives.
    pub async fn number(&self, text: &str) -> i64 {
        self.client.query_one(text, &[]).await.expect("the query runs").get(0)
    }

    /// So that the soak begins as a server that has just written everything out: the next change of each page is logged
    /// with the whole page.
    pub async fn checkpoint(&self) {
        self.client.batch_execute("CHECKPOINT").await.expect("a superuser");
    }

    pub async fn costs(&self) -> Costs {
        const TEXT: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, wal_records, wal_fpi, \
             (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) FROM pg_stat_wal";
        let row = self.client.query_one(TEXT, &[]).await.expect("PostgreSQL 14 or newer");
        Costs {
            wal_bytes: row.get(0),
            records: row.get(1),
            page_images: row.get(2),
            transactions: row.get(3),
        }
    }

    /// The largest tables, with their indexes.
    pub async fn print_sizes(&self) {
        const TEXT: &str = "SELECT relname::text, pg_table_size(relid), pg_indexes_size(relid), n_tup_upd, \
             n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables ORDER BY pg_total_relation_size(relid) DESC LIMIT 5";
        for row in self.client.query(TEXT, &[]).await.expect("the query runs") {
            let mib = |index: usize| row.get::<_, i64>(index) as f64 / f64::from(1 << 20);
            let (name, updated, hot): (String, i64, i64) = (row.get(0), row.get(3), row.get(4));
            println!(
                "{name}: {:.0} MiB and {:.0} MiB of indexes, {updated} updates of which {hot} stayed on their page, \
                 {} vacuums",
                mib(1),
                mib(2),
                row.get::<_, i64>(5)
            );
        }
    }
}

impl Costs {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            wal_bytes: self.wal_bytes - before.wal_bytes,
            records: self.records - before.records,
            page_images: self.page_images - before.page_images,
            transactions: self.transactions - before.transactions,
        }
    }

    /// All of it, divided by a number of runs.
    pub fn print_per_run(&self, runs: usize) {
        let each = |all: i64| all as f64 / runs as f64;
        println!(
            "per run: {:.0} bytes of log, {:.1} records, {:.2} whole pages, {:.1} transactions",
            each(self.wal_bytes),
            each(self.records),
            each(self.page_images),
            each(self.transactions)
        );
    }
}

/// Looks again and again, until it is stopped.
pub struct Sampler {
    stop: oneshot::Sender<()>,
    looking: JoinHandle<Samples>,
}

/// What was seen.
#[derive(Default)]
pub struct Samples {
    dead: Vec<i64>,
    dead_of: BTreeMap<String, i64>,
    resident_kib: Vec<u64>,
}

impl Sampler {
    /// Looks at `server` and at the process `pid`.
    pub async fn start(server: &Server, pid: u32) -> Self {
        let server = Server::at(server.url.clone()).await;
        let (stop, mut stopped) = oneshot::channel();
        let looking = tokio::spawn(async move {
            let mut samples = Samples::default();
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    _ = ticks.tick() => samples.look(&server, pid).await,
                    _ = &mut stopped => return samples,
                }
            }
        });
        Self { stop, looking }
    }

    pub async fn stop(self) -> Samples {
        let _ = self.stop.send(());
        self.looking.await.expect("looking does not panic")
    }
}

impl Samples {
    async fn look(&mut self, server: &Server, pid: u32) {
        const DEAD: &str = "SELECT relname::text, n_dead_tup FROM pg_stat_user_tables";
        let mut all = 0;
        for row in server.client.query(DEAD, &[]).await.expect("the query runs") {
            let (table, dead): (String, i64) = (row.get(0), row.get(1));
            all += dead;
            let most = self.dead_of.entry(table).or_default();
            *most = dead.max(*most);
        }
        self.dead.push(all);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon lives");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
        self.resident_kib.push(resident.trim().trim_end_matches(" kB").parse().expect("a number"));
        if self.dead.len().is_multiple_of(PRINTED_EACH) {
            self.print_so_far(server).await;
        }
    }

    /// So that a soak that is cut off has shown something.
    async fn print_so_far(&self, server: &Server) {
        const TEXT: &str = "SELECT count(*), count(*) FILTER (WHERE status <> 'completed'), \
             coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at)), 0)::float8, \
             coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at)), 0)::float8 \
             FROM operation_runs WHERE created_at > now() - interval '1 minute' AND tenant_id IS NOT NULL";
        let row = server.client.query_one(TEXT, &[]).await.expect("the query runs");
        let (runs, open): (i64, i64) = (row.get(0), row.get(1));
        let (p50, p99) = (Duration::from_secs_f64(row.get(2)), Duration::from_secs_f64(row.get(3)));
        println!(
            "minute {}: {runs} runs, {open} open, acceptance to completion p50 {p50:.1?}, p99 {p99:.1?}; {} dead rows, \
             {} MiB resident",
            self.dead.len() / PRINTED_EACH,
            self.dead.last().copied().unwrap_or(0),
            self.resident_kib.last().copied().unwrap_or(0) / 1024,
        );
    }

    pub fn print(mut self) {
        self.dead.sort_unstable();
        let (median, most) = (self.dead[self.dead.len() / 2], self.dead.last().copied().unwrap_or(0));
        println!("dead rows in all tables, {} looks: median {median}, most {most}", self.dead.len());
        let mut of: Vec<_> = self.dead_of.into_iter().filter(|(_, dead)| *dead > 0).collect();
        of.sort_by_key(|(_, dead)| -dead);
        println!(
            "most per table: {}",
            of.iter().map(|(table, dead)| format!("{table} {dead}")).collect::<Vec<_>>().join(", ")
        );
        let mib: Vec<f64> = self.resident_kib.iter().map(|kib| *kib as f64 / 1024.0).collect();
        let steps = mib.len().div_ceil(6).max(1);
        let over_time: Vec<_> = mib.iter().step_by(steps).map(|mib| format!("{mib:.0}")).collect();
        let last = mib.last().copied().unwrap_or(0.0);
        println!("resident memory of the daemon in MiB: {}, at the end {last:.0}", over_time.join(", "));
    }
}
