//! One request to one of several upstreams, and its response.

use std::{
    error::Error as _,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request,
    uri::PathAndQuery,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use omnid_hub::BoxFuture;
use omnid_supervisor::ChildResult;

use super::{
    Balance, Checkup, Client, Pool, Protocol, Target, UpstreamBody,
    body::{Progress, UploadBody},
    headers,
    link::Link,
    rewrite::Names,
    tunnel,
    upstreams::{Upstream, Upstreams},
};
use crate::{
    answer::Failure,
    body::Body,
    io::{RequestBody, UploadError},
    wire::{proxy_protocol, target::NormalPath},
};

/// What an upstream sees as Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client asked for, so that the application makes links that lead back here.
    Client,
    /// The upstream's own name.
    Upstream,
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyTimes {
    /// To accept a connection.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub first_byte: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// How long a websocket may be silent.
    pub websocket: Duration,
}

impl Default for ProxyTimes {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            websocket: Duration::from_secs(3600),
        }
    }
}

/// A route that leads to upstreams.
#[derive(Debug)]
pub struct Proxy {
    upstreams: Upstreams,
    host: HostPolicy,
    times: ProxyTimes,
}

/// Sends an interim response to the client.
pub type Interim = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A request on its way.
pub struct Forward<'a> {
    /// Its head.
    pub head: request::Parts,
    /// Its body.
    pub body: RequestBody,
    /// Its path.
    pub path: NormalPath<'a>,
    /// How many bytes of the path the route took, without a trailing slash.
    pub matched: usize,
    /// Who sent it.
    pub client: Client<'a>,
    /// Takes interim responses, where the client can be sent any.
    pub interim: Option<Interim>,
    /// Runs what goes on after the response: a websocket.
    pub spawn: &'a (dyn Fn(BoxFuture<'static, ChildResult>) + Send + Sync),
}

