DROP TABLE schema_breaks;
ALTER TABLE instances DROP COLUMN lost_at;
DROP TABLE tenant_leases;
