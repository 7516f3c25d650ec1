//! What goes wrong around a database: servers that go away, files that are taken, URLs that are wrong.

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::DatabaseConfig;
use atlasd::store::{DatabaseUrl, SqliteLock, Store, StoreError};
use support::*;

/// Waits until `holds`, at most 10 s.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not come about within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_pool_recovers_after_the_server_ended_all_its_connections() {
    run(Engine::Postgres, |lab| {
        Box::pin(async move {
            let run = lab.accepted(lab.request()).await;
            // Several connections, all idle in the pool.
            let pings: Vec<_> = (0..8).map(|_| lab.store.ping()).collect();
            for ping in futures_util::future::join_all(pings).await {
                ping.unwrap();
            }
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            lab.database.execute(end).unwrap();
            until("an answer", || async {
                match lab.store.run(run.id).await {
                    Ok(found) => found.is_some(),
                    Err(StoreError::Unavailable { .. }) => false,
                    Err(other) => panic!("expected Unavailable, got {other:?}"),
                }
            })
            .await;
            lab.accepted(lab.request()).await;
        })
    });
}

#[test]
fn a_transaction_that_the_server_ends_is_unavailable_and_nothing_of_it_stays() {
    run(Engine::Postgres, |lab| {
        Box::pin(async move {
            // Another session holds the tenants, so that the claim waits in its transaction.
            let run = lab.accepted(lab.request()).await;
            let database = lab.database.clone();
            let blocker = std::thread::spawn(move || {
                let _ = database.execute(
                    "SET application_name = 'blocker'; BEGIN; LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE; \
                     SELECT pg_sleep(60)",
                );
            });
            let blocked = "SELECT count(*) AS n FROM pg_locks WHERE relation = 'tenants'::regclass \
                           AND mode = 'AccessExclusiveLock' AND granted";
            until("the lock", || async { lab.database.number(blocked) == 1 }).await;
            let (store, tenant, instance) = (lab.store.clone(), lab.tenant(), lab.instance);
            let claim = tokio::spawn(async move { store.claim_next(tenant, instance).await });
            let waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            until("the wait", || async { lab.database.number(waiting) == 1 }).await;
            lab.database
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()",
                )
                .unwrap();
            let answer = claim.await.unwrap();
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
            blocker.join().unwrap();
            until("an answer", || async { lab.store.ping().await.is_ok() }).await;
            assert_eq!(lab.run(run.id).await, run);
            assert_eq!(lab.claimed().await.id, run.id);
        })
    });
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_says_no_password() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let url: DatabaseUrl = "postgres://atlasd:hunter2@127.0.0.1:1/ledger".parse().unwrap();
    let config = DatabaseConfig::default();
    let opened = runtime.block_on(Store::open(&url, &config, Clock::system(), runtime.handle().clone()));
    let error = opened.err().expect("nobody listens there");
    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn a_writer_that_waits_too_long_for_the_file_is_unavailable() {
    run(Engine::Sqlite, |lab| {
        Box::pin(async move {
            let config = DatabaseConfig {
                statement_timeout: serde_json::from_value(serde_json::json!("50ms")).unwrap(),
                ..DatabaseConfig::default()
            };
            let handle = tokio::runtime::Handle::current();
            let store = Store::open(&lab.database.url, &config, Clock::system(), handle).await.unwrap();
            let database = lab.database.clone();
            let (locked, release) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
            let blocker = std::thread::spawn(move || {
                use diesel::connection::SimpleConnection;
                let DatabaseUrl::Sqlite(path) = &database.url else { unreachable!("it is SQLite") };
                let mut conn =
                    <diesel::SqliteConnection as diesel::Connection>::establish(path.to_str().unwrap())
                        .unwrap();
                conn.batch_execute("BEGIN IMMEDIATE").unwrap();
                locked.0.send(()).unwrap();
                release.1.recv().unwrap();
                conn.batch_execute("ROLLBACK").unwrap();
            });
            locked.1.recv().unwrap();
            let answer = store.add_workspace("late", "Late").await;
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
            assert!(store.workspace_by_slug("contoso").await.unwrap().is_some(), "readers do not wait");
            release.0.send(()).unwrap();
            blocker.join().unwrap();
            store.add_workspace("late", "Late").await.unwrap();
        })
    });
}

#[test]
fn a_dropped_caller_leaves_no_transaction_open() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        run(engine, |lab| {
            Box::pin(async move {
                for _ in 0..50 {
                    let admission = lab.store.admit(vec![lab.request()]);
                    // Polled once, so that it is spawned, and dropped.
                    assert!(futures_util::FutureExt::now_or_never(admission).is_none());
                }
                lab.accepted(lab.request()).await;
                let runs = "SELECT count(*) AS n FROM operation_runs";
                until("51 runs", || async { lab.database.number(runs) == 51 }).await;
            })
        });
    }
}

#[test]
fn a_closed_store_is_unavailable() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        run(engine, |lab| {
            Box::pin(async move {
                lab.store.close().await;
                let answer = lab.store.ping().await;
                assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
            })
        });
    }
}

#[test]
fn a_second_daemon_on_a_file_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let held = SqliteLock::acquire(&path).unwrap();
    let error = SqliteLock::acquire(&path).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Locked { holder, .. } if holder == Some(std::process::id())));
    assert!(text.contains("ledger.db.lock") && text.contains(&std::process::id().to_string()), "{text}");
    drop(held);
    SqliteLock::acquire(&path).unwrap();
    let missing = SqliteLock::acquire(&directory.path().join("no/such/ledger.db")).unwrap_err();
    assert!(matches!(missing, StoreError::Unavailable { .. }));
}

#[test]
fn urls_are_read_and_shown_without_their_password() {
    for (text, shown) in [
        ("sqlite://atlasd.db", "sqlite://atlasd.db"),
        ("sqlite:///var/lib/atlasd/ledger.db", "sqlite:///var/lib/atlasd/ledger.db"),
        ("postgres://host/ledger", "postgres://host/ledger"),
        ("postgresql://ada:p%40ss@host:5432/ledger?sslmode=disable", "postgresql://ada@host:5432/ledger"),
        ("postgres://ada@host/ledger?password=hunter2", "postgres://ada@host/ledger"),
    ] {
        let url: DatabaseUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), format!("DatabaseUrl({shown})"));
    }
    for wrong in [
        "",
        "atlasd.db",
        "sqlite://",
        "sqlite://:memory:",
        "mysql://host/x",
        "postgres://ada:hunter2@host:x/l",
    ] {
        let error = wrong.parse::<DatabaseUrl>().unwrap_err();
        assert!(matches!(error, StoreError::Url(_)) && !error.to_string().contains("hunter2"), "{error}");
    }
    for demand in ["disable", "prefer", "require", "verify-full"] {
        assert!(
            format!("postgres://host/ledger?sslmode={demand}").parse::<DatabaseUrl>().is_ok(),
            "{demand}"
        );
    }
    let error = "postgres://host/ledger?sslmode=allow".parse::<DatabaseUrl>().unwrap_err();
    assert!(error.to_string().contains("verify-full"), "{error}");
}