impl Proxy {
    /// A proxy to upstreams as the config names them; `pool` gives the pool for a target, so that
    /// connections survive a reload.
    ///
    /// # Errors
    /// Why a text names no upstream.
    pub fn new(
        upstreams: &[&str],
        host: HostPolicy,
        times: ProxyTimes,
        balance: Balance,
        pool: impl Fn(Target, Protocol) -> Arc<Pool>,
    ) -> Result<Self, &'static str> {
        Ok(Self {
            upstreams: Upstreams::new(upstreams, balance, pool)?,
            host,
            times,
        })
    }

    /// The pools of its upstreams.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.upstreams.iter().map(|upstream| &upstream.pool)
    }

    /// The checks that its upstreams are to be asked to pass.
    pub fn checkups(&self) -> impl Iterator<Item = Checkup> {
        let check = self.upstreams.balance.check.iter();
        check.flat_map(|check| {
            self.upstreams.iter().map(|upstream| Checkup {
                pool: upstream.pool.clone(),
                authority: upstream.authority.clone(),
                check: check.clone(),
            })
        })
    }

    /// Carries a request to an upstream and its response back.
    ///
    /// # Errors
    /// 502 where no upstream could be reached or understood, 504 where it took too long, and what
    /// is the client's own fault.
    pub async fn forward(&self, request: Forward<'_>) -> Result<Response<Body>, Failure> {
        let Forward {
            mut head,
            body,
            path,
            matched,
            client,
            interim,
            spawn,
        } = request;
        let balance = &self.upstreams.balance;
        let kept_with = self.upstreams.kept(&head.headers);
        let order = self.upstreams.order(&head, client.peer, kept_with);
        let preamble = balance
            .proxy_protocol
            .map(|version| proxy_protocol::header(version, client.peer, client.local));
        let switch = headers::wants_websocket(&head)
            .then(|| head.extensions.remove::<OnUpgrade>())
            .flatten();
        head.extensions.clear();
        let replayable = body.is_empty() && is_idempotent(&head.method);
        let (body, progress) = UploadBody::new(body);
        let mut body = Some(body);
        let client_host = HeaderValue::from_str(client.authority)
            .map_err(|_| Failure::new(StatusCode::BAD_REQUEST))?;
        headers::request(&mut head, &client_host, &client, switch.is_some());

        let asked = head.uri.clone();
        let mut failure = Failure::new(StatusCode::BAD_GATEWAY);
        for index in order {
            let Some(upstream) = self.upstreams.get(index) else {
                continue;
            };
            if self.host == HostPolicy::Upstream {
                head.headers
                    .insert(header::HOST, upstream.authority.clone());
            }
            head.uri = upstream_uri(&asked, &path, matched, &upstream.base)
                .ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST))?;
            // A connection that says whose it is cannot be another's.
            let mut link = match preamble {
                None => upstream.pool.reuse(),
                Some(_) => None,
            };
            let preamble = preamble.as_deref().unwrap_or_default();
            loop {
                let mut using = match link.take() {
                    Some(link) => link,
                    None => match upstream.pool.connect(self.times.connect, preamble).await {
                        Ok(link) => link,
                        Err(error) => {
                            upstream.pool.failed(balance.fails, balance.fail_time);
                            failure = unreachable(upstream.pool.target(), &error);
                            break;
                        }
                    },
                };
                let Some(sending) = body.take() else {
                    return Err(failure);
                };
                let keep = using.reused && replayable;
                let h2 = using.is_h2().then_some(&upstream.authority);
                let (message, kept) = message(&mut head, sending, keep, h2, interim.clone())?;
                let patience = patience(progress.as_deref(), self.times.first_byte);
                let error = match using.send(message, patience).await {
                    Some(Ok(response)) => {
                        upstream.pool.answered();
                        let answer = self.answer(response, using, upstream, matched, &path);
                        return answer.map(|(mut response, tunnel)| {
                            if kept_with != Some(index)
                                && let Some(cookie) = self.upstreams.cookie(index, client.tls)
                            {
                                response.headers_mut().append(header::SET_COOKIE, cookie);
                            }
                            if let (Some(client), Some(tunnel)) = (switch, tunnel) {
                                spawn(tunnel(client));
                            }
                            response
                        });
                    }
                    Some(Err(error)) => error,
                    None => {
                        let target = upstream.pool.target();
                        upstream.pool.failed(balance.fails, balance.fail_time);
                        return Err(Failure::new(StatusCode::GATEWAY_TIMEOUT)
                            .because(format!("{target}: no response in time")));
                    }
                };
                if let Some(failure) = clients_fault(&error.error) {
                    return Err(failure);
                }
                // A connection that was idle may have been closed by the upstream at the very
                // moment it was taken. Then, and only then, the request is sent once more: where
                // nothing of it was sent, or where sending it twice does no more than once.
                let again = using.reused;
                if let (true, Some(unsent)) = (again, error.unsent) {
                    let (parts, unsent) = unsent.into_parts();
                    (head, body) = (parts, Some(unsent));
                } else if let (true, Some(kept)) = (again, kept) {
                    (head, body) = (kept, Some(UploadBody::empty()));
                } else {
                    let target = upstream.pool.target();
                    upstream.pool.failed(balance.fails, balance.fail_time);
                    return Err(Failure::new(StatusCode::BAD_GATEWAY)
                        .because(format!("{target}: {}", chain(&error.error))));
                }
            }
        }
        Err(failure)
    }

    #[allow(clippy::type_complexity)]
    fn answer(
        &self,
        response: Response<Incoming>,
        link: Link,
        upstream: &Upstream,
        matched: usize,
        path: &NormalPath<'_>,
    ) -> Result<
        (
            Response<Body>,
            Option<impl FnOnce(OnUpgrade) -> BoxFuture<'static, ChildResult> + use<>>,
        ),
        Failure,
    > {
        let (mut head, incoming) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = head.extensions.remove::<OnUpgrade>();
            let (true, Some(upgraded)) = (headers::became_websocket(&head), upgraded) else {
                return Err(Failure::new(StatusCode::BAD_GATEWAY)
                    .because("the upstream switched to a protocol nobody asked for"));
            };
            headers::switching(&mut head);
            let idle = self.times.websocket;
            let tunnel = move |client: OnUpgrade| -> BoxFuture<'static, ChildResult> {
                Box::pin(async move {
                    tunnel::run(client, upgraded, link, idle).await?;
                    Ok(())
                })
            };
            return Ok((Response::from_parts(head, Body::Empty), Some(tunnel)));
        }
        headers::response(&mut head);
        let names = Names {
            origin: &upstream.origin,
            base: &upstream.base,
            prefix: path.as_bytes().get(..matched).unwrap_or_default(),
        };
        names.rewrite(&mut head);
        let body = UpstreamBody::new(link, incoming, upstream.pool.clone(), self.times.idle);
        let body = Body::Upstream(Box::new(body));
        Ok((Response::from_parts(head, body), None))
    }
}

