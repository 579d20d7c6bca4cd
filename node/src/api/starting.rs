//! The door of a node that is not ready yet: it listens from its first moment and says why it does not answer.
//!
//! Replaying a long log takes a while. A load balancer, an orchestrator and a person should see "not yet, and
//! why" (503) instead of a refused connection, which could as well be a node that is gone.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

/// Seconds after which a client may try again.
const RETRY_AFTER: &str = "1";

/// Leads to a node's routes once there are some. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<OnceLock<Router>>);

impl Door {
    /// Opens for good: requests from now on go to these routes.
    pub fn open(&self, routes: Router) {
        // A door that is open stays as it is.
        let _ = self.0.set(routes);
    }

    /// What a listener serves.
    pub fn routes(self) -> Router {
        Router::new().fallback(move |request: Request| {
            let door = self.clone();
            async move { door.answer(request).await }
        })
    }

    async fn answer(&self, request: Request) -> Response {
        match self.0.get() {
            Some(routes) => routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            None => not_yet(),
        }
    }
}

fn not_yet() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::RETRY_AFTER, RETRY_AFTER)];
    let text = "not ready: the write-ahead log is being replayed\n";
    (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;

    use super::Door;

    #[tokio::test]
    async fn a_door_says_why_it_is_closed_until_it_opens() {
        let door = Door::default();
        let ask = || async { door.answer(Request::new(Body::empty())).await.status().as_u16() };
        assert_eq!(ask().await, 503);
        door.open(Router::new().route("/", get(|| async { "here" })));
        assert_eq!(ask().await, 200);
    }
}
