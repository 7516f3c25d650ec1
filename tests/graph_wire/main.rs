//! The client of Microsoft Graph against a server that says exactly what a test wants, over a real socket.

mod support;

mod batch;
mod calls;
mod retry_after;
mod token;

mod budget;
mod fetch;
mod permissions;

mod directory;
mod live;
mod write;
