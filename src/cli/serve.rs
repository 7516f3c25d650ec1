//! `atlasd serve`: the daemon.

use super::settings::{self, EndpointArgs, ListenArgs};
use super::signals::{Reread, Signals};
use super::{CliError, Global};
use crate::daemon::{Daemon, DaemonError, DaemonOptions, Manager};
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
        let mut signals = Signals::listen()?;
        let Some(daemon) = signals.unless_stopped(started(options)) else {
            tracing::info!("told to stop before it had started");
            return Ok(());
        };
        let daemon = daemon.map_err(CliError::start)?;
        let endpoint = self.endpoint;
        let amend = Box::new(move |config: &mut _| endpoint.apply(config));
        signals.run(daemon, Reread { path: settings::config_path(global), amend })
    }
}

/// Starts a daemon on a thread of its own: what that waits for (another process that migrates, say) must not keep this
/// process from hearing that it is to stop.
async fn started(options: DaemonOptions) -> Result<Daemon, DaemonError> {
    let (done, daemon) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(Daemon::start(options)));
    daemon.await.expect("a start that panics ends the process")
}
