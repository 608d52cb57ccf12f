//! The demonstration's page: what to try, and live, what the daemon is doing.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use omnid_hub::{Body, BoxFuture, MountContext, MountRequest, MountResponse};
use serde_json::json;

use crate::{daemon::Daemon, demo::Offer};

/// Mounts `/welcome/status.json` and `/welcome/ca.pem` for the page.
pub fn offer(daemon: &Arc<Daemon>, offer: &Offer) {
    let accounts: Vec<String> = offer
        .accounts
        .iter()
        .map(|account| account.address.clone())
        .collect();
    let ca = offer.ca.clone();
    // Weak: the hub is part of the daemon, and must not keep it alive.
    let daemon_behind = Arc::downgrade(daemon);
    let answer = move |request: MountRequest,
                       _: MountContext|
          -> BoxFuture<'static, MountResponse> {
        let response = match (request.uri().path(), daemon_behind.upgrade()) {
            ("/welcome/status.json", Some(daemon)) => {
                let directory = daemon.ground().hub.directory();
                let contacts: Vec<_> = accounts
                    .iter()
                    .map(|account| json!({"account": account, "contacts": directory.contacts(account)}))
                    .collect();
                let status = json!({"tree": daemon.tree().status(), "accounts": contacts});
                response(200, "application/json", status.to_string().into_bytes())
            }
            ("/welcome/ca.pem", _) => match std::fs::read(&ca) {
                Ok(pem) => response(200, "application/x-pem-file", pem),
                Err(_) => response(404, "text/plain", b"no authority here\n".to_vec()),
            },
            _ => response(404, "text/plain", b"not here\n".to_vec()),
        };
        Box::pin(std::future::ready(response))
    };
    daemon
        .ground()
        .hub
        .mounts()
        .offer("/welcome", "demo", Arc::new(answer));
}

fn response(status: u16, kind: &'static str, body: Vec<u8>) -> MountResponse {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut response = http::Response::new(Body::new(body));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(kind),
    );
    headers.insert(
        http::header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-store"),
    );
    response
}

/// The page itself; a static file that the demonstration's site serves.
pub fn page(offer: &Offer, instructions: &str) -> String {
    let escaped = escape(instructions);
    let links = format!(
        "<a href=\"http://{}/metrics\">metrics</a> · <a href=\"/welcome/ca.pem\">certificate \
         authority</a> · <a href=\"/private/\">a page behind a password</a>",
        offer.admin
    );
    PAGE.replace("{instructions}", &escaped)
        .replace("{links}", &links)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const PAGE: &str = include_str!("welcome.html");
