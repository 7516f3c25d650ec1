//! The parts of the schema that guarantees rest on, as each engine's catalogue spells them.

/// An index, as created.
pub struct ExpectedIndex {
    /// What it enforces.
    pub guarantee: &'static str,
    /// Its name.
    pub name: &'static str,
    /// As `sqlite_master` has it.
    pub sqlite: &'static str,
    /// As `pg_indexes` has it.
    pub postgres: &'static str,
}

/// Declares an index of `operation_runs` by its columns and its condition on each engine.
macro_rules! unique {
    ($guarantee:literal, $name:literal, $columns:literal, $sqlite:literal, $postgres:literal) => {
        ExpectedIndex {
            guarantee: $guarantee,
            name: $name,
            sqlite: concat!(
                "CREATE UNIQUE INDEX ",
                $name,
                " ON operation_runs (",
                $columns,
                ") WHERE ",
                $sqlite
            ),
            postgres: concat!(
                "CREATE UNIQUE INDEX ",
                $name,
                " ON operation_runs USING btree (",
                $columns,
                ") WHERE ",
                $postgres
            ),
        }
    };
}

/// The unique indexes of SPEC section 2, and the one that keeps a tenant's runs apart.
pub const EXPECTED_INDEXES: &[ExpectedIndex] = &[
    unique!(
        "G1",
        "operation_runs_active_tenant",
        "tenant_id, run_identity_hash",
        "status IN ('queued', 'running')",
        "(status = ANY (ARRAY['queued'::text, 'running'::text]))"
    ),
    unique!(
        "G1",
        "operation_runs_active_workspace",
        "workspace_id, run_identity_hash",
        "tenant_id IS NULL AND status IN ('queued', 'running')",
        "((tenant_id IS NULL) AND (status = ANY (ARRAY['queued'::text, 'running'::text])))"
    ),
    unique!(
        "G2",
        "operation_runs_holder_tenant",
        "tenant_id, run_identity_hash",
        "holds_identity",
        "holds_identity"
    ),
    unique!(
        "G2",
        "operation_runs_holder_workspace",
        "workspace_id, run_identity_hash",
        "tenant_id IS NULL AND holds_identity",
        "((tenant_id IS NULL) AND holds_identity)"
    ),
    unique!(
        "G1",
        "operation_runs_one_running",
        "tenant_id",
        "status = 'running' AND tenant_id IS NOT NULL",
        "((status = 'running'::text) AND (tenant_id IS NOT NULL))"
    ),
];

/// The triggers, with what they enforce.
pub const EXPECTED_TRIGGERS: &[(&str, &str)] = &[
    ("G4", "operation_runs_completed_is_final"),
    ("G4", "restore_items_ended_is_final"),
    ("G12", "operation_runs_holder_stays"),
];

/// A definition without the names of schemas and with single spaces: what two spellings of one index have in common.
pub fn normal(definition: &str) -> String {
    let words: Vec<&str> = definition.split_whitespace().collect();
    words.join(" ").replace(" ON public.", " ON ")
}
