ALTER TABLE operation_runs DROP CONSTRAINT operation_runs_hash_is_hex,
    ADD CONSTRAINT operation_runs_hash_is_hex CHECK (run_identity_hash ~ '^[0-9a-f]{64}$');
ALTER TABLE assignment_sets DROP CONSTRAINT assignment_sets_hash_is_hex,
    ADD CONSTRAINT assignment_sets_hash_is_hex CHECK (hash ~ '^[0-9a-f]{64}$');
