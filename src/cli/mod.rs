//! The command line (SPEC section 11): one file per command.
//!
//! Three kinds of commands: those that run something (`serve`, `demo`, `sandbox`), those that open the ledger
//! themselves ([`ledger`]), and those that are clients of a daemon ([`client`]). Flags beat the environment, which
//! beats the file ([`settings`]). Results go to stdout; progress, warnings and errors to stderr. The exit codes are
//! those of [`error::CliError`].

pub mod colour;
pub mod error;
pub mod output;
pub mod settings;

pub mod demo;
pub mod sandbox;
pub mod serve;
pub mod signals;

pub mod ledger;
pub mod migrate;
pub mod seed;

pub mod completions;
pub mod man;

pub mod check;
pub mod doctor;
pub mod tenants;
pub mod token;
pub mod workspaces;

pub mod client;
pub mod views;

pub mod audit;
pub mod failures;
pub mod fetch;
pub mod plans;
pub mod reconcile;
pub mod restore;
pub mod runs;
pub mod schedules;
pub mod selectors;
pub mod snapshots;
pub mod verdicts;
pub mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::CliError;
pub use settings::Global;

/// Runs Intune assignment operations for many Microsoft 365 tenants and keeps one canonical ledger of them.
#[derive(Debug, Parser)]
#[command(name = "atlasd", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused (active or cooldown) where --fail-on-refused asks for it.
Client commands (runs, fetch, restore, reconcile, snapshots, schedules, failures, audit) use ATLASD_URL and ATLASD_TOKEN.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Sandbox, seeded workspaces and daemon in one process: try everything without a Microsoft tenant
    Demo(demo::Demo),
    /// The daemon
    Serve(serve::Serve),
    /// The Graph double alone
    Sandbox(sandbox::SandboxCommand),
    /// Bring the database's schema up to date
    Migrate(migrate::Migrate),
    /// Add the example workspaces, users and tenants; safe to run again
    Seed(seed::Seed),
    /// Check every guarantee that a database can show
    Doctor(doctor::Doctor),
    /// API tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Workspaces
    #[command(subcommand)]
    Workspaces(workspaces::Workspaces),
    /// Tenants
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Runs of a daemon's ledger
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Ask a daemon to fetch the assignments of tenants
    Fetch(fetch::Fetch),
    /// Ask a daemon to put a tenant's assignments back to what a snapshot has, or to undo that
    Restore(restore::Restore),
    /// Ask a daemon to reconcile its ledger
    Reconcile(reconcile::Reconcile),
    /// Snapshots of tenants
    #[command(subcommand)]
    Snapshots(snapshots::Snapshots),
    /// Requests that come by the clock
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// What failed lately, how often, and what to do next
    Failures(failures::Failures),
    /// Who changed what
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Print the manual page, or write a page per command into a directory
    Man(man::ManPages),
}

impl Cli {
    /// Runs the command, prints the error where there is one.
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error.report();
                error.exit_code()
            }
        }
    }

    fn dispatch(self) -> Result<(), CliError> {
        let global = &self.global;
        match self.command {
            Command::Demo(command) => command.run(global),
            Command::Serve(command) => command.run(global),
            Command::Sandbox(command) => command.run(),
            Command::Migrate(command) => command.run(global),
            Command::Seed(command) => command.run(global),
            Command::Doctor(command) => command.run(global),
            Command::Token(command) => command.run(global),
            Command::Workspaces(command) => command.run(global),
            Command::Tenants(command) => command.run(global),
            Command::Runs(command) => command.run(),
            Command::Fetch(command) => command.run(),
            Command::Restore(command) => command.run(),
            Command::Reconcile(command) => command.run(),
            Command::Snapshots(command) => command.run(),
            Command::Schedules(command) => command.run(),
            Command::Failures(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_before_and_behind_the_command() {
        for args in [["atlasd", "--config", "x.toml", "doctor"], ["atlasd", "doctor", "--config", "x.toml"]] {
            assert!(Cli::try_parse_from(args).is_ok(), "{args:?}");
        }
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for args in [
            &["atlasd", "nonsense"][..],
            &["atlasd"],
            &["atlasd", "token", "create", "--name", "x", "--role", "king"],
            &[
                "atlasd",
                "tenants",
                "add",
                "x",
                "--workspace",
                "w",
                "--external-id",
                "no-uuid",
                "--credential",
                "c",
            ],
            &["atlasd", "runs", "show", "many"],
            &["atlasd", "fetch", "one", "--all"],
            &["atlasd", "fetch", "--timeout", "soon", "one"],
            &["atlasd", "runs", "list", "--output", "xml"],
        ] {
            let error = Cli::try_parse_from(args).expect_err("wrong usage");
            assert_eq!(error.exit_code(), 2, "{args:?}: {error}");
        }
    }
}
