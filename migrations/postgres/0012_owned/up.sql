-- The run that a tenant has running, found by its owner: a run has one while it runs, and only then (a CHECK of the table).
--
-- A query that names the tenant and the status could go by several indexes. PostgreSQL takes a tenant for unique there,
-- since of the running runs it is, and may then look through all that the tenant ever had; where it last counted while
-- nothing ran, every index over active runs seems empty to it. This one leaves no choice.

CREATE INDEX operation_runs_owned ON operation_runs (tenant_id) WHERE lease_owner IS NOT NULL;
