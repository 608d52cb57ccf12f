//! Requests that wait for somebody: a script, a password check, an upstream, another service.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header,
    request::Parts, uri::PathAndQuery,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use omnid_hub::{BoxFuture, Mount, MountContext};
use omnid_script::Hook;
use omnid_supervisor::ChildResult;
use serde_json::{Value, json};

use super::{
    RequestBody, SentBody,
    exchange::Exchange,
    finish::Place,
    handler::{ConnectionFacts, Handler},
    pages::Asked,
    ruled::{Extras, Ruled},
};
use crate::{
    answer::{self, Failure},
    body::Body,
    files::FileAnswer,
    gateway::{Caller, Found},
    log::Record,
    proxy::{Client, Forward, Interim, Proxy},
    site::{Action, GUARDED_SLASH, Route, Site, Snapshot},
    wire::{host::Host, target::NormalPath},
};

/// A request that is answered in its own time.
pub(super) struct Job {
    pub(super) handler: Arc<Handler>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) site: Arc<Site>,
    /// The route's number, and how much of the path it covers.
    pub(super) route: Option<(usize, usize)>,
    pub(super) connection: Arc<ConnectionFacts>,
    pub(super) host: Option<Host<'static>>,
    pub(super) path: NormalPath<'static>,
    pub(super) mount: Option<(Arc<str>, Arc<dyn Mount>)>,
    /// A failure that is known already, whose page a program writes.
    pub(super) failed: Option<Failure>,
    /// What the site's rules add to the answer.
    pub(super) extras: Extras,
}

impl Job {
    /// Whether nobody but the proxy has anything to do with it.
    pub(super) fn is_quiet(&self) -> bool {
        self.mount.is_none()
            && self.site.rules.is_none()
            && self.route().is_none_or(|(route, _)| {
                route.auth.is_none() && !matches!(route.action, Action::Scripts(_))
            })
            && !self.handler.scripts.hooked(Hook::HttpRequest)
    }

    pub(super) fn route(&self) -> Option<(&Route, usize)> {
        let (index, matched) = self.route?;
        Some((self.site.routes.get(index)?, matched))
    }

