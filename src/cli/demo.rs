//! `atlasd demo`: sandbox, seeded workspaces and a daemon on an embedded SQLite file, in one process.

use std::path::PathBuf;

use super::settings::{self, ListenArgs};
use super::{CliError, Global};
use crate::daemon::{self, DemoOptions};

/// Arguments of `atlasd demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    #[command(flatten)]
    listen: ListenArgs,
    /// Keep the ledger in this folder [default: a temporary one, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// What the sandbox's policies are made from: the same number, the same policies
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Demo {
    /// Runs the command until a signal ends it.
    ///
    /// # Errors
    /// A configuration that cannot be used; what the daemon answers.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let config = settings::config(global)?;
        let options = DemoOptions {
            listen: settings::listen(&self.listen, &config)?,
            data_dir: self.data_dir.clone(),
            seed: self.seed,
            config,
        };
        daemon::demo(options).map_err(CliError::server("run the demo"))
    }
}
