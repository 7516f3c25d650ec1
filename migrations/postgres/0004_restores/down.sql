DROP TABLE restore_items;
DROP FUNCTION restore_items_refuse_change();
DROP TABLE restore_runs;

-- What the older schema cannot say is lost.
DELETE FROM snapshot_items WHERE snapshot_id IN (SELECT id FROM snapshots WHERE kind <> 'fetched');
DELETE FROM snapshots WHERE kind <> 'fetched';
DROP INDEX snapshots_abandoned;
ALTER TABLE snapshots
    DROP CONSTRAINT snapshots_source_when_imported,
    DROP CONSTRAINT snapshots_claim_when_fetched,
    DROP CONSTRAINT snapshots_without_run_when_imported,
    DROP CONSTRAINT snapshots_kind_known;
ALTER TABLE snapshots DROP COLUMN label;
ALTER TABLE snapshots DROP COLUMN source_tenant;
ALTER TABLE snapshots DROP COLUMN kind;
ALTER TABLE snapshots ALTER COLUMN operation_run_id SET NOT NULL;
DROP INDEX policies_of_set;
DROP INDEX policies_of_snapshot;
