//! The doctor and the schema: what is missing, changed or switched off is found, and nothing else is.

use super::*;

on_each_engine! {
    async fn an_index_with_another_definition(lab: &Lab) {
        lab.database.execute("DROP INDEX operation_runs_holder_workspace; \
            CREATE UNIQUE INDEX operation_runs_holder_workspace ON operation_runs (workspace_id, run_identity_hash) WHERE tenant_id IS NULL AND status = 'queued'").unwrap();
        let broken = broken(lab).await;
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].check.contains("operation_runs_holder_workspace"));
    }

    async fn an_index_or_a_trigger_that_is_not_there(lab: &Lab) {
        lab.database.execute("DROP INDEX operation_runs_holder_tenant").unwrap();
        let on = if lab.engine == Engine::Postgres { " ON operation_runs" } else { "" };
        lab.database.execute(&format!("DROP TRIGGER operation_runs_holder_stays{on}")).unwrap();
        let found = broken(lab).await;
        let expected = ["operation_runs_holder_tenant", "operation_runs_holder_tenant_valid", "operation_runs_holder_stays"];
        assert_eq!(keys(&found), expected, "{found:?}");
    }

    async fn what_is_there_but_does_not_work(lab: &Lab) {
        // SQLite has neither indexes that are not valid nor triggers that are switched off.
        if lab.engine == Engine::Postgres {
            lab.database.execute("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'operation_runs_holder_tenant'::regclass; \
                ALTER TABLE operation_runs DISABLE TRIGGER operation_runs_completed_is_final").unwrap();
            let found = broken(lab).await;
            assert_eq!(keys(&found), ["operation_runs_holder_tenant_valid", "operation_runs_completed_is_final"], "{found:?}");
        }
    }

    async fn triggers_that_no_longer_do_what_they_did(lab: &Lab) {
        lab.database.execute(match lab.engine {
            Engine::Sqlite => "\
                DROP TRIGGER operation_runs_completed_is_final; \
                CREATE TRIGGER operation_runs_completed_is_final BEFORE UPDATE ON operation_runs FOR EACH ROW WHEN FALSE \
                BEGIN SELECT RAISE(ABORT, 'a completed run never changes'); END; \
                DROP TRIGGER restore_items_ended_is_final; \
                CREATE TRIGGER restore_items_ended_is_final AFTER INSERT ON restore_items FOR EACH ROW \
                WHEN NEW.state = 'x' BEGIN SELECT RAISE(ABORT, 'a verified or skipped item never changes'); END; \
                DROP TRIGGER operation_runs_holder_stays; \
                CREATE TRIGGER operation_runs_holder_stays BEFORE DELETE ON operation_runs FOR EACH ROW \
                WHEN OLD.holds_identity BEGIN SELECT 1; END",
            Engine::Postgres => "\
                CREATE OR REPLACE FUNCTION operation_runs_refuse_change() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RETURN NEW; END $$; \
                DROP TRIGGER restore_items_ended_is_final ON restore_items; \
                CREATE TRIGGER restore_items_ended_is_final AFTER INSERT ON restore_items FOR EACH ROW \
                EXECUTE FUNCTION restore_items_refuse_change(); \
                DROP TRIGGER operation_runs_holder_stays ON operation_runs; \
                CREATE TRIGGER operation_runs_holder_stays BEFORE DELETE ON operation_runs FOR EACH ROW WHEN (FALSE) \
                EXECUTE FUNCTION operation_runs_refuse_delete()",
        }).unwrap();
        let found = broken(lab).await;
        let expected = ["operation_runs_completed_is_final", "restore_items_ended_is_final", "operation_runs_holder_stays"];
        assert_eq!(keys(&found), expected, "{found:?}");
    }

    async fn tables_without_some_of_their_constraints(lab: &Lab) {
        lab.database.execute(match lab.engine {
            Engine::Sqlite => "\
                PRAGMA writable_schema = ON; \
                UPDATE sqlite_master SET sql = replace(sql, 'CONSTRAINT operation_runs_status_known CHECK \
                (status IN (''queued'', ''running'', ''completed'')),', '') WHERE name = 'operation_runs'; \
                UPDATE sqlite_master SET sql = replace(sql, 'tenant_id INTEGER NOT NULL REFERENCES tenants (id)', \
                'tenant_id INTEGER NOT NULL') WHERE name = 'restore_runs'; \
                UPDATE sqlite_master SET sql = replace(sql, 'instance_id BLOB NOT NULL', 'instance_id BLOB') \
                WHERE name = 'run_attempts'",
            Engine::Postgres => "\
                ALTER TABLE operation_runs DROP CONSTRAINT operation_runs_status_known; \
                ALTER TABLE restore_runs DROP CONSTRAINT restore_runs_tenant_id_fkey; \
                ALTER TABLE run_attempts DISABLE TRIGGER ALL",
        }).unwrap();
        let found = broken(lab).await;
        assert_eq!(keys(&found), ["table_operation_runs", "table_restore_runs", "table_run_attempts"], "{found:?}");
        assert!(found[0].advice.contains("operation_runs_status_known is missing"), "{found:?}");
        assert!(found[1].advice.contains("tenant_id"), "{found:?}");
    }

    async fn tables_with_more_than_they_had(lab: &Lab) {
        lab.database.execute("CREATE INDEX of_an_operator ON operation_runs (initiator_name); \
            ALTER TABLE operation_runs ADD COLUMN of_a_newer_program TEXT; CREATE TABLE of_somebody (id BIGINT)").unwrap();
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
    }

    async fn a_table_that_is_gone(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        lab.database.execute("DROP INDEX operation_runs_active_tenant; DROP INDEX operation_runs_holder_tenant").unwrap();
        lab.database.execute(&copy(run.id, "status, outcome, run_identity_hash, created_at, updated_at, priority, TRUE, NULL, NULL, context, NULL, 0, NULL")).unwrap();
        lab.database.execute("DROP TABLE restore_items").unwrap();
        let found = broken(lab).await;
        let table = found.iter().find(|finding| finding.key == "table_restore_items").expect("it is missed");
        assert!(table.advice.starts_with("the table restore_items is missing") && table.is_examined(), "{table:?}");
        let unexamined: Vec<_> = found.iter().filter(|finding| !finding.is_examined()).collect();
        let keys: Vec<_> = unexamined.iter().map(|finding| finding.key.as_str()).collect();
        assert_eq!(keys, ["item_left_open", "run_missing", "restore_of_tenant", "personal_or_secret"]);
        assert!(unexamined.iter().all(|finding| finding.advice.contains("restore_items")), "{unexamined:?}");
        assert!(found.iter().any(|finding| finding.key == "active_unique"), "the other checks go on");
    }

    async fn a_ledger_without_its_runs(lab: &Lab) {
        let gone = match lab.engine {
            Engine::Sqlite => "PRAGMA foreign_keys = OFF; DROP TABLE operation_runs",
            Engine::Postgres => "DROP TABLE operation_runs CASCADE",
        };
        lab.database.execute(gone).unwrap();
        let found = broken(lab).await;
        let table = found.iter().find(|finding| finding.key == "table_operation_runs").expect("it is missed");
        assert!(table.advice.starts_with("the table operation_runs is missing"), "{table:?}");
    }
}

