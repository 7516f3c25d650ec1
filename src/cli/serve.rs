//! `atlasd serve`: the daemon.

use super::settings::{self, EndpointArgs, ListenArgs};
use super::signals::Signals;
use super::{CliError, Global};
use crate::daemon::{Daemon, DaemonOptions, Manager};
use crate::telemetry;

/// Arguments of `atlasd serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Bring the database's schema up to date first
    #[arg(long)]
    migrate: bool,
}

impl Serve {
    /// Runs the daemon until it is told to stop.
    ///
    /// # Errors
    /// A configuration, ledger or address that cannot be used; an end that nobody asked for.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let mut config = settings::config(global)?;
        self.endpoint.apply(&mut config);
        let _traces = telemetry::start("info", &config.telemetry)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let url = settings::database_url(global, &config)?;
        let listen = settings::listen(&self.listen, &config)?;
        if self.migrate {
            settings::create_data_dir(&url)?;
        } else {
            settings::check_exists(&url)?;
        }
        let mut options = DaemonOptions::new(config, url, listen.to_string());
        options.migrate = self.migrate;
        options.manager = Manager::of_process();
        let signals = Signals::listen()?;
        let daemon = Daemon::start(options).map_err(CliError::start)?;
        signals.run(daemon, settings::config_path(global), self.endpoint)
    }
}