/// The request as it is sent, and its head where it may have to be sent again. `h2` is the
/// authority for an upstream that speaks HTTP/2.
fn message(
    head: &mut request::Parts,
    body: UploadBody,
    keep: bool,
    h2: Option<&HeaderValue>,
    interim: Option<Interim>,
) -> Result<(Request<UploadBody>, Option<request::Parts>), Failure> {
    let kept = keep.then(|| head.clone());
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = std::mem::take(&mut head.headers);
    if let Some(authority) = h2 {
        let host = request.headers().get(header::HOST).unwrap_or(authority);
        let uri = Uri::builder()
            .scheme("http")
            .authority(host.as_bytes())
            .path_and_query(head.uri.path_and_query().map_or("/", PathAndQuery::as_str))
            .build()
            .map_err(|_| Failure::new(StatusCode::BAD_REQUEST))?;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        headers::for_h2(request.headers_mut());
    } else {
        *request.uri_mut() = head.uri.clone();
        if let Some(interim) = interim {
            hyper::ext::on_informational(&mut request, move |response| {
                if let Some(bytes) = headers::interim(response.status(), response.headers()) {
                    interim(&bytes);
                }
            });
        }
    }
    Ok((request, kept))
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// Ends when the response is overdue: an upload that moves puts it off.
async fn patience(progress: Option<&Progress>, first_byte: Duration) {
    let Some(progress) = progress else {
        return tokio::time::sleep(first_byte).await;
    };
    loop {
        let deadline = progress.last() + first_byte;
        if deadline <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(deadline.into()).await;
    }
}

/// The target for the upstream. The client's own spelling is kept where it names the same path to
/// any reader; where segments were resolved or the prefix is replaced, the normal form goes.
fn upstream_uri(uri: &Uri, path: &NormalPath<'_>, matched: usize, base: &str) -> Option<Uri> {
    if base.is_empty() && !path.had_dots() {
        let target = uri.path_and_query()?.clone();
        return Some(Uri::from(target));
    }
    let mut target = if base.is_empty() {
        path.to_escaped(0)
    } else {
        let rest = path.to_escaped(matched);
        let mut target = String::with_capacity(base.len() + rest.len());
        target.push_str(base.strip_suffix('/').unwrap_or(base));
        target.push_str(&rest);
        if target.is_empty() {
            target.push('/');
        }
        target
    };
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target).ok().map(Uri::from)
}

fn unreachable(target: &Target, error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::TimedOut {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::BAD_GATEWAY
    };
    Failure::new(status).because(format!("{target}: cannot connect: {error}"))
}

/// What went wrong on the client's side of an upload.
fn clients_fault(error: &hyper::Error) -> Option<Failure> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<UploadError>() {
            let status = match error {
                UploadError::TooSlow => StatusCode::REQUEST_TIMEOUT,
                UploadError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                UploadError::Broken(_) => StatusCode::BAD_REQUEST,
            };
            return Some(Failure::new(status).closing().because(error.to_string()));
        }
        source = error.source();
    }
    None
}

fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(target: &str, matched: usize, base: &str) -> Option<String> {
        let uri: Uri = target.parse().ok()?;
        let path = NormalPath::parse(uri.path()).ok()?;
        upstream_uri(&uri, &path, matched, base).map(|uri| uri.to_string())
    }

    #[test]
    fn targets() {
        for (target, matched, base, expected) in [
            ("/app/x?y=z", 4, "", "/app/x?y=z"),
            ("/app//x%2Fy/%7e", 4, "", "/app//x%2Fy/%7e"),
            ("/app/../x?y", 0, "", "/x?y"),
            ("/app/x?y=z", 4, "/", "/x?y=z"),
            ("/app/x%2Fy%20z", 4, "/base/", "/base/x%2Fy%20z"),
            ("/app", 4, "/", "/"),
            ("/app/", 4, "/base", "/base/"),
            ("http://example.org/app/x", 4, "", "/app/x"),
        ] {
            assert_eq!(
                uri(target, matched, base).as_deref(),
                Some(expected),
                "{target}"
            );
        }
    }
}