    /// Answers it, whatever happens on the way.
    pub(super) async fn answer(
        mut self,
        head: Parts,
        incoming: Incoming,
        mut exchange: Exchange,
    ) -> Response<SentBody> {
        let has_pages = !self.site.error_pages.is_empty();
        let asked = has_pages.then(|| Box::new(Asked::new(&head, &self.path)));
        let running = AssertUnwindSafe(async {
            match self.failed.take() {
                Some(failure) => Err(failure),
                None => self.run(head, incoming, &mut exchange).await,
            }
        });
        let mut answer = running.catch_unwind().await.unwrap_or_else(|_| {
            let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR);
            Err(failure.because("the handler panicked"))
        });
        if let (Err(failure), Some(asked)) = (&mut answer, asked)
            && self
                .handler
                .page_program(&self.site, failure.status)
                .is_some()
        {
            let status = failure.status;
            let failure = std::mem::replace(failure, Failure::new(status));
            let user = exchange
                .record
                .as_ref()
                .and_then(|record| record.user.clone());
            answer = self.write_page(*asked, failure, user.as_deref()).await;
        }
        let place = Place {
            handler: &self.handler,
            site: &self.site,
            route: self
                .route()
                .map(|(route, _)| route)
                .filter(|_| self.mount.is_none()),
            connection: &self.connection,
            extras: Some(&self.extras),
        };
        place.finish(answer, exchange)
    }

    /// Has a program write the page for a failure.
    async fn write_page(&self, asked: Asked, failure: Failure, user: Option<&str>) -> FileAnswer {
        let host = self
            .host
            .as_ref()
            .map_or(&*self.site.name, |host| &host.name);
        let writing =
            self.handler
                .write_page(&self.site, host, &self.connection, user, asked, failure);
        Box::pin(writing).await
    }

    async fn run(
        &mut self,
        mut head: Parts,
        incoming: Incoming,
        exchange: &mut Exchange,
    ) -> FileAnswer {
        let mut user = None;
        if self.site.rules.is_some() {
            match self.follow_rules(&mut head, exchange).await {
                Ruled::Answer(answer) => return answer,
                Ruled::GoOn(name) => user = name.map(Arc::from),
            }
        }
        let (route, matched) = self.route().unzip();
        let matched = matched.unwrap_or(0);
        let max_body = route.map_or(self.site.max_body, |route| route.max_body);
        let body = RequestBody::new(incoming, &self.snapshot.times, max_body);
        if body.is_too_large() {
            let failure = Failure::new(StatusCode::PAYLOAD_TOO_LARGE).closing();
            return Err(failure.because("the request body is too large"));
        }
        if let Some(auth) = route.and_then(|route| route.auth.as_ref())
            && self.site.rules.is_none()
            && self.is_guarded()
        {
            let known = self.authenticate(auth, &head.headers).await?;
            note_user(&known.user, &mut head, exchange);
            user = Some(Arc::from(known.user));
        }
        if self.handler.scripts.hooked(Hook::HttpRequest)
            && let Some(answer) = self.ask_script(&head, user.as_deref()).await
        {
            return answer;
        }
        if let Some((prefix, mount)) = &self.mount {
            let answer = self.serve_mount(head, body, prefix, mount, user).await;
            self.extras.typed = true;
            return Ok(answer);
        }
        let Some(route) = route else {
            return Err(Failure::new(StatusCode::NOT_FOUND));
        };
        if let Action::Proxy(proxy) = &route.action {
            if !self.site.may_forward(&self.path) {
                return Err(Failure::new(StatusCode::NOT_FOUND).because(GUARDED_SLASH));
            }
            let answer = self.forward(proxy, head, body, matched, exchange).await;
            self.extras.typed = true;
            return answer;
        }
        if let Action::Scripts(scripts) = &route.action
            && let Found::Script(script) =
                scripts.find(&self.path, matched, &self.handler.cache.load())
        {
            let asked = exchange
                .record
                .as_ref()
                .and_then(|record| record.target.as_ref());
            let asked = asked.unwrap_or(&head.uri);
            let caller = Caller {
                peer: self.connection.peer,
                local: self.connection.local,
                tls: self.connection.tls,
                host: self
                    .host
                    .as_ref()
                    .map_or(&self.site.name, |host| &host.name),
                target: asked.path_and_query().map_or("/", PathAndQuery::as_str),
                user: user.as_deref(),
                failed: None,
                env: &self.extras.env,
            };
            let answer = scripts.run(&script, &head, body, &caller).await;
            self.extras.typed = true;
            return answer;
        }
        self.handler
            .act(route, matched, &head, &self.path)
            .unwrap_or_else(|| Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Whether the route's authentication holds. It does for what other services mount below the
    /// route too, but not for what is well known: that is there for everybody (RFC 8615).
    fn is_guarded(&self) -> bool {
        let mounted = self.mount.as_ref().map(|(prefix, _)| &**prefix);
        !mounted.is_some_and(|prefix| prefix.starts_with("/.well-known/"))
    }

    async fn forward(
        &self,
        proxy: &Proxy,
        head: Parts,
        body: RequestBody,
        matched: usize,
        exchange: &Exchange,
    ) -> FileAnswer {
        let authority = self.authority();
        // HTTP/1.0 knows none (RFC 9110 section 15.2), and the library has no way for HTTP/2.
        let interim = (head.version == Version::HTTP_11).then(|| {
            let line = exchange.line().clone();
            Arc::new(move |bytes: &[u8]| line.send_interim(bytes)) as Interim
        });
        let spawn = |tunnel: BoxFuture<'static, ChildResult>| {
            let record = exchange.record.as_deref();
            let span = record.map_or_else(tracing::Span::current, Record::span);
            self.connection.child.spawn("websocket", span, tunnel);
        };
        let request = Forward {
            head,
            body,
            path: self.path.clone(),
            matched,
            client: Client {
                peer: self.connection.peer,
                local: self.connection.local,
                authority: &authority,
                tls: self.connection.tls,
            },
            interim,
            spawn: &spawn,
        };
        let answer = proxy.forward(request).await;
        exchange.line().interim_taken().await;
        answer
    }

    /// The host as the client named it, with its port; an HTTP/1.0 client without one gets the
    /// site's name.
    pub(super) fn authority(&self) -> String {
        match &self.host {
            Some(Host {
                name,
                port: Some(port),
            }) => format!("{name}:{port}"),
            Some(Host { name, port: None }) => name.to_string(),
            None => self.site.name.to_string(),
        }
    }

    async fn serve_mount(
        &self,
        mut head: Parts,
        body: RequestBody,
        prefix: &Arc<str>,
        mount: &Arc<dyn Mount>,
        user: Option<Arc<str>>,
    ) -> Response<Body> {
        // A mount reads the path by itself: it gets the one that the decision was made by.
        let mut target = self.path.to_escaped(0);
        if let Some(query) = head.uri.query() {
            target.push('?');
            target.push_str(query);
        }
        // And the host in one place, whatever version of HTTP it came in (RFC 9113 8.3.1).
        let host = head.uri.authority().map(http::uri::Authority::as_str);
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
            head.headers.entry(header::HOST).or_insert(host);
        }
        if let Ok(target) = PathAndQuery::try_from(target) {
            head.uri = target.into();
        }
        let context = MountContext {
            peer: self.connection.peer,
            local: self.connection.local,
            tls: self.connection.tls,
            host: self
                .host
                .as_ref()
                .map_or_else(|| self.site.name.clone(), |host| host.name.as_ref().into()),
            user,
            prefix: prefix.clone(),
        };
        let request = Request::from_parts(head, body.boxed_unsync());
        mount.serve(request, context).await.map(Body::Mount)
    }

    /// What a script makes of the request; `None` to go on.
    async fn ask_script(&self, head: &Parts, user: Option<&str>) -> Option<FileAnswer> {
        let question = json!({
            "method": head.method.as_str(),
            "host": self.host.as_ref().map(|host| &*host.name),
            "path": String::from_utf8_lossy(self.path.as_bytes()),
            "query": head.uri.query(),
            "headers": fields(&head.headers),
            "client": client(self.connection.peer),
            "tls": self.connection.tls,
            "user": user,
        });
        match self.handler.scripts.call(Hook::HttpRequest, question).await {
            Ok(None) => None,
            Ok(Some(decision)) => Some(decided(&decision)),
            // What an error means is the script's settings to say; an error that comes here is to
            // be an answer.
            Err(error) => Some(Err(
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR).because(error.to_string())
            )),
        }
    }
}

