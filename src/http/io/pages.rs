//! Pages for failures that a program writes, as Apache's ErrorDocument runs one: by an internal
//! redirect, of which it is told in REDIRECT_* variables.

use http::{HeaderMap, Method, Response, StatusCode, header, request::Parts};

use super::{
    RequestBody,
    handler::{ConnectionFacts, Handler},
};
use crate::{
    answer::Failure,
    body::Body,
    engine::routes::Found,
    files::FileAnswer,
    gateway::{self, Caller, Failed, Script, Scripts},
    site::{Action, Site},
    wire::target::NormalPath,
};

/// What was asked for, kept for the program that may have to write the page.
pub(super) struct Asked {
    head: Parts,
    /// The path in normal form.
    path: Vec<u8>,
}

impl Asked {
    pub(super) fn new(head: &Parts, path: &NormalPath<'_>) -> Self {
        Self {
            head: head.clone(),
            path: path.as_bytes().to_vec(),
        }
    }
}

impl Handler {
    /// The program that writes a site's page for a status, if one does.
    pub(super) fn page_program<'s>(
        &self,
        site: &'s Site,
        status: StatusCode,
    ) -> Option<(&'s Scripts, Script)> {
        let page = site.error_pages.get(&status.as_u16())?;
        let path = NormalPath::parse(page).ok()?;
        let Found::Route { route, matched, .. } = site.route(path.as_bytes()) else {
            return None;
        };
        let Action::Scripts(scripts) = &route.action else {
            return None;
        };
        match scripts.find(&path, matched, &self.cache.load()) {
            gateway::Found::Script(script) => Some((scripts, script)),
            gateway::Found::File => None,
        }
    }

    /// Has a program write the page for a failure. Where it cannot, the failure stays as it is.
    pub(super) async fn write_page(
        &self,
        site: &Site,
        host: &str,
        connection: &ConnectionFacts,
        user: Option<&str>,
        asked: Asked,
        failure: Failure,
    ) -> FileAnswer {
        let Some((scripts, script)) = self.page_program(site, failure.status) else {
            return Err(failure);
        };
        let Asked { mut head, path } = asked;
        let target = head.uri.path_and_query();
        let target = target
            .map_or("/", http::uri::PathAndQuery::as_str)
            .to_owned();
        let query = head.uri.query().map(str::to_owned);
        let method = std::mem::take(&mut head.method);
        if method == Method::HEAD {
            head.method = Method::HEAD;
        }
        if let Some(page) = site.error_pages.get(&failure.status.as_u16())
            && let Ok(uri) = page.parse()
        {
            head.uri = uri;
        }
        about_no_body(&mut head.headers);
        let caller = Caller {
            peer: connection.peer,
            local: connection.local,
            tls: connection.tls,
            host,
            target: &target,
            user,
            failed: Some(Failed {
                status: failure.status.as_u16(),
                path: &path,
                query: query.as_deref(),
                method: method.as_str(),
            }),
            env: &[],
        };
        match scripts
            .run(&script, &head, RequestBody::none(), &caller)
            .await
        {
            Ok(response) => Ok(said(response, failure)),
            Err(worse) => {
                tracing::warn!(reason = %worse.reason, "no page for a failure");
                Err(failure)
            }
        }
    }
}

/// A program that says nothing of the status leaves it as it was.
fn said(mut response: Response<Body>, failure: Failure) -> Response<Body> {
    if response.status() == StatusCode::OK {
        *response.status_mut() = failure.status;
    }
    failure.decorate(&mut response);
    response
}

/// The body was the failed request's; conditions and ranges were of what was not there.
fn about_no_body(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::TRANSFER_ENCODING,
        header::EXPECT,
    ] {
        headers.remove(name);
    }
}
