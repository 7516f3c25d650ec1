//! An empty database of its own for a test of the program, on each engine.

use tokio_postgres::NoTls;

use crate::program::Atlasd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Runs `test` with a program whose environment names a SQLite file, then with one that names a PostgreSQL database.
pub fn on_both_engines(test: impl Fn(&Atlasd, Engine)) {
    test(&Atlasd::new(), Engine::Sqlite);
    let database = Database::create();
    test(&Atlasd::new().with("ATLASD_DATABASE_URL", &database.url), Engine::Postgres);
}

/// A PostgreSQL database that is dropped at the end.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    fn create() -> Self {
        let server = std::env::var("TEST_DATABASE_URL")
            .expect("TEST_DATABASE_URL names a PostgreSQL server: `./scripts/test` brings one");
        let name = format!("atlasd_cli_{}", atlasd::ids::fresh_uuid().simple());
        execute(&server, &format!("CREATE DATABASE {name}"));
        let (base, parameters) = server.split_once('?').unwrap_or((&server, ""));
        let (authority, _) = base.split_at(base[11..].find('/').map_or(base.len(), |at| at + 11));
        let url = format!("{authority}/{name}?{parameters}").trim_end_matches('?').to_owned();
        Self { server, name, url }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn execute(server: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(server, NoTls).await.expect("the test server answers");
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.expect("a role that may create databases");
        drop(client);
        let _ = connection.await;
    });
}
