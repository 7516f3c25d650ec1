//! What a sandbox is started with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use uuid::{Uuid, uuid};

use super::snapshot_file::SnapshotFile;
use super::throttle::ThrottleConfig;
use crate::clock::Clock;
use crate::domain::policy_types;

/// The client id of the ready-made configurations.
pub const CLIENT_ID: &str = "5b7d0c1e-8f4a-4b63-9d52-6a1f0e3c7b94";
/// The client secret of the ready-made configurations; it opens nothing but a sandbox.
pub const CLIENT_SECRET: &str = "sandbox-secret";
/// The tenant of [`SandboxConfig::single`].
pub const SINGLE_TENANT: Uuid = uuid!("0d9c6a52-7e1b-4f38-a6d4-3c5b8e2f1a70");

/// A sandbox: its tenants, its one application, its limits.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// One seed, one world.
    pub seed: u64,
    /// The directories.
    pub tenants: Vec<TenantSpec>,
    /// The application that every tenant has consented to.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// The certificate (PEM) that signs client assertions. Without one the claims of an assertion are checked, its
    /// signature is not.
    pub certificate_pem: Option<String>,
    /// The throttle limits.
    pub throttle: ThrottleConfig,
    /// How long every answer is held back; zero for none.
    pub latency: Duration,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// The items on a page of a list that is asked for without `$top`.
    pub page_size: usize,
    /// The items on a page of a list at the most, whatever `$top` says.
    pub page_size_max: usize,
    /// The items on a page of `{policy}/assignments`.
    pub assignments_page_size: usize,
    /// Whether some lists have an empty page with a nextLink.
    pub empty_pages: bool,
    /// Whether a nextLink may be followed once only; a second time is 400.
    pub one_time_links: bool,
    /// After a write by a client, so many reads of the policy's assignments still give the old set.
    pub stale_reads: u32,
    /// How many requests the log keeps; older ones are forgotten, the counters are not.
    pub log_entries_max: usize,
    /// Where time comes from: the life of tokens and the throttle windows follow it.
    pub clock: Clock,
}

/// A seeded directory.
#[derive(Clone, Debug)]
pub struct TenantSpec {
    /// The directory id.
    pub external_id: Uuid,
    /// Its display name; it shows up in the texts of some sign-in errors.
    pub name: String,
    /// What it holds.
    pub policies: Policies,
    /// The application permissions that were consented to; `None` for all that the catalogue asks for.
    pub roles: Option<Vec<String>>,
}

/// How many policies a tenant holds.
#[derive(Clone, Debug)]
pub enum Policies {
    /// So many in all: one of every readable type first, the rest as in a usual tenant.
    Total(usize),
    /// So many of every readable type.
    PerType(usize),
    /// So many of each of these types; keys that the catalogue does not know are ignored.
    Exactly(BTreeMap<String, usize>),
    /// Those of an exported snapshot, with their ids, names and assignments.
    Exported(Arc<SnapshotFile>),
}

impl Policies {
    /// The number of policies per readable type, in the catalogue's order.
    pub fn per_type(&self) -> Vec<(&'static policy_types::PolicyType, usize)> {
        if let Self::Exported(file) = self {
            return file.per_type();
        }
        let mut counts: Vec<_> = policy_types::readable().map(|row| (row, 0)).collect();
        match self {
            Self::PerType(each) => counts.iter_mut().for_each(|(_, count)| *count = *each),
            Self::Exactly(wanted) => {
                counts.iter_mut().for_each(|(row, count)| *count = wanted.get(row.key).copied().unwrap_or(0));
            }
            // Answered above.
            Self::Exported(_) => {}
            Self::Total(total) => {
                let usual: Vec<usize> = (0..counts.len())
                    .flat_map(|at| std::iter::repeat_n(at, usual_share(counts[at].0.key)))
                    .collect();
                let first_round = 0..counts.len();
                for at in first_round.chain(usual.iter().copied().cycle()).take(*total) {
                    counts[at].1 += 1;
                }
            }
        }
        counts
    }
}

/// How many of a type a usual tenant has for each one of a rare type.
fn usual_share(key: &str) -> usize {
    match key {
        "configurationPolicy" => 8,
        "mobileApp" => 7,
        "deviceConfiguration" => 5,
        "compliancePolicy" | "deviceManagementScript" | "deviceHealthScript" => 3,
        "groupPolicyConfiguration" | "iosManagedAppProtection" | "androidManagedAppProtection" => 2,
        _ => 1,
    }
}

impl SandboxConfig {
    /// Four tenants of differing size: what `atlasd demo` and `atlasd sandbox` show.
    pub fn demo() -> Self {
        Self { tenants: demo_tenants(), ..Self::single(0) }
    }

    /// The tenant of an exported snapshot, under its own directory id or another one.
    pub fn from_snapshot(file: SnapshotFile, external_id: Option<Uuid>) -> Self {
        let (id, name) = (external_id.unwrap_or(file.external_id), file.name.clone());
        let tenant = TenantSpec::new(id, &name, Policies::Exported(Arc::new(file)));
        Self { tenants: vec![tenant], ..Self::single(0) }
    }

    /// One tenant ([`SINGLE_TENANT`]) with `policies` policies, spread over all types from 48 on: targets of every
    /// kind, filters, intents, settings, schedules, inherited assignments, empty sets, and one policy whose
    /// assignments fill several pages.
    pub fn single(policies: usize) -> Self {
        Self {
            seed: 1,
            tenants: vec![TenantSpec::new(SINGLE_TENANT, "Contoso Test", Policies::Total(policies))],
            client_id: CLIENT_ID.to_owned(),
            client_secret: SecretString::from(CLIENT_SECRET),
            certificate_pem: None,
            throttle: ThrottleConfig::default(),
            latency: Duration::ZERO,
            token_lifetime: Duration::from_secs(3599),
            page_size: 50,
            page_size_max: 1000,
            assignments_page_size: 25,
            empty_pages: true,
            one_time_links: false,
            stale_reads: 0,
            log_entries_max: 4096,
            clock: Clock::system(),
        }
    }
}

impl TenantSpec {
    /// A tenant that consented to everything.
    pub fn new(external_id: Uuid, name: &str, policies: Policies) -> Self {
        Self { external_id, name: name.to_owned(), policies, roles: None }
    }
}

/// The tenants of the demo; their directory ids never change.
pub fn demo_tenants() -> Vec<TenantSpec> {
    [
        (uuid!("7c1f5b0e-3a64-4d92-8e17-5f0b9c2d6a31"), "Contoso Manufacturing", 400),
        (uuid!("b2e84d67-91c5-4f0a-a3d8-06e7f1c95b42"), "Fabrikam Health", 180),
        (uuid!("e59a3c18-6d27-4b8f-9c04-d8517ba2e653"), "Northwind Traders", 90),
        (uuid!("4f6d2e90-08b3-4c71-b5ea-92a4c7d1f864"), "Tailspin Toys", 30),
    ]
    .map(|(id, name, policies)| TenantSpec::new(id, name, Policies::Total(policies)))
    .into()
}
