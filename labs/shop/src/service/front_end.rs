//! The front end passes each request on to one of the catalogs, in turn, and says in its answer to which. It tries
//! no second time: what a catalog suffers from is to be seen.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::{Response, StatusCode, header::HeaderValue};
use serde_json::json;

use super::{
    CATALOG_HEADER, ServiceError,
    server::{self, Answer, Answers, Question, trouble},
    upstream::{Upstream, UpstreamError},
};

struct FrontEnd {
    catalogs: Vec<Upstream>,
    turn: AtomicUsize,
}

/// Serves; there is at least one catalog.
pub async fn run(catalogs: Vec<Upstream>) -> Result<(), ServiceError> {
    let turn = AtomicUsize::new(0);
    server::serve(FrontEnd { catalogs, turn }).await
}

impl Answers for FrontEnd {
    async fn answer(&self, question: Question) -> Answer {
        if question.path == "/health" {
            return server::json(StatusCode::OK, &json!({ "healthy": true }));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let catalog = &self.catalogs[turn % self.catalogs.len()];
        let asked = catalog.ask(&question.method, &question.path, question.body);
        let mut answer = match asked.await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let mut passed_on = Response::new(Full::new(body));
                *passed_on.status_mut() = head.status;
                passed_on
            }
            Err(error @ UpstreamError::Late(_)) => {
                trouble(StatusCode::GATEWAY_TIMEOUT, &error.to_string())
            }
            Err(error) => trouble(StatusCode::BAD_GATEWAY, &error.to_string()),
        };
        if let Ok(name) = HeaderValue::from_str(catalog.name()) {
            answer.headers_mut().insert(CATALOG_HEADER, name);
        }
        answer
    }
}
