DROP TABLE policies;
DROP TABLE snapshot_items;
DROP TABLE snapshots;
DROP TABLE assignment_sets;
