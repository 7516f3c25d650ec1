//! The Graph double: a real HTTP server with seeded tenants, deterministic, with faults that can be switched on.
