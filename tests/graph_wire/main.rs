//! The client of Microsoft Graph against a server that says exactly what a test wants, over a real socket.

mod support;

mod batch;
mod calls;
mod fetch;
mod token;
