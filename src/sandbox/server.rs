//! The server: its own thread with its own actix System, so that it runs beside any other runtime of the process.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::stream;
use tokio::sync::oneshot;

use super::answer::{Answer, Body, Transport};
use super::config::SandboxConfig;
use super::control::SandboxControl;
use super::control_http;
use super::dispatch::{self, Incoming, Outgoing};
use super::gates::Hold;
use super::state::World;
use super::steps;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 4 << 20;
/// The pieces in which a slow body comes.
const SLOW_PIECES: usize = 10;

/// A running sandbox; it stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    control: SandboxControl,
    address: SocketAddr,
    handle: ServerHandle,
    /// Resolves when the server's thread has ended.
    ended: oneshot::Receiver<Infallible>,
}

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no thread for the server.
    #[error("cannot start the sandbox's thread")]
    Thread(#[source] io::Error),
}

impl Sandbox {
    /// Starts a sandbox; port 0 takes a free one. Needs no runtime of its own kind: any that drives futures will do.
    ///
    /// # Errors
    /// When the address cannot be listened on, or no thread can be started.
    pub async fn start(config: SandboxConfig, listen: SocketAddr) -> Result<Self, SandboxError> {
        let latency = config.latency;
        let control = SandboxControl::new(World::seeded(config));
        let shared = control.clone();
        let (started_tx, started) = oneshot::channel();
        let (ended_tx, ended) = oneshot::channel();
        thread::Builder::new()
            .name("graph-sandbox".to_owned())
            .spawn(move || {
                let _ended = ended_tx;
                actix_web::rt::System::new().block_on(serve(shared, latency, listen, started_tx));
            })
            .map_err(SandboxError::Thread)?;
        let started = started.await.unwrap_or_else(|_| Err(io::Error::other("the server's thread ended")));
        let (address, handle) = started.map_err(|source| SandboxError::Listen { listen, source })?;
        Ok(Self { control, address, handle, ended })
    }

    /// The base URL of sign-in, Graph and control: `http://address`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The world, to look at and to change.
    pub fn state(&self) -> SandboxControl {
        self.control.clone()
    }

    /// Stops the server and waits for it; open connections are closed.
    pub async fn stop(mut self) {
        self.handle.stop(false).await;
        let ended = &mut self.ended;
        // The sender is dropped with the thread's closure, never used.
        let _ = ended.await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The command is sent at once; nobody needs to wait for its end.
        drop(self.handle.stop(false));
    }
}

async fn serve(
    control: SandboxControl,
    latency: Duration,
    listen: SocketAddr,
    started: oneshot::Sender<io::Result<(SocketAddr, ServerHandle)>>,
) {
    let control = Data::new(control);
    let wire = Data::new(Wire { latency, in_flight: AtomicU64::new(0) });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(control.clone())
            .app_data(wire.clone())
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .app_data(web::JsonConfig::default().limit(BODY_BYTES_MAX))
            .route("/_sandbox/trap", web::to(handle))
            .service(web::scope("/_sandbox").configure(control_http::routes))
            .default_service(web::to(handle))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .on_connect(keep_socket)
    .bind(listen);
    let bound = server.and_then(|server| {
        let address =
            server.addrs().first().copied().ok_or_else(|| io::Error::other("no address was bound"))?;
        Ok((address, server.run()))
    });
    match bound {
        Ok((address, server)) => {
            let handle = server.handle();
            // The starter may be gone already: then nobody else would stop the server.
            if started.send(Ok((address, handle.clone()))).is_err() {
                drop(handle.stop(false));
            }
            if let Err(error) = server.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the sandbox's server failed");
            }
        }
        Err(error) => drop(started.send(Err(error))),
    }
}

/// What all requests share besides the world.
struct Wire {
    latency: Duration,
    in_flight: AtomicU64,
}

/// A request that is being answered; dropping it, also when the client has gone, ends that.
struct InFlight<'a> {
    wire: &'a Wire,
    /// How many there were when it began, itself included.
    count: u64,
}

