//! /metrics, /health and /status over HTTP/1.1, for machines that watch this one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use omnid_config::ListenAddr;
use omnid_ground::{Wanted, streams};
use omnid_net::Accepted;
use omnid_supervisor::{Child, ChildResult};
use omnid_telemetry::metrics;
use tokio::time::{sleep, timeout};
use tracing::info_span;

use crate::Admin;

/// How long a connection may live. A watcher that keeps it open makes a new one every so often; one
/// that does not read its answers would otherwise hold it for ever.
const LIFE: Duration = Duration::from_secs(120);
/// How long the answer under way may then take.
const LAST_ANSWER: Duration = Duration::from_secs(5);

pub(crate) fn listener(admin: &Arc<Admin>, address: &ListenAddr) -> Wanted {
    let admin = admin.clone();
    let ground = admin.ground.clone();
    streams(&ground, "admin", "http", address, move |child, accepted| {
        let span = info_span!("connection", listener = %accepted.listener, peer = %accepted.peer);
        child.spawn(
            "connection",
            span,
            connection(admin.clone(), accepted, child.clone()),
        );
    })
}

async fn connection(admin: Arc<Admin>, accepted: Accepted, child: Child) -> ChildResult {
    let Accepted { socket, permit, .. } = accepted;
    let service = service_fn(move |request| {
        let response = answer(&admin, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(16 * 1024)
        // Whoever has said all it wants to say still waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => Some(outcome),
        () = child.draining() => None,
        () = sleep(LIFE) => None,
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    drop(permit);
    // A watcher that hangs up early is no news.
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
    Ok(())
}

fn answer(admin: &Admin, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET only\n".into(),
        );
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => text(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics::render(),
        ),
        "/health" => {
            let unwell = admin.unwell();
            if unwell.is_empty() {
                text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
            } else {
                let body = unwell.join("\n") + "\n";
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "text/plain; charset=utf-8",
                    body,
                )
            }
        }
        "/status" => match serde_json::to_string_pretty(&admin.tree.status()) {
            Ok(status) => text(StatusCode::OK, "application/json", status + "\n"),
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                format!("{error}\n"),
            ),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "here are /metrics, /health and /status\n".into(),
        ),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}
