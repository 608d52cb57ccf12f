//! From a request to an answer. What needs no waiting (checks, routes, files that are open) is
//! answered in place; everything else in a future of its own.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use omnid_hub::{Hub, Mount};
use omnid_identity::Identity;
use omnid_script::{Hook, Scripts};
use omnid_supervisor::Child;
use tracing::Instrument;

use super::{
    Line, SentBody, exchange::Exchange, executor::StreamProgress, finish::Place, ruled::Extras,
    slow::Job,
};
use crate::{
    answer::{self, Failure},
    engine::{
        check::{Checked, check},
        routes::Found,
    },
    files::{FileAnswer, FileCache, FileRequest, Files},
    gateway,
    log::Record,
    redirects,
    site::{Action, Route, Site, Snapshot},
    wire::{host::Host, target::NormalPath},
};

/// Answers requests. One serves every connection.
pub struct Handler {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) cache: ArcSwap<FileCache>,
    pub(crate) hub: Hub,
    pub(crate) identity: Identity,
    pub(crate) scripts: Scripts,
}

/// What is known of a connection, the same for all its requests.
pub struct ConnectionFacts {
    /// The client.
    pub peer: SocketAddr,
    /// Where it connected.
    pub local: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// Its number.
    pub id: u64,
    /// The child that accepted it, for what outlives it.
    pub child: Child,
}

/// An answer, or the wait for one.
pub enum Answering {
    /// It is here.
    Ready(Option<Box<Response<SentBody>>>),
    /// It will come.
    Slow(Pin<Box<dyn Future<Output = Response<SentBody>> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response<SentBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(*response)),
                None => Poll::Pending,
            },
            Self::Slow(slow) => slow.as_mut().poll(cx).map(Ok),
        }
    }
}

/// What a request came to without waiting.
pub(super) enum Quick {
    /// An answer.
    Answer(FileAnswer),
    /// A handler of another service is to be asked.
    Mount(Arc<str>, Arc<dyn Mount>),
    /// It takes a while.
    Slow,
}

