//! The database is the shop's `PostgreSQL`, asked over a bounded pool of connections.

use std::{
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use tokio::{sync::Semaphore, time::timeout};
use tokio_postgres::{Client, Config, NoTls};

use super::{DATABASE_PORT, DATABASE_TIMEOUT, PRODUCTS};

/// Most connections of one catalog.
const CONNECTIONS_MAX: usize = 8;
/// Two catalogs that make the tables at the same moment would be in each other's way.
const TABLES: &str = "
    select pg_advisory_lock(78);
    create table if not exists products (id int primary key, name text not null, cents int not null);
    create table if not exists orders (
        id bigserial primary key, product int not null references products, quantity int not null,
        ordered timestamptz not null default now()
    );
    select pg_advisory_unlock(78)";

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It refused, or is not there.
    #[error("{0}")]
    Postgres(#[from] tokio_postgres::Error),
    /// The pool is no more.
    #[error("{0}")]
    Pool(#[from] io::Error),
    /// It takes too long.
    #[error("no answer from the database within {} ms", DATABASE_TIMEOUT.as_millis())]
    Late,
}

/// What is sold.
#[derive(Debug)]
pub struct Product {
    /// What it is called.
    pub name: String,
    /// What it costs.
    pub cents: i32,
}

/// The pool.
#[derive(Debug)]
pub struct Database {
    config: Config,
    places: Semaphore,
    idle: Mutex<Vec<Client>>,
}

impl Database {
    /// The one at these addresses.
    pub fn at(addresses: &[IpAddr]) -> Self {
        let mut config = Config::new();
        config.user("postgres").dbname("postgres");
        config.connect_timeout(DATABASE_TIMEOUT);
        for address in addresses {
            config.host(address.to_string()).port(DATABASE_PORT);
        }
        Self {
            config,
            places: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Makes what is missing of the tables and their contents.
    pub async fn prepare(&self) -> Result<(), DatabaseError> {
        let products = i32::try_from(PRODUCTS).unwrap_or(i32::MAX);
        self.with(async |client| {
            client.batch_execute(TABLES).await?;
            let fill = "insert into products select n, 'product ' || n, 100 * n from generate_series(1, $1) n
                on conflict do nothing";
            client.execute(fill, &[&products]).await?;
            Ok(())
        })
        .await
    }

    /// Says something if it is well.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        self.with(async |client| client.batch_execute("select 1").await)
            .await
    }

    /// A product, if there is one of that number.
    pub async fn product(&self, id: i32) -> Result<Option<Product>, DatabaseError> {
        self.with(async |client| {
            let statement = "select name, cents from products where id = $1";
            let row = client.query_opt(statement, &[&id]).await?;
            Ok(row.map(|row| Product {
                name: row.get(0),
                cents: row.get(1),
            }))
        })
        .await
    }

    /// Orders a product; the number of the order.
    pub async fn order(&self, product: i32, quantity: i32) -> Result<i64, DatabaseError> {
        self.with(async |client| {
            let statement = "insert into orders (product, quantity) values ($1, $2) returning id";
            let row = client.query_one(statement, &[&product, &quantity]).await?;
            Ok(row.get(0))
        })
        .await
    }

    /// Does work on a connection, which goes back to the pool if it went well.
    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let all = async {
            let _place = self.places.acquire().await.map_err(io::Error::other)?;
            let client = self.client().await?;
            let done = work(&client).await?;
            self.idle().push(client);
            Ok(done)
        };
        match timeout(DATABASE_TIMEOUT, all).await {
            Ok(done) => done,
            Err(_) => Err(DatabaseError::Late),
        }
    }

    async fn client(&self) -> Result<Client, DatabaseError> {
        while let Some(idle) = self.take_idle() {
            if !idle.is_closed() {
                return Ok(idle);
            }
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        // It ends when its client is dropped; the client is told of its errors.
        tokio::spawn(connection);
        Ok(client)
    }

    fn take_idle(&self) -> Option<Client> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
