//! Answering a question of `omnid test` from a configuration, without a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{Method, Request, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use crate::{
    answer::Failure,
    engine::{
        check::{Checked, check},
        routes::Found,
    },
    expression,
    files::{FileAnswer, FileCache, FileRequest, Files},
    gateway, redirects,
    site::{Action, GUARDED_SLASH, Route, Site, SiteRules, Snapshot},
    walk::{End, Known, walk},
    wire::{host::Host, target::NormalPath},
};

/// The question: `url`, `method` ("GET" unless given), `headers`, `client` (an address) and `user`
/// (who has logged in). The answer: `site`, `steps` (what happened on the way), `route`, `file`,
/// `action`, and, where it is known without asking anybody, `status`, `reason` and `headers`.
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
        Ok(Checked::Server) => return Ok(json!({"status": 200})),
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
    if let Some(rules) = site.rules.as_deref() {
        let walked = Walked {
            snapshot,
            site,
            rules,
            question,
            tls,
            authority: authority.as_str(),
        };
        walked.tell(head.clone(), host.as_ref(), &path, &mut answer);
        return Ok(Value::Object(answer));
    }
    match site.route(path.as_bytes()) {
        Found::Nothing => {
            answer.insert("status".into(), json!(404));
            answer.insert(
                "reason".into(),
                json!("no route covers the path, and the site has no root"),
            );
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
            describe(site, route, matched, &head, &path, snapshot, &mut answer);
        }
    }
    Ok(Value::Object(answer))
}

/// A request of a site with rules, walked as it is walked when it is served.
struct Walked<'a> {
    snapshot: &'a Snapshot,
    site: &'a Site,
    rules: &'a SiteRules,
    question: &'a Value,
    tls: bool,
    authority: &'a str,
}

impl Walked<'_> {
    fn tell(
        &self,
        mut head: http::request::Parts,
        host: Option<&Host<'_>>,
        path: &NormalPath<'_>,
        answer: &mut Map<String, Value>,
    ) {
        let text = |key: &str| self.question.get(key).and_then(Value::as_str);
        let client = text("client").and_then(|client| client.parse().ok());
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let asked = head.clone();
        let request = expression::Request {
            method: &asked.method,
            headers: &asked.headers,
            version: asked.version,
            target: asked
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str),
            host: host.map_or(&*self.site.name, |host| host.name.as_ref()),
            peer: SocketAddr::new(client, 0),
            local: SocketAddr::from((Ipv4Addr::LOCALHOST, if self.tls { 443 } else { 80 })),
            tls: self.tls,
            root: self.site.root.as_ref().map(|root| root.root.path()),
        };
        let mut known = Vec::new();
        let mut steps = Vec::new();
        let cache = FileCache::new(self.snapshot.cache);
        let way = loop {
            steps.clear();
            let way = walk(
                self.site,
                self.rules,
                &cache,
                request,
                self.authority,
                path,
                asked.uri.query(),
                &known,
                &mut |step| steps.push(step()),
            );
            // Whoever the question says has logged in has done so everywhere.
            let next = match (&way.end, text("user")) {
                (End::Login(auth), Some(user)) => Known {
                    auth: auth.id(),
                    user: user.to_owned(),
                    groups: Vec::new(),
                },
                _ => break way,
            };
            if known.contains(&next) || known.len() > 8 {
                break way;
            }
            known.push(next);
        };
        if way.changed {
            let target = match way.query.as_str() {
                "" => way.path.to_escaped(0),
                query => format!("{}?{query}", way.path.to_escaped(0)),
            };
            if let Ok(uri) = target.parse() {
                head.uri = uri;
            }
        }
        answer.insert("steps".into(), json!(steps));
        match &way.end {
            End::Nothing => {
                answer.insert("status".into(), json!(404));
                answer.insert("reason".into(), json!("no route covers the path"));
            }
            End::Slash => {
                let response = redirects::add_slash(&head.method, head.uri.query(), &way.path);
                tell(
                    "redirect to the path with a slash".into(),
                    Ok(response),
                    answer,
                );
            }
            End::Redirect(status, location) => {
                let response = crate::answer::redirect(*status, location);
                tell("redirect".into(), Ok(response), answer);
            }
            End::Answer(status, reason) => {
                answer.insert("status".into(), json!(status.as_u16()));
                answer.insert("reason".into(), json!(reason));
            }
            End::Login(auth) => {
                answer.insert("status".into(), json!(401));
                let who = match &auth.users {
                    Some(users) => format!("users of {}", users.path().display()),
                    None => "accounts of this server".to_owned(),
                };
                answer.insert("action".into(), json!("ask for a name and password"));
                answer.insert(
                    "reason".into(),
                    json!(format!("only for {who} that may come in")),
                );
            }
            End::Route { index, matched } => {
                let Some(route) = self.site.routes.get(*index) else {
                    return;
                };
                answer.insert("route".into(), json!(route.path));
                let file = self
                    .site
                    .file_of(&String::from_utf8_lossy(way.path.as_bytes()));
                if let (Action::Files(_) | Action::SiteFiles(_), Some(file)) = (&route.action, file)
                {
                    answer.insert("file".into(), json!(file));
                }
                // Who may come in has been settled on the way.
                act(
                    self.site,
                    route,
                    *matched,
                    &head,
                    &way.path,
                    self.snapshot,
                    answer,
                );
            }
        }
    }
}

fn describe(
    site: &Site,
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
    act(site, route, matched, head, path, snapshot, answer);
}

fn act(
    site: &Site,
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
    match &route.action {
        Action::Files(files) => file(files, matched, head, path, snapshot, answer),
        Action::SiteFiles(files) => file(files, 0, head, path, snapshot, answer),
        Action::Scripts(scripts) => {
            let cache = FileCache::new(snapshot.cache);
            match (scripts.find(path, matched, &cache), scripts.files()) {
                (gateway::Found::Script(script), _) => {
                    let script = String::from_utf8_lossy(&script.file).into_owned();
                    answer.insert("action".into(), json!(format!("run {script}")));
                }
                (gateway::Found::File, Some((files, whole))) => {
                    let matched = if whole { 0 } else { matched };
                    file(files, matched, head, path, snapshot, answer);
                }
                (gateway::Found::File, None) => status(StatusCode::NOT_FOUND),
            }
        }
        Action::Proxy(_) if !site.may_forward(path) => {
            status(StatusCode::NOT_FOUND);
            answer.insert("reason".into(), json!(GUARDED_SLASH));
        }
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
        Action::Nothing => {
            status(StatusCode::NOT_FOUND);
            answer.insert(
                "reason".into(),
                json!("the route does nothing, and the site has no root"),
            );
        }
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
    if let Err(failure) = &response {
        let hidden = !files.hidden && path.hidden();
        let reason = match failure.status {
            StatusCode::NOT_FOUND if hidden => "names that begin with a dot are not served",
            StatusCode::NOT_FOUND if path.encoded_slash() => "no file has a slash in its name",
            StatusCode::NOT_FOUND => "there is no such file below the root",
            StatusCode::FORBIDDEN => {
                "a directory without an index, a link that leaves the root, or a file that may not be read"
            }
            StatusCode::METHOD_NOT_ALLOWED => "files are only read",
            _ => "",
        };
        if !reason.is_empty() {
            answer.insert("reason".into(), json!(reason));
        }
    }
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