impl Handler {
    /// Answers one request.
    pub fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        connection: &Arc<ConnectionFacts>,
        line: &Arc<Line>,
        progress: Option<Arc<StreamProgress>>,
    ) -> Answering {
        let facts = line.request_started();
        let (head, incoming) = request.into_parts();
        let snapshot = self.snapshot.load_full();
        let checked = check(&head, facts.as_ref(), &snapshot.head);
        let site = match &checked {
            Ok(Checked::Resource { host, .. }) => {
                let host = host.as_ref().map(|host| host.name.as_ref());
                snapshot.sites.find(host).unwrap_or(&snapshot.nowhere)
            }
            _ => &snapshot.nowhere,
        };
        let mut exchange = Exchange::new(line.clone(), record(&head, site, connection), progress);
        if site.compress.is_some() {
            exchange.accept_encoding = accept_encoding(&head);
        }
        let at = |route| Place {
            handler: self,
            site,
            route,
            connection,
            extras: None,
        };
        let (host, path) = match checked {
            Ok(Checked::Resource { host, path }) => (host, path),
            Ok(Checked::Server) => {
                return ready(at(None).finish(Ok(answer::options(ALLOW)), exchange));
            }
            Err(refusal) => {
                return ready(at(None).finish(Err(Failure::from(refusal)), exchange));
            }
        };
        let client = connection.peer.ip();
        let mut admitted = exchange.admit(site.rate.as_ref(), client);
        let found = site.route(path.as_bytes());
        let route = match found {
            Found::Route { route, .. } => Some(route),
            _ => None,
        };
        // Where there are rules, they say which route it is.
        if let (Ok(()), Some(route), None) = (&admitted, route, &site.rules) {
            admitted = exchange.admit(route.rate.as_ref(), client);
        }
        let quick = AssertUnwindSafe(|| {
            if let Err(refused) = admitted {
                return Quick::Answer(Err(refused));
            }
            // Rules may send it elsewhere, or wait for somebody to log in.
            if site.rules.is_some() {
                return Quick::Slow;
            }
            self.quick(
                &snapshot,
                site,
                &found,
                &head,
                host.as_ref(),
                &path,
                connection,
            )
        });
        let quick = std::panic::catch_unwind(quick).unwrap_or_else(|_| {
            Quick::Answer(Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR)))
        });
        let mut failed = None;
        let mount = match quick {
            Quick::Answer(Err(failure)) if self.page_program(site, failure.status).is_some() => {
                failed = Some(failure);
                None
            }
            Quick::Answer(answer) => return ready(at(route).finish(answer, exchange)),
            Quick::Mount(prefix, mount) => Some((prefix, mount)),
            Quick::Slow => None,
        };
        let job = Job {
            handler: self.clone(),
            site: site.clone(),
            route: match found {
                Found::Route { index, matched, .. } => Some((index, matched)),
                _ => None,
            },
            host: host.map(|host| Host {
                name: host.name.into_owned().into(),
                port: host.port,
            }),
            path: path.into_owned(),
            snapshot,
            connection: connection.clone(),
            mount,
            failed,
            extras: Extras::default(),
        };
        // A span costs more than the rest of a proxied request's bookkeeping. Where nobody else
        // will log on the way, it is made only when there is something to log.
        let quiet = job.is_quiet();
        let span = exchange
            .record
            .as_ref()
            .filter(|_| !quiet)
            .map(|record| record.span());
        let answering = job.answer(head, incoming, exchange);
        match span {
            Some(span) => Answering::Slow(Box::pin(answering.instrument(span))),
            None => Answering::Slow(Box::pin(answering)),
        }
    }

    /// Logs that what came was answered, but was no request.
    pub(super) fn log_no_request(&self, connection: &ConnectionFacts, status: StatusCode) {
        let snapshot = self.snapshot.load();
        let mut record = blank_record(&snapshot.nowhere, connection);
        record.status = status.as_u16();
        record.finish(0);
    }

    /// The handler of another service that serves a path. `matched` is how much of it the route
    /// takes, where there is one: one at the same place comes first, and one further down too.
    pub(super) fn mount(
        &self,
        site: &Site,
        path: &NormalPath<'_>,
        matched: Option<usize>,
    ) -> Option<(Arc<str>, Arc<dyn Mount>)> {
        let path = std::str::from_utf8(path.as_bytes()).ok()?;
        let mount = self.hub.mounts().find(path)?;
        let further = |matched| redirects::bare(&mount.0).len() > matched;
        (matched.is_none_or(further) && site.serves_mount(&mount.0)).then_some(mount)
    }

    /// Answers what can be answered without waiting.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn quick(
        &self,
        snapshot: &Snapshot,
        site: &Site,
        found: &Found<'_, Route>,
        head: &Parts,
        host: Option<&Host<'_>>,
        path: &NormalPath<'_>,
        connection: &ConnectionFacts,
    ) -> Quick {
        if site.redirects_plain && !connection.tls && !path.as_bytes().starts_with(ACME) {
            return Quick::Answer(redirects::to_tls(head, host, snapshot.tls_port));
        }
        let matched = match found {
            Found::Route { matched, .. } => Some(*matched),
            _ => None,
        };
        if let Some((prefix, mount)) = self.mount(site, path, matched) {
            return Quick::Mount(prefix, mount);
        }
        if self.scripts.hooked(Hook::HttpRequest) {
            return Quick::Slow;
        }
        match found {
            Found::Route { route, matched, .. } => {
                if route.auth.is_some() {
                    return Quick::Slow;
                }
                match self.act(route, *matched, head, path) {
                    Some(answer) => Quick::Answer(answer),
                    None => Quick::Slow,
                }
            }
            Found::Slash => Quick::Answer(Ok(redirects::add_slash(
                &head.method,
                head.uri.query(),
                path,
            ))),
            Found::Nothing => Quick::Answer(Err(Failure::new(StatusCode::NOT_FOUND))),
        }
    }

    /// Carries out an action that needs no waiting; `None` for one that does.
    pub(super) fn act(
        &self,
        route: &Route,
        matched: usize,
        head: &Parts,
        path: &NormalPath<'_>,
    ) -> Option<FileAnswer> {
        Some(match &route.action {
            Action::Files(files) => self.file(files, matched, head, path),
            Action::SiteFiles(files) => self.file(files, 0, head, path),
            Action::Redirect { to, status } => {
                Ok(redirects::onward(to, *status, matched, head, path))
            }
            Action::Respond {
                status,
                content_type,
                body,
            } => Ok(answer::text(*status, content_type.clone(), body.clone())),
            Action::Nothing => Err(Failure::new(StatusCode::NOT_FOUND)),
            Action::Scripts(scripts) => {
                if matches!(
                    scripts.find(path, matched, &self.cache.load()),
                    gateway::Found::Script(_)
                ) {
                    return None;
                }
                match scripts.files() {
                    Some((files, true)) => self.file(files, 0, head, path),
                    Some((files, false)) => self.file(files, matched, head, path),
                    None => Err(Failure::new(StatusCode::NOT_FOUND)),
                }
            }
            Action::Proxy(_) => return None,
        })
    }

    fn file(
        &self,
        files: &Files,
        matched: usize,
        head: &Parts,
        path: &NormalPath<'_>,
    ) -> FileAnswer {
        let request = FileRequest {
            method: &head.method,
            headers: &head.headers,
            path,
            query: head.uri.query(),
            matched,
        };
        files.answer(&request, &self.cache.load())
    }
}

const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// What a certificate authority fetches over plain HTTP (RFC 8555 section 8.3).
pub(super) const ACME: &[u8] = b"/.well-known/acme-challenge/";

fn ready(response: Response<SentBody>) -> Answering {
    Answering::Ready(Some(Box::new(response)))
}

/// None at all is a wish for none; several are too rare to be joined.
fn accept_encoding(head: &Parts) -> Option<HeaderValue> {
    let mut fields = head.headers.get_all(header::ACCEPT_ENCODING).iter();
    let first = fields.next()?;
    fields.next().is_none().then(|| first.clone())
}

fn blank_record(site: &Site, connection: &ConnectionFacts) -> Box<Record> {
    let mut record = Record::new(
        site.log.clone(),
        site.name.clone(),
        connection.peer,
        connection.local,
        SystemTime::now(),
    );
    record.tls = connection.tls;
    record.connection = connection.id;
    record.meter = Some(site.meter.clone());
    Box::new(record)
}

fn record(head: &Parts, site: &Site, connection: &ConnectionFacts) -> Box<Record> {
    let mut record = blank_record(site, connection);
    record.method = head.method.clone();
    record.target = Some(head.uri.clone());
    record.version = head.version;
    record.host = head.headers.get(header::HOST).cloned();
    record.referer = head.headers.get(header::REFERER).cloned();
    record.agent = head.headers.get(header::USER_AGENT).cloned();
    record.keep_request(&head.headers);
    record
}
