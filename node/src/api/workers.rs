//! What works in the background: a list, and what each worker can be told.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use super::params::Params;
use crate::config::suggest;
use crate::config::units::ByteSize;
use crate::node::Node;
use crate::workers::worker::{Report, RunError, Worker};

/// What is told of one worker.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    about: &'static str,
    #[serde(flatten)]
    report: Report,
}

impl Row {
    fn of(worker: &Worker) -> Self {
        Row { name: worker.name, about: worker.about, report: worker.report() }
    }
}

/// `GET /workers`
pub async fn list(State(node): State<Arc<Node>>) -> Result<Response, ApiError> {
    let rows: Vec<Row> = node.workers.list().iter().map(|worker| Row::of(worker)).collect();
    json(&rows)
}

/// `POST /workers/{name}/{order}`: `pause`, `resume`, `run` (answers when the round is over) or `rate?bytes_per_s=10MB`.
pub async fn order(
    State(node): State<Arc<Node>>,
    Path((name, order)): Path<(String, String)>,
    parameters: Params,
) -> Result<Response, ApiError> {
    let worker = node.workers.get(&name).ok_or_else(|| unknown(&node, &name))?;
    match order.as_str() {
        "pause" => worker.pause(),
        "resume" => worker.resume(),
        "run" => run(&worker).await?,
        "rate" => worker.set_rate(Some(rate(&parameters)?)),
        _ => {
            let text = format!("`{order}` is no order; give one of pause, resume, run, rate\n");
            return Err(ApiError::new(StatusCode::NOT_FOUND, text));
        }
    }
    json(&Row::of(&worker))
}

fn unknown(node: &Node, name: &str) -> ApiError {
    let workers = node.workers.list();
    let nearest = suggest::nearest(name, workers.iter().map(|worker| worker.name));
    let hint = nearest.map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?"));
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no worker `{name}`{hint}\n"))
}

async fn run(worker: &Worker) -> Result<(), ApiError> {
    worker.run_now().await.map_err(|error| {
        let status = match error {
            RunError::Paused => StatusCode::CONFLICT,
            RunError::Busy | RunError::Gone => StatusCode::SERVICE_UNAVAILABLE,
            RunError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, format!("{error}\n"))
    })
}

fn rate(parameters: &Params) -> Result<u64, ApiError> {
    let text = parameters.get("bytes_per_s").unwrap_or_default();
    let size = text.parse::<ByteSize>();
    size.map(|size| size.0).map_err(|error| ApiError::bad(format!("bytes_per_s: {error}; 0 is no bound\n")))
}

fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_string(value).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response())
}

#[cfg(test)]
mod tests {
    use crate::testbed::{SECOND, Testbed};

    async fn check(bed: &Testbed, method: &str, path: &str, status: u16, text: &str) {
        let (got, body) = bed.call(method, path, None).await;
        assert!(got == status && body.contains(text), "{method} {path}: {got} {body}");
    }

    #[tokio::test]
    async fn workers_are_listed_paused_held_to_a_rate_and_resumed() {
        let bed = Testbed::new(SECOND, &[("housekeeping.merge_rate_max", "5MB")]).await;
        check(&bed, "GET", "/workers", 200, r#""name":"merge""#).await;
        check(&bed, "GET", "/workers", 200, r#""bytes_per_s":5242880"#).await;
        check(&bed, "POST", "/workers/merge/pause", 200, r#""paused":true"#).await;
        check(&bed, "POST", "/workers/merge/run", 409, "paused").await;
        check(&bed, "POST", "/workers/merge/resume", 200, r#""paused":false"#).await;
        check(&bed, "POST", "/workers/merge/rate?bytes_per_s=1KB", 200, r#""bytes_per_s":1024"#).await;
        check(&bed, "POST", "/workers/merge/rate?bytes_per_s=0", 200, r#""bytes_per_s":null"#).await;
    }

    #[tokio::test]
    async fn what_is_no_worker_and_no_order_is_named() {
        let bed = Testbed::new(SECOND, &[]).await;
        check(&bed, "POST", "/workers/merg/run", 404, "did you mean `merge`?").await;
        check(&bed, "POST", "/workers/merge/stop", 404, "pause, resume, run, rate").await;
        check(&bed, "POST", "/workers/merge/rate?bytes_per_s=fast", 400, "`fast` is not a size").await;
        check(&bed, "POST", "/workers/ship/pause", 200, r#""paused":true"#).await;
        check(&bed, "POST", "/flush", 503, "grapevine workers resume ship").await;
    }
}
