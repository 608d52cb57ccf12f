//! Answering a question of `omnid test` from a configuration, without a connection.

use http::{Method, Request, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use crate::{
    answer::Failure,
    engine::{
        check::{Checked, check},
        routes::Found,
    },
    files::{FileAnswer, FileCache, FileRequest, Files},
    redirects,
    site::{Action, Route, Snapshot},
    wire::target::NormalPath,
};

/// The question: `url`, `method` ("GET" unless given) and `headers`. The answer: `site`, `route`,
/// `action`, and, where it is known without asking anybody, `status` and `headers`.
pub(crate) fn rehearse(snapshot: &Snapshot, question: &Value) -> Result<Value, String> {
    let url = question
        .get("url")
        .and_then(Value::as_str)
        .ok_or("the question has no url")?;
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let authority = uri
        .authority()
        .ok_or_else(|| format!("{url} names no host"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(format!("{url} is no http or https URL")),
    };
    let method = question
        .get("method")
        .and_then(Value::as_str)
        .unwrap_or("GET");
    let method: Method = method
        .parse()
        .map_err(|_| format!("{method} is no method"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(
            uri.path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str),
        )
        .header(header::HOST, authority.as_str());
    let fields = question.get("headers").and_then(Value::as_object);
    for (name, value) in fields.into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    let (head, ()) = request
        .body(())
        .map_err(|error| error.to_string())?
        .into_parts();

    let mut answer = Map::new();
    let (host, path) = match check(&head, None, &snapshot.head) {
        Ok(Checked::Resource { host, path }) => (host, path),
        Ok(Checked::Server) => return Ok(json!({"status": 204})),
        Err(refusal) => {
            return Ok(json!({"status": refusal.status.as_u16(), "reason": refusal.reason}));
        }
    };
    let name = host.as_ref().map(|host| host.name.as_ref());
    let site = snapshot.sites.find(name).unwrap_or(&snapshot.nowhere);
    answer.insert("site".into(), json!(&*site.name));
    if site.redirects_plain && !tls {
        let response = redirects::to_tls(&head, host.as_ref(), snapshot.tls_port);
        tell("redirect to TLS".into(), response, &mut answer);
        return Ok(Value::Object(answer));
    }
    match site.route(path.as_bytes()) {
        Found::Nothing => {
            answer.insert("status".into(), json!(404));
        }
        Found::Slash => {
            let response = Ok(redirects::add_slash(&head.method, head.uri.query(), &path));
            tell(
                "redirect to the path with a slash".into(),
                response,
                &mut answer,
            );
        }
        Found::Route { route, matched, .. } => {
            answer.insert("route".into(), json!(route.path));
            describe(route, matched, &head, &path, snapshot, &mut answer);
        }
    }
    Ok(Value::Object(answer))
}

fn describe(
    route: &Route,
    matched: usize,
    head: &http::request::Parts,
    path: &NormalPath<'_>,
    snapshot: &Snapshot,
    answer: &mut Map<String, Value>,
) {
    let mut status = |status: StatusCode| {
        answer.insert("status".into(), json!(status.as_u16()));
    };
    if route.auth.is_some() && !head.headers.contains_key(header::AUTHORIZATION) {
        status(StatusCode::UNAUTHORIZED);
        answer.insert("action".into(), json!("ask for a name and password"));
        return;
    }
    match &route.action {
        Action::Files(files) => file(files, matched, head, path, snapshot, answer),
        Action::SiteFiles(files) => file(files, 0, head, path, snapshot, answer),
        Action::Proxy(proxy) => {
            let upstreams: Vec<String> = proxy
                .pools()
                .map(|pool| pool.target().to_string())
                .collect();
            answer.insert(
                "action".into(),
                json!(format!("proxy {}", upstreams.join(" "))),
            );
        }
        Action::Redirect { to, status } => {
            let response = redirects::onward(to, *status, matched, head, path);
            tell(format!("redirect {to}"), Ok(response), answer);
        }
        Action::Respond {
            status: code, body, ..
        } => {
            status(*code);
            answer.insert("action".into(), json!("respond"));
            answer.insert("body".into(), json!(String::from_utf8_lossy(body)));
        }
        Action::Nothing => status(StatusCode::NOT_FOUND),
    }
}

fn file(
    files: &Files,
    matched: usize,
    head: &http::request::Parts,
    path: &NormalPath<'_>,
    snapshot: &Snapshot,
    answer: &mut Map<String, Value>,
) {
    let request = FileRequest {
        method: &head.method,
        headers: &head.headers,
        path,
        query: head.uri.query(),
        matched,
    };
    let cache = FileCache::new(snapshot.cache);
    let response = files.answer(&request, &cache);
    tell(
        format!("files {}", files.root.path().display()),
        response,
        answer,
    );
}

fn tell(action: String, response: FileAnswer, answer: &mut Map<String, Value>) {
    let response = response.unwrap_or_else(Failure::into_response);
    answer.insert("action".into(), action.into());
    answer.insert("status".into(), json!(response.status().as_u16()));
    let headers: Map<String, Value> = response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), json!(value))
        })
        .collect();
    answer.insert("headers".into(), Value::Object(headers));
}
