//! `atlasd migrate`: brings the schema up to date, or says whether it is.

use super::{CliError, Global, output, settings};
use crate::store::{migrate_with, pending_with};

/// Arguments of `atlasd migrate`.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Change nothing; exit with 1 when migrations are missing
    #[arg(long)]
    check: bool,
}

impl Migrate {
    /// Runs the command.
    ///
    /// # Errors
    /// A database that cannot be reached or is newer; with `--check`, one that is older.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let config = settings::config(global)?;
        let url = settings::database_url(global, &config)?;
        if self.check {
            settings::check_exists(&url)?;
            let missing = pending_with(&url, &config.database)
                .map_err(CliError::store(format!("check the schema of {url}")))?;
            return match missing.len() {
                0 => output::print(&format!("{url}: the schema is up to date")),
                count => Err(CliError::Failed(format!(
                    "{url}: {count} migrations are missing ({}): run `atlasd migrate`",
                    missing.join(", ")
                ))),
            };
        }
        settings::create_data_dir(&url)?;
        let applied =
            migrate_with(&url, &config.database).map_err(CliError::store(format!("migrate {url}")))?;
        for version in &applied {
            output::print(&format!("applied {version}"))?;
        }
        output::print(&format!("{url}: the schema is up to date"))
    }
}
