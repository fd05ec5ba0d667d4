//! `PostgreSQL`, over a bb8 pool of tokio-postgres.

use std::net::SocketAddr;

use bb8::Pool;
use bb8_postgres::{
    PostgresConnectionManager,
    tokio_postgres::{Config, NoTls},
};

use super::{Asked, Connections, TAKES, cause};

/// The pool.
pub struct Postgres(Pool<PostgresConnectionManager<NoTls>>);

impl Postgres {
    /// With so many connections.
    pub async fn connect(at: SocketAddr, count: usize) -> Result<Self, String> {
        let mut config = Config::new();
        config.host(at.ip().to_string()).port(at.port());
        config.user("postgres").dbname("pooled");
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let pool = Pool::builder().max_size(count).min_idle(count);
        let pool = pool.build(PostgresConnectionManager::new(config, NoTls));
        let connected = pool.await.map(Self);
        connected.map_err(|error| format!("connect to PostgreSQL: {}", cause(&error)))
    }
}

impl Asked for Postgres {
    async fn ask(&self, _: usize) -> Result<(), String> {
        let client = self.0.get().await.map_err(|error| cause(&error))?;
        let statement = format!("select pg_sleep({})", TAKES.as_secs_f64());
        let done = client.batch_execute(&statement).await;
        done.map_err(|error| cause(&error))
    }

    fn connections(&self) -> Connections {
        let state = self.0.state();
        Connections {
            open: state.connections.into(),
            opened: state.statistics.connections_created,
        }
    }
}
