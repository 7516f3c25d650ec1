-- Many instances on one ledger: who executes which tenant, who is gone, and which programs may look at this schema.

-- Each tenant is executed by one instance at a time. Not a fence (that is the run's lease token): it says who claims.
-- A lease lasts as long as its owner lives; an owner without a row of its own is dead, so nothing refers to it.
CREATE TABLE tenant_leases (
    tenant_id bigint NOT NULL PRIMARY KEY REFERENCES tenants (id),
    -- NULL: released.
    owner uuid,
    taken_at timestamptz NOT NULL
);
CREATE INDEX tenant_leases_of_owner ON tenant_leases (owner) WHERE owner IS NOT NULL;

-- When others found that the instance does not renew its lease any more; a renewal takes it back.
ALTER TABLE instances ADD COLUMN lost_at timestamptz;

-- Migrations that programs which do not know them cannot live with: such a migration writes its version here. A
-- program may run on a schema with any other migration that it does not know.
CREATE TABLE schema_breaks (
    version text NOT NULL PRIMARY KEY
);
