//! Asking upstreams how they are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, header};
use tokio::task::JoinSet;

use super::{Check, Pool, body::UploadBody};

/// How often it is looked whether a check is due.
const STEP: Duration = Duration::from_millis(100);
/// The same where there are none.
const IDLE_STEP: Duration = Duration::from_secs(1);

/// A check of one upstream.
#[derive(Debug, Clone)]
pub struct Checkup {
    pub(super) pool: Arc<Pool>,
    pub(super) authority: HeaderValue,
    pub(super) check: Check,
}

/// Makes the checks that `wanted` gives, each in its interval, until it is dropped.
pub async fn run(wanted: impl Fn() -> Vec<Checkup>) {
    let mut due: HashMap<(usize, String), Instant> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        let wanted = wanted();
        let known: HashSet<_> = wanted.iter().map(Checkup::key).collect();
        due.retain(|key, _| known.contains(key));
        let now = Instant::now();
        for checkup in wanted {
            let next = due.entry(checkup.key()).or_insert(now);
            if *next <= now {
                *next = now + checkup.check.interval;
                running.spawn(checkup.make());
            }
        }
        while running.try_join_next().is_some() {}
        let step = if due.is_empty() { IDLE_STEP } else { STEP };
        tokio::time::sleep(step).await;
    }
}

impl Checkup {
    /// Routes that ask the same of the same upstream ask once. A pool is known by its place in
    /// memory while it is there.
    fn key(&self) -> (usize, String) {
        (Arc::as_ptr(&self.pool).addr(), self.check.path.clone())
    }

    async fn make(self) {
        let asked = tokio::time::timeout(self.check.timeout, self.ask()).await;
        let path = &self.check.path;
        match asked {
            Ok(Ok(())) => self.pool.checked(path, true, ""),
            Ok(Err(reason)) => self.pool.checked(path, false, &reason),
            Err(_) => self.pool.checked(path, false, "no answer in time"),
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let mut link = self
            .pool
            .for_check(self.check.timeout)
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::get(self.check.path.as_str())
            .header(header::HOST, self.authority.clone())
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, "omnid")
            .body(UploadBody::empty())
            .map_err(|error| error.to_string())?;
        let patience = tokio::time::sleep(self.check.timeout);
        match link.send(request, patience).await {
            Some(Ok(response)) if response.status().as_u16() / 100 < 4 => Ok(()),
            Some(Ok(response)) => Err(format!("it answers {}", response.status().as_u16())),
            Some(Err(error)) => Err(error.error.to_string()),
            None => Err("no answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use hyper::{server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;
    use crate::proxy::{Protocol, Target};

    #[tokio::test]
    async fn each_path_is_checked_and_over_few_connections() -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (connections, bad) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let upstream = async {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let bad = bad.clone();
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let is_bad = request.uri().path() == "/bad";
                    bad.fetch_add(is_bad.into(), Ordering::Relaxed);
                    let mut response = http::Response::new(crate::body::Body::Empty);
                    if is_bad {
                        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    }
                    std::future::ready(Ok::<_, Infallible>(response))
                });
                let server = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), answer));
            }
        };
        let host = "127.0.0.1".to_owned();
        let pool = Arc::new(Pool::new(Target::Tcp { host, port }, Protocol::H2c));
        let wanted = ["/good", "/bad"].map(|path| Checkup {
            pool: pool.clone(),
            authority: HeaderValue::from_static("a.test"),
            check: Check {
                path: path.to_owned(),
                interval: Duration::from_millis(1),
                timeout: Duration::from_secs(5),
            },
        });
        let checked = async {
            while bad.load(Ordering::Relaxed) < 4 || !pool.is_avoided(Some("/bad")) {
                tokio::time::sleep(STEP).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! {
                () = run(|| wanted.to_vec()) => false,
                () = upstream => false,
                () = checked => true,
            }
        });
        assert_eq!(ended.await, Ok(true));
        assert!(!pool.is_avoided(Some("/good")) && !pool.is_avoided(None));
        // Both of the first round may have opened one.
        assert!(connections.load(Ordering::Relaxed) <= 2);
        Ok(())
    }
}