/// The catalogue's query, as the doctor asks it, and what it answered after the migrations.
const CATALOGUE: &str = include_str!("../../src/store/doctor/catalogue.sql");
const SCHEMA: &str = "src/store/doctor/postgres.tsv";

#[test]
fn the_schema_that_the_doctor_expects_is_that_of_the_migrations() {
    let database = Database::create(Engine::Postgres);
    store::migrate(&database.url).expect("the migrations apply");
    let lines = database.words(&format!(
        "SELECT of_table || chr(9) || kind || chr(9) || name || chr(9) \
         || replace(replace(btrim(definition, chr(10) || ' '), chr(9), ' '), chr(10), '\\n') AS word \
         FROM ({CATALOGUE}) q \
         ORDER BY of_table COLLATE \"C\", kind COLLATE \"C\", name COLLATE \"C\""
    ));
    let wanted = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(SCHEMA);
    if std::env::var_os("ATLASD_TEST_REWRITE").is_some() {
        std::fs::write(path, wanted).expect("the file can be written");
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, wanted, "{SCHEMA} is old: ATLASD_TEST_REWRITE=1 writes it");
}

#[test]
fn a_ledger_in_a_schema_of_another_name_is_well() {
    let database = Database::create(Engine::Postgres);
    // A name that has to be quoted, on a search path whose first entry is not there, as with the default one.
    let elsewhere = "CREATE SCHEMA \"Led-ger\"; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = \
        \"$user\", \"Led-ger\"', current_database()); END $$";
    database.execute(elsewhere).unwrap();
    store::migrate(&database.url).expect("the migrations apply");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let lab = Lab::furnish(database).await;
        let run = lab.completed().await;
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM \"Led-ger\".operation_runs"), 1);
        assert!(broken(&lab).await.is_empty(), "{:?}", broken(&lab).await);
        lab.database
            .execute("ALTER TABLE operation_runs DROP CONSTRAINT operation_runs_tenant_of_workspace")
            .unwrap();
        let found = broken(&lab).await;
        assert_eq!(keys(&found), ["table_operation_runs"], "{found:?} of {}", run.id);
        lab.store.close().await;
    });
}
