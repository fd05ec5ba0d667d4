//! Redis, over a bb8 pool of rustis, whose clients connect again by themselves.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bb8::{CustomizeConnection, Pool};
use rustis::{
    client::{ExclusiveClient, PooledClientManager},
    commands::BlockingCommands,
};
use tokio::sync::broadcast::error::RecvError;

use super::{Asked, Connections, TAKES, cause};

/// A list in which there never is anything.
const NOTHING: &str = "nothing";

/// The pool.
pub struct Redis {
    pool: Pool<PooledClientManager>,
    reconnected: Reconnected,
}

/// How often clients have connected again, of which their pool knows nothing.
#[derive(Clone, Debug, Default)]
struct Reconnected(Arc<AtomicU64>);

impl CustomizeConnection<ExclusiveClient, rustis::Error> for Reconnected {
    fn on_acquire<'a>(
        &'a self,
        client: &'a mut ExclusiveClient,
    ) -> Pin<Box<dyn Future<Output = Result<(), rustis::Error>> + Send + 'a>> {
        let mut reconnects = client.on_reconnect();
        let count = Arc::clone(&self.0);
        tokio::spawn(async move {
            loop {
                let more = match reconnects.recv().await {
                    Ok(()) => 1,
                    Err(RecvError::Lagged(missed)) => missed,
                    Err(RecvError::Closed) => break,
                };
                count.fetch_add(more, Ordering::Relaxed);
            }
        });
        Box::pin(async { Ok(()) })
    }
}

impl Redis {
    /// With so many connections.
    pub async fn connect(at: SocketAddr, count: usize) -> Result<Self, String> {
        let failed = |error: rustis::Error| format!("connect to Redis: {}", cause(&error));
        let reconnected = Reconnected::default();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let manager = PooledClientManager::new(format!("redis://{at}")).map_err(failed)?;
        let pool = Pool::builder().max_size(count).min_idle(count);
        let pool = pool.connection_customizer(Box::new(reconnected.clone()));
        let pool = pool.build(manager).await.map_err(failed)?;
        Ok(Self { pool, reconnected })
    }
}

impl Asked for Redis {
    async fn ask(&self, _: usize) -> Result<(), String> {
        let client = self.pool.get().await.map_err(|error| cause(&error))?;
        let popped = client.blpop::<String, String>(NOTHING, TAKES.as_secs_f64());
        match popped.await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("something came out of nothing".into()),
            Err(error) => Err(cause(&error)),
        }
    }

    fn connections(&self) -> Connections {
        let state = self.pool.state();
        let again = self.reconnected.0.load(Ordering::Relaxed);
        Connections {
            open: state.connections.into(),
            opened: state.statistics.connections_created + again,
        }
    }
}
