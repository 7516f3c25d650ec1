//! `atlasd migrate`: brings the schema up to date, or says whether it is.

use serde::Serialize;

use super::output::{self, Output, OutputArgs};
use super::{CliError, Global, settings};
use crate::config::DatabaseConfig;
use crate::store::{DatabaseUrl, migrate_with, pending_with};

/// Arguments of `atlasd migrate`.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Change nothing; exit with 1 when migrations are missing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was found, or done.
#[derive(Debug, Serialize)]
struct Report {
    /// The database, without its password.
    database: String,
    /// Migrations that were applied now.
    applied: Vec<String>,
    /// Migrations that are missing.
    missing: Vec<String>,
}

impl Migrate {
    /// Runs the command.
    ///
    /// # Errors
    /// A database that cannot be reached or is newer; with `--check`, one that is older.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let config = settings::config(global)?;
        let url = settings::database_url(global, &config)?;
        let report = if self.check { look(&url, &config.database)? } else { apply(&url, &config.database)? };
        match self.output.output {
            Output::Json => output::json(&report)?,
            Output::Table => report.print()?,
        }
        report.judge()
    }
}

fn look(url: &DatabaseUrl, limits: &DatabaseConfig) -> Result<Report, CliError> {
    settings::check_exists(url)?;
    let missing = pending_with(url, limits).map_err(CliError::store(format!("check the schema of {url}")))?;
    Ok(Report { database: url.to_string(), applied: Vec::new(), missing })
}

fn apply(url: &DatabaseUrl, limits: &DatabaseConfig) -> Result<Report, CliError> {
    settings::create_data_dir(url)?;
    let applied = migrate_with(url, limits).map_err(CliError::store(format!("migrate {url}")))?;
    Ok(Report { database: url.to_string(), applied, missing: Vec::new() })
}

impl Report {
    fn print(&self) -> Result<(), CliError> {
        for version in &self.applied {
            output::print(&format!("applied {version}"))?;
        }
        if self.missing.is_empty() {
            output::print(&format!("{}: the schema is up to date", self.database))?;
        }
        Ok(())
    }

    fn judge(&self) -> Result<(), CliError> {
        match self.missing.len() {
            0 => Ok(()),
            count => Err(CliError::Failed(format!(
                "{}: {count} migrations are missing ({}): run `atlasd migrate`",
                self.database,
                self.missing.join(", ")
            ))),
        }
    }
}
