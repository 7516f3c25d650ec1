//! A daemon's place: its address, its way to the ledger, its log. Whoever sits there is started again after an end that
//! nobody asked for, as systemd would do it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use atlasd::daemon::Daemon;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bed::{Bed, Client, tick};
use crate::process::{Launch, Process, free_address};
use crate::proxy::Proxy;

/// How long a daemon may take to admit work again once all is well.
const RECOVERY: Duration = Duration::from_secs(45);
/// The pause before it is started again.
const RESTART: Duration = Duration::from_millis(200);

/// The place.
pub struct Seat {
    pub address: SocketAddr,
    /// Between it and PostgreSQL.
    pub proxy: Option<Proxy>,
    url: String,
    environment: Vec<(String, String)>,
    log: PathBuf,
    occupant: Mutex<Occupant>,
    /// Ends that nobody asked for.
    ends: Mutex<Vec<String>>,
}

enum Occupant {
    Nobody,
    Process(Process),
    /// In this process, where its actors can be reached.
    Here(Box<Daemon>),
}

impl Seat {
    pub async fn new(
        bed: &Bed,
        number: usize,
        server: Option<SocketAddr>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let mut url = bed.database.url_text();
        let mut proxy = None;
        if let Some(server) = server {
            let way = Proxy::start(server.to_string()).await;
            url = url.replacen(&server.to_string(), &way.address.to_string(), 1);
            proxy = Some(way);
        }
        let log = bed.directory.path().join(format!("daemon-{number}.log"));
        let (occupant, ends) = (Mutex::new(Occupant::Nobody), Mutex::default());
        Self { address: free_address(), proxy, url, environment, log, occupant, ends }
    }

    pub fn client(&self, bed: &Bed) -> Client {
        bed.client(self.address)
    }

    pub fn client_with(&self, token: &str) -> Client {
        Client::new(&format!("http://{}", self.address), token)
    }

    fn launch(&self, bed: &Bed) -> Process {
        let launch = Launch {
            address: self.address,
            database_url: self.url.clone(),
            environment: self.environment.clone(),
            log: self.log.clone(),
        };
        Process::launch(bed, &launch)
    }

    /// Puts a process here, and does not wait for it.
    pub async fn start(&self, bed: &Bed) {
        *self.occupant.lock().await = Occupant::Process(self.launch(bed));
    }

    /// Puts a daemon here that runs in this process.
    pub async fn start_here(&self, bed: &Bed) {
        let mut options = bed.options();
        options.database_url = self.url.parse().expect("a URL");
        options.listen = self.address.to_string();
        let daemon = tokio::task::spawn_blocking(move || Daemon::start(options)).await.expect("it returns");
        *self.occupant.lock().await = Occupant::Here(Box::new(daemon.expect("the daemon starts")));
    }

    /// `kill -9`, and a fresh start a little later.
    pub async fn kill(&self, bed: &Bed, pause: Duration) {
        let mut occupant = self.occupant.lock().await;
        if let Occupant::Process(process) = std::mem::replace(&mut *occupant, Occupant::Nobody) {
            process.kill();
        }
        tokio::time::sleep(pause).await;
        *occupant = Occupant::Process(self.launch(bed));
    }

    /// SIGTERM, its end, and a fresh start; the exit code. `None` where somebody else ended it.
    pub async fn stop(&self, bed: &Bed) -> Option<i32> {
        let told = {
            let mut occupant = self.occupant.lock().await;
            let Occupant::Process(process) = &mut *occupant else { return None };
            if process.ended().is_some() {
                return None;
            }
            process.signal("TERM");
            process.id()
        };
        let begun = Instant::now();
        loop {
            // The place is free in between: another fault may strike meanwhile.
            if let Occupant::Process(process) = &mut *self.occupant.lock().await {
                if process.id() != told {
                    return None;
                }
                if let Some(status) = process.ended() {
                    *process = self.launch(bed);
                    return status.code();
                }
            }
            assert!(
                begun.elapsed() < RECOVERY,
                "a daemon that was told to stop is still there:\n{}",
                self.tail()
            );
            tick().await;
        }
    }

    /// Sends a signal to the process here.
    pub async fn signal(&self, name: &str) {
        if let Occupant::Process(process) = &mut *self.occupant.lock().await
            && process.ended().is_none()
        {
            process.signal(name);
        }
    }

    /// Looks at the daemon that runs in this process.
    pub async fn with_daemon<T>(&self, look: impl AsyncFnOnce(&Daemon) -> T) -> T {
        match &*self.occupant.lock().await {
            Occupant::Here(daemon) => look(daemon).await,
            _ => panic!("no daemon runs in this process"),
        }
    }

    /// Waits until whoever sits here admits work, starting it again where it has ended by itself; how long it took.
    pub async fn recovered(&self, bed: &Bed) -> Duration {
        let begun = Instant::now();
        loop {
            self.tend(bed).await;
            if self.is_ready().await {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < RECOVERY,
                "{} does not admit work after {RECOVERY:?}:\n{}",
                self.address,
                self.tail()
            );
            tick().await;
        }
    }

    /// Starts the daemon again where it has ended by itself.
    async fn tend(&self, bed: &Bed) {
        let mut occupant = self.occupant.lock().await;
        let end = match &mut *occupant {
            Occupant::Nobody => None,
            Occupant::Process(process) => process.ended().map(|status| (status.code(), self.last_words())),
            Occupant::Here(daemon) if daemon.has_ended() => {
                let Occupant::Here(daemon) = std::mem::replace(&mut *occupant, Occupant::Nobody) else {
                    return;
                };
                let ended = tokio::task::spawn_blocking(move || daemon.wait()).await.expect("it returns");
                Some((
                    Some(i32::from(ended.is_err())),
                    ended.map_or_else(|error| error.to_string(), |()| String::new()),
                ))
            }
            Occupant::Here(_) => None,
        };
        if let Some((code, words)) = end {
            assert_eq!(
                code,
                Some(1),
                "a daemon ends by itself only with exit code 1 and a word why:\n{}",
                self.tail()
            );
            assert!(!words.is_empty(), "a daemon ended without a word why:\n{}", self.tail());
            self.ends.lock().await.push(words);
            tokio::time::sleep(RESTART).await;
            *occupant = Occupant::Process(self.launch(bed));
        }
    }

    async fn is_ready(&self) -> bool {
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(2)).build().expect("a client builds");
        let ready = client.get(format!("http://{}/readyz", self.address)).send().await;
        ready.is_ok_and(|ready| ready.status() == 200)
    }

    /// Stops whoever sits here, for good; the exit code.
    pub async fn leave(&self) -> Option<i32> {
        match std::mem::replace(&mut *self.occupant.lock().await, Occupant::Nobody) {
            Occupant::Nobody => None,
            Occupant::Process(process) => {
                process.signal("TERM");
                process.exit_code()
            }
            Occupant::Here(daemon) => {
                let stopped = tokio::task::spawn_blocking(move || daemon.stop()).await.expect("it returns");
                Some(i32::from(stopped.is_err()))
            }
        }
    }

    /// Ends that nobody asked for, with what the daemon said.
    pub async fn ends(&self) -> Vec<String> {
        self.ends.lock().await.clone()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        self.log().lines().last().unwrap_or_default().to_owned()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}
