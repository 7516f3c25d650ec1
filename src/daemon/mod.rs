//! Builds the parts, runs them, stops them in order: the only place that knows them all.
//!
//! One multi-thread runtime for the database, the executions and the watching tasks; one actix system on the daemon's
//! own thread for all actors; actix-web's workers for HTTP.
//!
//! ORDER of stopping: not ready -> close the gate -> drain tenants -> drain reconcile -> drain registry -> end the stream of
//! events -> stop HTTP -> the audit -> the instance's row -> close the store -> drop the system.

pub mod census;
pub mod checkup;
pub mod clock_steps;
pub mod herald;
pub mod hints;
pub mod manager;
pub mod options;
pub mod pulse;
pub mod retention;
pub mod schedules;
pub mod triggers;
pub mod watch;

pub use manager::Manager;
pub use options::DaemonOptions;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Actor;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::actors::board::{Board, StopCause};
use crate::actors::fleet::Fleet;
use crate::actors::gate::Gate;
use crate::actors::handle::{Handle, Health};
use crate::actors::registry::RegistryLimits;
use crate::actors::supervisor::{Drain, Fatal, Parts, RegistryAddress, Supervisor};
use crate::admin::tls::{Tls, TlsError};
use crate::admin::{AdminState, HttpHandle};
use crate::audit::Audit;
use crate::config::{Changes, Config};
use crate::events::Events;
use crate::execution::{ExecutorParts, LiveConfig};
use crate::graph::GraphService;
use crate::ids::InstanceId;
use crate::intake::Directory;
use crate::metrics::Metrics;
use crate::store::SqliteLock;
use crate::store::{DatabaseUrl, NewInstance, Store, StoreError};

