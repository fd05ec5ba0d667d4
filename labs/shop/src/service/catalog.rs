//! A catalog says what a product costs, and takes orders: `GET /products/7`, `POST /orders`.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::{
    ServiceError,
    database::{Database, DatabaseError},
    server::{self, Answer, Answers, Question, trouble},
};

/// How often a catalog looks whether the database has come up.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

struct Catalog {
    name: String,
    database: Arc<Database>,
}

/// What is asked for in an order.
#[derive(Deserialize)]
struct Order {
    product: i32,
    quantity: i32,
}

/// Serves; the tables are made as soon as the database is there.
pub async fn run(name: String, database: Database) -> Result<(), ServiceError> {
    let database = Arc::new(database);
    let prepared = Arc::clone(&database);
    tokio::spawn(async move {
        while prepared.prepare().await.is_err() {
            sleep(LOOK_AGAIN_AFTER).await;
        }
    });
    server::serve(Catalog { name, database }).await
}

impl Answers for Catalog {
    async fn answer(&self, question: Question) -> Answer {
        let answered = match (question.method.as_str(), question.path.as_str()) {
            ("GET", "/health") => self.health().await,
            ("GET", path) => match path.strip_prefix("/products/").map(str::parse) {
                Some(Ok(id)) => self.product(id).await,
                _ => Ok(unknown()),
            },
            ("POST", "/orders") => match serde_json::from_slice(&question.body) {
                Ok(order) => self.order(&order).await,
                Err(error) => Ok(trouble(StatusCode::BAD_REQUEST, &error.to_string())),
            },
            _ => Ok(unknown()),
        };
        answered
            .unwrap_or_else(|error| trouble(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))
    }
}

impl Catalog {
    async fn health(&self) -> Result<Answer, DatabaseError> {
        self.database.ping().await?;
        let body = json!({ "healthy": true, "catalog": self.name });
        Ok(server::json(StatusCode::OK, &body))
    }

    async fn product(&self, id: i32) -> Result<Answer, DatabaseError> {
        Ok(match self.database.product(id).await? {
            Some(product) => {
                let body = json!({ "id": id, "name": product.name, "cents": product.cents });
                server::json(StatusCode::OK, &body)
            }
            None => unknown(),
        })
    }

    async fn order(&self, order: &Order) -> Result<Answer, DatabaseError> {
        let id = self.database.order(order.product, order.quantity).await?;
        Ok(server::json(StatusCode::CREATED, &json!({ "order": id })))
    }
}

fn unknown() -> Answer {
    trouble(StatusCode::NOT_FOUND, "there is nothing of that name")
}
