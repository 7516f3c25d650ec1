//! What a daemon is started with.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use super::{DaemonError, Manager};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::DatabaseUrl;

/// Options of [`super::Daemon::start`].
#[derive(Clone)]
pub struct DaemonOptions {
    /// The validated configuration.
    pub config: Arc<Config>,
    /// The ledger.
    pub database_url: DatabaseUrl,
    /// The admin endpoint's address, such as `127.0.0.1:7717`; port 0 takes a free one.
    pub listen: String,
    /// Bring the schema up to date first.
    pub migrate: bool,
    /// Time.
    pub clock: Clock,
    /// Threads for executions and watching tasks.
    pub worker_threads: usize,
    /// Who is told how the daemon is; nobody unless it is set.
    pub manager: Manager,
}

impl DaemonOptions {
    /// Options with the machine's clock and a worker thread per core.
    pub fn new(config: Config, database_url: DatabaseUrl, listen: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            config: Arc::new(config),
            database_url,
            listen,
            migrate: false,
            clock: Clock::system(),
            worker_threads: cores,
            manager: Manager::default(),
        }
    }

    /// Takes the address before anything else is touched. Beyond the loopback only where tokens do not travel in plain
    /// text.
    ///
    /// # Errors
    /// [`DaemonError::Listen`], [`DaemonError::Exposed`].
    pub(super) fn bind(&self) -> Result<TcpListener, DaemonError> {
        let failed = |source| DaemonError::Listen { address: self.listen.clone(), source };
        let addresses: Vec<SocketAddr> = self.listen.to_socket_addrs().map_err(failed)?.collect();
        if !self.config.is_https() && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(DaemonError::Exposed { address: self.listen.clone() });
        }
        TcpListener::bind(addresses.as_slice()).map_err(failed)
    }
}
