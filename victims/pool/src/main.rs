//! A pool is a client that keeps connections to a server and asks over them, and says how that goes: what a fault does to
//! connections is seen in its figures. With it comes a small HTTP server, which says what it sees from its side.
//!
//! Nothing in it is a model of a pool: the pools, and what they do when a connection is gone, are those of the crates that
//! programs use, as they are without any setting.

#![forbid(unsafe_code)]

mod asked;
mod figures;
mod load;
mod server;

use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    asked::{http::Http, postgres::Postgres, redis::Redis},
    load::Load,
};

/// A client with a pool of connections, or an HTTP server; a line of figures ten times a second.
#[derive(Debug, Parser)]
#[command(name = "pool", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask a server over a pool of connections, until SIGTERM.
    Ask {
        /// What is spoken.
        #[arg(value_enum)]
        protocol: Protocol,
        /// Where the server is.
        #[arg(long)]
        at: SocketAddr,
        /// How many connections there are.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        connections: u32,
        /// For so many of them there is work four times a second only.
        #[arg(long, default_value_t = 0)]
        idle: u32,
    },
    /// Answer HTTP/1.1 and HTTP/2, until SIGTERM.
    Serve {
        /// Where it listens.
        #[arg(long)]
        at: SocketAddr,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    /// bb8 with tokio-postgres, to the database `pooled`.
    Postgres,
    /// bb8 with rustis.
    Redis,
    /// A client of hyper-util for each connection, HTTP/1.1.
    Http1,
    /// The same with HTTP/2, and two requests at a time over each.
    Http2,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let done = runtime
        .map_err(|error| format!("start: {error}"))
        .and_then(|runtime| runtime.block_on(run(Cli::parse().verb)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Where nobody can be told, the exit code still says it.
            let _ = writeln!(io::stderr(), "pool: failed to {message}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked, until SIGTERM or until nobody hears it any more.
async fn run(verb: Verb) -> Result<(), String> {
    let term = signal(SignalKind::terminate());
    let mut term = term.map_err(|error| format!("wait for SIGTERM: {error}"))?;
    let over = async move {
        term.recv().await;
    };
    match verb {
        Verb::Serve { at } => server::run(at, over).await,
        Verb::Ask {
            protocol,
            at,
            connections,
            idle,
        } => {
            let load = Load {
                connections: connections as usize,
                idle: idle as usize,
            };
            ask(protocol, at, load, over).await
        }
    }
}

async fn ask(
    protocol: Protocol,
    at: SocketAddr,
    load: Load,
    over: impl Future<Output = ()>,
) -> Result<(), String> {
    let n = load.connections;
    match protocol {
        Protocol::Postgres => load.run(Postgres::connect(at, n).await?, over).await,
        Protocol::Redis => load.run(Redis::connect(at, n).await?, over).await,
        Protocol::Http1 => load.run(Http::one(at, n), over).await,
        Protocol::Http2 => load.run(Http::two(at, n), over).await,
    }
}