/// Why a daemon does not start, or has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The ledger cannot be opened.
    #[error("cannot open the ledger {url}")]
    Store {
        /// Where, without a password.
        url: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: is another daemon running there? choose another with --listen")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Whoever is on the network could read tokens and sessions.
    #[error(
        "refusing to listen on {address} without TLS: set tls.certificate_file and tls.private_key_file, or say \
         --behind-proxy where a reverse proxy speaks TLS in front of it"
    )]
    Exposed {
        /// The address.
        address: String,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot speak TLS")]
    Tls(#[source] TlsError),
    /// The operating system refuses threads.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// The Graph client cannot be set up.
    #[error("cannot set up the client of Microsoft Graph")]
    Graph(#[source] crate::graph::GraphSetupError),
    /// An actor died that the process cannot do without.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The ledger says that this instance was declared dead.
    #[error("this instance was declared dead by another: start again, with a fresh instance id")]
    DeclaredDead,
    /// A task that must not end has ended.
    #[error("the daemon's {task} has died")]
    TaskDied {
        /// Which.
        task: &'static str,
    },
}

/// What may be told to a running daemon.
#[derive(Clone, Debug)]
pub enum Control {
    /// Drain and stop.
    Stop,
    /// Reconcile every workspace now; the name says who asks.
    ReconcileAll(&'static str),
    /// Log the actor tree.
    LogTree,
    /// Take over another configuration, which was validated: limits of executions, cooldowns, clouds, credentials.
    /// What the daemon was built with (addresses, pools, gate, actors) stays as it is.
    Reload(Arc<Config>),
    /// Drop this, once everything that was told before is done: whoever waits for that hears it.
    Settle(mpsc::Sender<()>),
}

/// A running daemon. Dropping it stops it and waits.
pub struct Daemon {
    address: SocketAddr,
    handle: Handle,
    control: mpsc::Sender<Control>,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
}

/// Admission transactions under way at the same time on PostgreSQL: one is written while the next is gathered.
const WRITES_MAX: usize = 2;
/// What the last lines of the audit get to be written.
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);
/// Commands that may wait for the daemon.
const CONTROL_MAX: usize = 64;

impl Daemon {
    /// Starts a daemon on a thread of its own; returns when it admits work.
    ///
    /// # Errors
    /// [`DaemonError`]; nothing is left running.
    pub fn start(options: DaemonOptions) -> Result<Self, DaemonError> {
        let listener = options.bind()?;
        let address = listener
            .local_addr()
            .map_err(|source| DaemonError::Listen { address: options.listen.clone(), source })?;
        let lock = options.lock()?;
        let (control, commands) = mpsc::channel(CONTROL_MAX);
        let (up, started) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("atlasd-actors".to_owned())
            .spawn(move || run(options, listener, lock, commands, up))
            .map_err(DaemonError::Runtime)?;
        match started.blocking_recv() {
            Ok(handle) => Ok(Self { address, handle, control, thread: Some(thread) }),
            Err(_) => Err(join(thread).expect_err("a daemon that never came up has an error to tell")),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the rest of the program may ask of its actors.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The way to tell it something, for signal handlers.
    pub fn control(&self) -> mpsc::Sender<Control> {
        self.control.clone()
    }

    /// Waits until it has done what it was told so far, and what it does by itself when it starts; or has ended.
    pub async fn settled(&self) {
        let (sign, mut dropped) = mpsc::channel(1);
        if self.control.send(Control::Settle(sign)).await.is_ok() {
            dropped.recv().await;
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Drains, stops, and waits for the end.
    ///
    /// # Errors
    /// The reason when it ended by itself before.
    pub fn stop(mut self) -> Result<(), DaemonError> {
        self.stop_and_join()
    }

    /// Waits until it ends: by a [`Control::Stop`], or by itself.
    ///
    /// # Errors
    /// The reason when it ended by itself.
    pub fn wait(mut self) -> Result<(), DaemonError> {
        self.thread.take().map_or(Ok(()), join)
    }

    fn stop_and_join(&mut self) -> Result<(), DaemonError> {
        // Closed: it is stopping already. Full: so many commands wait that one of them will have to be tried again.
        while let Err(mpsc::error::TrySendError::Full(_)) = self.control.try_send(Control::Stop) {
            std::thread::yield_now();
        }
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop_and_join() {
            tracing::error!(error = &error as &dyn std::error::Error, "the daemon had ended by itself");
        }
    }
}

fn join(thread: JoinHandle<Result<(), DaemonError>>) -> Result<(), DaemonError> {
    thread.join().unwrap_or(Err(DaemonError::TaskDied { task: "main thread" }))
}

/// The daemon's thread: the runtime, the actix system, and the daemon in them.
fn run(
    options: DaemonOptions,
    listener: TcpListener,
    lock: Option<SqliteLock>,
    commands: mpsc::Receiver<Control>,
    up: oneshot::Sender<Handle>,
) -> Result<(), DaemonError> {
    options.migrate_if_asked()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.worker_threads)
        .thread_name("atlasd")
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let runtime = Arc::new(runtime);
    let system = actix::System::with_tokio_rt({
        let runtime = runtime.clone();
        move || runtime
    });
    let ended = system.block_on(serve(&options, &runtime, listener, lock.is_some(), commands, up));
    drop(system);
    // The lock outlives everything that writes to the file.
    drop(lock);
    ended
}

async fn serve(
    options: &DaemonOptions,
    runtime: &Arc<Runtime>,
    listener: TcpListener,
    sole: bool,
    commands: mpsc::Receiver<Control>,
    up: oneshot::Sender<Handle>,
) -> Result<(), DaemonError> {
    let began = tokio::time::Instant::now();
    let tls = Tls::load(&options.config.tls).map_err(DaemonError::Tls)?;
    let mut parts = Built::build(options, runtime, sole).await?;
    let address =
        listener.local_addr().map_or_else(|_| options.listen.clone(), |address| address.to_string());
    let admin = AdminState::new(
        parts.handle.clone(),
        parts.directory.clone(),
        parts.audit.clone(),
        options.config.clone(),
    );
    let (server, http) = crate::admin::start(listener, admin.clone(), &options.config.http, tls.as_ref())
        .map_err(|source| DaemonError::Listen { address: options.listen.clone(), source })?;
    let server = actix::spawn(server);
    tracing::info!(
        address,
        database = %options.database_url,
        instance.id = %parts.instance,
        duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "the daemon admits work"
    );
    options.manager.ready();
    let _ = up.send(parts.handle.clone());
    // Several that start together come to one pass; what died before is found by the watch besides.
    let apart = *options.config.execution.lease * 2;
    parts.triggers.reconcile_all_unless_within(apart, "startup").await;
    let ended = parts.run_until_told(commands, &admin, tls.as_ref()).await;
    if let Err(error) = &ended {
        tracing::error!(error = error as &dyn std::error::Error, "the daemon ends by itself");
    }
    options.manager.stopping();
    parts.stop(*options.config.shutdown.drain, http).await;
    server.abort();
    ended
}

/// The built parts.
struct Built {
    store: Store,
    instance: InstanceId,
    board: Board,
    gate: Gate,
    supervisor: actix::Addr<Supervisor>,
    handle: Handle,
    directory: Directory,
    audit: Audit,
    triggers: triggers::Triggers,
    executor_parts: Arc<ExecutorParts>,
    fatal: mpsc::Receiver<Fatal>,
    pulse: tokio::task::JoinHandle<()>,
    watch: tokio::task::JoinHandle<()>,
    hints: tokio::task::JoinHandle<()>,
    retention: tokio::task::JoinHandle<()>,
    schedules: tokio::task::JoinHandle<()>,
    census: tokio::task::JoinHandle<()>,
    checkup: tokio::task::JoinHandle<()>,
    herald: tokio::task::JoinHandle<()>,
    manager: Manager,
    signs: tokio::task::JoinHandle<()>,
}

impl Built {
    async fn build(options: &DaemonOptions, runtime: &Arc<Runtime>, sole: bool) -> Result<Self, DaemonError> {
        let config = options.config.clone();
        let store_error = |source| DaemonError::Store { url: options.database_url.to_string(), source };
        let clock = options.clock.clone();
        let store =
            Store::open(&options.database_url, &config.database, clock.clone(), runtime.handle().clone())
                .await
                .map_err(store_error)?;
        let instance = InstanceId::fresh();
        let row = NewInstance {
            id: instance,
            hostname: hostname(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lease: *config.execution.lease,
        };
        let leased_at = tokio::time::Instant::now();
        let step = store.register_instance(&row, sole).await.map_err(store_error)?;
        let holders = store.holders().await.map_err(store_error)?;
        let metrics = Metrics::new();
        metrics.started.set(clock.now().micros() as f64 / 1e6);
        let board = Board::default();
        let fleet = Fleet::default();
        let gate = Gate::new(config.admission.waiting_max);
        let health = Health::default();
        health.set_ledger(true);
        let graph = GraphService::new(&config, clock.clone(), metrics.clone()).map_err(DaemonError::Graph)?;
        let events = Events::new(&config.events, instance, clock.clone(), metrics.clone());
        let executor_parts = Arc::new(ExecutorParts {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            events: events.clone(),
            live: LiveConfig::new(config.clone(), graph),
            board: board.clone(),
        });
        let (fatal_told, fatal) = mpsc::channel(1);
        let supervisor_parts = Parts {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            instance,
            board: board.clone(),
            fleet: fleet.clone(),
            registry_limits: RegistryLimits {
                batch_max: config.admission.batch_max,
                duplicates_flush: *config.admission.duplicates_flush,
                memory_max: store.is_shared().then_some(*config.admission.memory_max),
                writes_max: if store.is_shared() { WRITES_MAX } else { 1 },
            },
            tenants_max: config.execution.tenants_max,
            idle_after: *config.execution.idle_after,
            executor_parts: executor_parts.clone(),
        };
        let supervisor = Supervisor::new(supervisor_parts, holders, fatal_told.clone()).start();
        let registry = supervisor.send(RegistryAddress).await.ok().flatten();
        let registry = registry.ok_or(Fatal { child: "run registry" })?;
        let handle = Handle::new(
            registry,
            supervisor.clone(),
            gate.clone(),
            board.clone(),
            store.clone(),
            metrics.clone(),
            events.clone(),
            health.clone(),
            instance,
            clock.now(),
        );
        let directory = Directory::new(store.clone());
        let (audit, write_audit) = Audit::new(store.clone(), clock.clone());
        runtime.spawn(write_audit);
        let triggers = triggers::Triggers::new(handle.clone());
        let rounds = manager::Rounds::default();
        let signs = runtime.spawn(options.manager.keep(handle.clone(), rounds.clone(), config.clone()));
        let pulse = pulse::Pulse::new(
            store.clone(),
            instance,
            clock,
            board.clone(),
            health,
            (rounds, metrics.clone()),
            &config,
        );
        if let Some(step) = step {
            pulse.clock_was_set_back(step);
        }
        let watch = watch::Watch::new(handle.clone(), triggers.clone(), supervisor.clone(), fleet, &config);
        let hints = hints::Hints {
            handle: handle.clone(),
            supervisor: supervisor.clone(),
            beat_soon: pulse.soon(),
            look_soon: watch.soon(),
        };
        let hints = runtime.spawn(hints.hand_on(store.listen(instance, &metrics)));
        let pulse = runtime.spawn(pulse.beat(leased_at));
        let watch = runtime.spawn(watch.watch());
        let retention = runtime.spawn(retention::Retention::new(store.clone(), &config).keep());
        let schedules = schedules::Schedules::new(handle.clone(), directory.clone(), executor_parts.clone());
        let schedules = runtime.spawn(schedules.keep());
        let census = runtime.spawn(census::keep(store.clone(), metrics.clone()));
        let checkup = runtime.spawn(checkup::Checkup::new(store.clone(), metrics, &config).keep());
        let herald = runtime.spawn(herald::Herald::new(events, board.clone(), &config).tell());
        Ok(Self {
            store,
            instance,
            board,
            gate,
            supervisor,
            handle,
            directory,
            audit,
            triggers,
            executor_parts,
            fatal,
            pulse,
            watch,
            hints,
            retention,
            schedules,
            census,
            checkup,
            herald,
            manager: options.manager,
            signs,
        })
    }

    /// Carries commands out until one says stop, or something dies that must not.
    async fn run_until_told(
        &mut self,
        mut commands: mpsc::Receiver<Control>,
        admin: &AdminState,
        tls: Option<&Tls>,
    ) -> Result<(), DaemonError> {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Control::Stop) | None => return Ok(()),
                    Some(Control::ReconcileAll(by)) => self.triggers.reconcile_all(by).await,
                    Some(Control::LogTree) => self.log_tree().await,
                    Some(Control::Reload(config)) => self.reload(config, admin, tls),
                    Some(Control::Settle(sign)) => drop(sign),
                },
                fatal = self.fatal.recv() => {
                    return Err(fatal.unwrap_or(Fatal { child: "supervisor" }).into());
                }
                ended = &mut self.pulse => {
                    return Err(match ended {
                        Ok(()) => DaemonError::DeclaredDead,
                        Err(_) => DaemonError::TaskDied { task: "heartbeat" },
                    });
                }
                _ = &mut self.herald => return Err(DaemonError::TaskDied { task: "herald of events" }),
                _ = &mut self.watch => return Err(DaemonError::TaskDied { task: "watch over the ledger" }),
                _ = &mut self.schedules => return Err(DaemonError::TaskDied { task: "schedules" }),
                _ = &mut self.retention => return Err(DaemonError::TaskDied { task: "retention" }),
            }
        }
    }

    fn reload(&self, config: Arc<Config>, admin: &AdminState, tls: Option<&Tls>) {
        self.manager.reloading();
        if let Some(Err(error)) = tls.map(|tls| tls.reload(&config.tls)) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the new certificate cannot be used; the old one stays"
            );
        }
        self.take_over(config, admin);
        self.manager.ready();
    }

    fn take_over(&self, config: Arc<Config>, admin: &AdminState) {
        let parts = &self.executor_parts;
        match GraphService::new(&config, parts.clock.clone(), parts.metrics.clone()) {
            Ok(graph) => {
                let Changes { now, at_next_start } = parts.live.get().0.changes(&config);
                parts.live.set(config.clone(), graph);
                admin.reload(config);
                tracing::info!(
                    changed = now.join(" "),
                    at_next_start = at_next_start.join(" "),
                    "the configuration was read again"
                );
                if !at_next_start.is_empty() {
                    tracing::warn!(
                        keys = at_next_start.join(" "),
                        "these keys of the new configuration count after a restart alone"
                    );
                }
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the new configuration cannot be used; the old one stays"
            ),
        }
    }

    async fn log_tree(&self) {
        let report = self.handle.system().await;
        for actor in report.actors {
            tracing::info!(
                actor.name = actor.name.as_str(),
                actor.state = actor.state.as_str(),
                actor.queue = actor.queue,
                actor.restarts = actor.restarts,
                actor.last_pass = actor.last_pass.as_deref(),
                "an actor of the tree"
            );
        }
    }

    async fn stop(self, drain: Duration, http: HttpHandle) {
        tracing::info!(
            drain_s = drain.as_secs(),
            executions = self.board.len(),
            "the daemon drains: nothing is admitted any more"
        );
        self.gate.close();
        self.signs.abort();
        self.watch.abort();
        self.hints.abort();
        self.retention.abort();
        self.schedules.abort();
        self.census.abort();
        self.checkup.abort();
        // The supervisor may be what has died.
        let _ = self.supervisor.send(Drain { budget: drain }).await;
        self.board.stop_all(StopCause::Draining);
        // Readers would hold the endpoint up; by now they have heard of the last runs.
        self.handle.events().close();
        self.herald.abort();
        http.stop(true).await;
        // Nobody asks any more: what was asked is written to the last line.
        self.audit.close(AUDIT_PATIENCE).await;
        self.pulse.abort();
        if let Err(error) = self.store.stop_instance(self.instance).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the instance's end could not be written"
            );
        }
        self.store.close().await;
        tracing::info!("the daemon has stopped");
    }
}

/// The machine's name, for the instance's row; `unknown` where the system does not tell.
fn hostname() -> String {
    let from_file = std::fs::read_to_string("/etc/hostname").ok();
    let name = from_file.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.chars().take(255).collect() }
}

impl DaemonOptions {
    fn lock(&self) -> Result<Option<SqliteLock>, DaemonError> {
        let DatabaseUrl::Sqlite(path) = &self.database_url else { return Ok(None) };
        let lock = SqliteLock::acquire(path)
            .map_err(|source| DaemonError::Store { url: self.database_url.to_string(), source })?;
        Ok(Some(lock))
    }

    fn migrate_if_asked(&self) -> Result<(), DaemonError> {
        if self.migrate {
            crate::store::migrate_with(&self.database_url, &self.config.database)
                .map_err(|source| DaemonError::Store { url: self.database_url.to_string(), source })?;
        }
        Ok(())
    }
}