/// Somebody has logged in.
pub(super) fn note_user(user: &str, head: &mut Parts, exchange: &mut Exchange) {
    // A back end must not mistake the password for its own, nor learn it.
    head.headers.remove(header::AUTHORIZATION);
    tracing::Span::current().record("user", user);
    if let Some(record) = &mut exchange.record {
        record.user = Some(user.into());
    }
}

fn client(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}

fn fields(headers: &HeaderMap) -> Value {
    let mut fields = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        fields.insert(name.to_string(), Value::from(values.join(", ")));
    }
    Value::Object(fields)
}

/// `{status, headers, body}` or `{redirect}` as an answer.
fn decided(decision: &Value) -> FileAnswer {
    let status = |default: StatusCode| {
        decision
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| (200..=599).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(default)
    };
    if let Some(to) = decision.get("redirect").and_then(Value::as_str) {
        return Ok(answer::redirect(status(StatusCode::FOUND), to));
    }
    let status = status(StatusCode::OK);
    let body = decision
        .get("body")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if body.is_empty() && status.as_u16() >= 400 && decision.get("headers").is_none() {
        return Err(Failure::new(status));
    }
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = answer::text(status, plain, body.to_owned());
    let fields = decision.get("headers").and_then(Value::as_object);
    for (name, value) in fields.into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = value.as_str().map(HeaderValue::from_str);
        if let (Ok(name), Some(Ok(value))) = (name, value)
            && name != header::CONTENT_LENGTH
            && name != header::TRANSFER_ENCODING
        {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
