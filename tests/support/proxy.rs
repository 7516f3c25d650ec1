//! A TCP proxy in front of PostgreSQL that plays a bad network: cut, silent, forgetful, slow.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// What comes is forwarded.
    Fair,
    /// Every connection is dropped, and every new one.
    Cut,
    /// Connections stay open, new ones are taken, and nothing is forwarded; what was sent is delivered in fair weather.
    Silent,
    /// Everything is held back for a while.
    Late(Duration),
    /// A few bytes at a time, each held back for a while.
    Dribbling {
        /// How many.
        bytes: usize,
        /// For how long.
        pause: Duration,
    },
}

#[derive(Clone, Copy)]
struct State {
    weather: Weather,
    /// Connections before this one are forgotten: silent whatever the weather, for ever.
    remembered_from: u64,
}

/// The proxy.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    /// The next connection's number.
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Proxy {
    /// Forwards a free loopback port to `target`.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(watch::Sender::new(State { weather: Weather::Fair, remembered_from: 0 }));
        let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (states, numbers) = (state.clone(), next.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::spawn(connection(client, target.clone(), states.subscribe(), number));
            }
        });
        Self { address, state, next }
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Drops every connection and every new one.
    pub fn cut(&self) {
        self.set(Weather::Cut);
    }

    /// Forwards again.
    pub fn mend(&self) {
        self.set(Weather::Fair);
    }

    /// Forgets all connections, as a router does whose table was lost: they stay open, and silent for ever.
    pub fn forget(&self) {
        let next = self.next.load(std::sync::atomic::Ordering::SeqCst);
        self.state.send_modify(|state| state.remembered_from = next);
    }
}

async fn connection(client: TcpStream, target: String, mut state: watch::Receiver<State>, number: u64) {
    // Taken by the network, but nobody has answered yet.
    if state.wait_for(|state| state.weather != Weather::Silent).await.is_err() {
        return;
    }
    if state.borrow().weather == Weather::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(&target).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let there = tokio::spawn(pump(from_client, to_server, state.clone(), number));
    let back = tokio::spawn(pump(from_server, to_client, state, number));
    let (there, back) = (there.await, back.await);
    drop((there, back));
}

/// Forwards one direction until its end, or until the connection is cut; an end is forwarded, too.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    number: u64,
) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let most = match state.borrow_and_update().weather {
            Weather::Dribbling { bytes, .. } => bytes.min(buffer.len()),
            _ => buffer.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read,
            _ = state.wait_for(|state| state.weather == Weather::Cut) => return,
        };
        let Ok(read) = read else { return };
        let passing =
            state.wait_for(|state| state.weather != Weather::Silent && number >= state.remembered_from);
        let Ok(weather) = passing.await.map(|state| state.weather) else { return };
        match weather {
            Weather::Cut => return,
            Weather::Late(pause) | Weather::Dribbling { pause, .. } => tokio::time::sleep(pause).await,
            Weather::Fair | Weather::Silent => {}
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
