//! `atlasd serve`: the daemon.

use super::settings::{self, ListenArgs};
use super::{CliError, Global};
use crate::daemon::{self, ServeOptions};

/// Arguments of `atlasd serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    #[command(flatten)]
    listen: ListenArgs,
}

impl Serve {
    /// Runs the command until a signal ends it.
    ///
    /// # Errors
    /// A configuration that cannot be used; what the daemon answers.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let config = settings::config(global)?;
        let options = ServeOptions {
            database: settings::database_url(global, &config)?,
            listen: settings::listen(&self.listen, &config)?,
            config_file: global.config.clone(),
            config,
        };
        daemon::serve(options).map_err(CliError::server("run the daemon"))
    }
}