impl<'a> InFlight<'a> {
    fn enter(wire: &'a Wire) -> Self {
        Self { wire, count: wire.in_flight.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.wire.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A second handle on a connection's socket, so that a handler can close it without an answer.
struct Socket(TcpStream);

fn keep_socket(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
        && let Ok(fd) = stream.as_fd().try_clone_to_owned()
    {
        extensions.insert(Socket(TcpStream::from(fd)));
    }
}

async fn handle(
    request: HttpRequest,
    body: Bytes,
    control: Data<SandboxControl>,
    wire: Data<Wire>,
) -> HttpResponse {
    let in_flight = InFlight::enter(&wire);
    let incoming = incoming(&request, &body);
    let holds = {
        let mut world = control.world();
        let max = &mut world.log.stats.concurrent_max;
        *max = in_flight.count.max(*max);
        steps::held_before(&mut world, &incoming)
    };
    let outgoing = if holds.is_empty() {
        Some(dispatch::incoming(&mut control.world(), incoming))
    } else {
        after(holds, control.clone(), incoming).await
    };
    let Some(mut outgoing) = outgoing else { return closed(&request) };
    for hold in std::mem::take(&mut outgoing.holds) {
        if !hold.goes_on().await {
            return closed(&request);
        }
    }
    if let Transport::Silent(whole) = outgoing.answer.transport {
        tokio::time::sleep(whole).await;
    }
    if !wire.latency.is_zero() {
        tokio::time::sleep(wire.latency).await;
    }
    drop(in_flight);
    let client_request_id = header(&request, "client-request-id");
    let id = outgoing.request_id.to_string();
    let (response, bytes) = respond(&request, outgoing.answer, &id, client_request_id);
    control.world().log.stats.bytes_sent += bytes as u64;
    response
}

/// Carries a held request out once it may go on, in a task of its own: what was on its way arrives, also when the
/// client has gone and its handler was dropped.
async fn after(holds: Vec<Hold>, control: Data<SandboxControl>, incoming: Incoming) -> Option<Outgoing> {
    let carried_out = actix_web::rt::spawn(async move {
        for hold in holds {
            if !hold.goes_on().await {
                return None;
            }
        }
        Some(dispatch::incoming(&mut control.world(), incoming))
    });
    carried_out.await.ok().flatten()
}

fn incoming(request: &HttpRequest, body: &Bytes) -> Incoming {
    Incoming {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.query_string().to_owned(),
        authorization: header(request, "Authorization").map(str::to_owned),
        client_request_id: header(request, "client-request-id").map(str::to_owned),
        other_headers: other_headers(request),
        justified: header(request, "x-msft-approval-justification").is_some(),
        body: body.to_vec(),
        base: format!("http://{}", request.connection_info().host()),
    }
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn other_headers(request: &HttpRequest) -> Vec<String> {
    let others = request.headers().iter().filter(|(name, _)| *name != "authorization");
    others.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// No answer at all: the connection ends.
fn closed(request: &HttpRequest) -> HttpResponse {
    if let Some(Socket(socket)) = request.conn_data::<Socket>() {
        // It may be closed by the client already, which is what was wanted.
        let _ = socket.shutdown(Shutdown::Both);
    }
    HttpResponse::InternalServerError().force_close().finish()
}

/// The response and the bytes of its body.
fn respond(
    request: &HttpRequest,
    answer: Answer,
    request_id: &str,
    client: Option<&str>,
) -> (HttpResponse, usize) {
    if matches!(answer.transport, Transport::Closed | Transport::Lost | Transport::Silent(_)) {
        return (closed(request), 0);
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header(("request-id", request_id));
    response.insert_header(("client-request-id", client.unwrap_or(request_id)));
    response.insert_header(("x-ms-ags-diagnostic", r#"{"ServerInfo":{"DataCenter":"Sandbox","Slice":"E"}}"#));
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    let (content_type, text) = match answer.body {
        Body::Empty => return (response.finish(), 0),
        Body::Json(value) => ("application/json", value.to_string()),
        Body::Text { content_type, text } => (content_type, text),
    };
    response.insert_header(("Content-Type", content_type));
    let bytes = text.len();
    let response = match answer.transport {
        Transport::Cut => response.body(text.chars().take(text.chars().count() / 2).collect::<String>()),
        Transport::Slow(whole) => response.streaming(in_pieces(text, whole)),
        _ => response.body(text),
    };
    (response, bytes)
}

fn in_pieces(text: String, whole: Duration) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    let bytes = Bytes::from(text);
    let size = bytes.len().div_ceil(SLOW_PIECES).max(1);
    let pause = whole / u32::try_from(SLOW_PIECES).expect("ten is a u32");
    stream::unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = left.split_to(size.min(left.len()));
        Some((Ok(piece), left))
    })
}
