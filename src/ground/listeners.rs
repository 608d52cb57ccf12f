//! Listeners as children of a service: opened, retried, accepted from and closed in one way.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use omnid_config::ListenAddr;
use omnid_hub::{BoxFuture, Event};
use omnid_net::{Accepted, DatagramSocket, Transport};
use omnid_supervisor::{Child, ChildResult, ChildSpec, Handle};
use tracing::{error, info};

use crate::{Change, Ground, ServiceError};

/// The wait before an address that could not be bound is tried again; doubled up to the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// A listener that a configuration asks for. Two that have the same name are the same listener:
/// what runs under it looks its settings up live.
pub struct Wanted {
    name: String,
    socket: Socket,
    child: ChildSpec,
}

/// The socket behind a listener, to be released when the listener goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    owner: String,
    transport: Transport,
    address: ListenAddr,
}

/// A TCP or Unix listener. Every accepted connection goes to `connect`, which spawns its task on
/// the child it is given ([`Child::spawn`]) and returns at once.
pub fn streams(
    ground: &Ground,
    service: &'static str,
    kind: &str,
    address: &ListenAddr,
    connect: impl Fn(&Child, Accepted) + Send + Sync + 'static,
) -> Wanted {
    let name = format!("{kind} {address}");
    // The owner's name tells two listeners of one service on port 0 apart.
    let owner = format!("{service} {kind}");
    let socket = Socket {
        owner: owner.clone(),
        transport: Transport::Stream,
        address: address.clone(),
    };
    let connect = Arc::new(connect);
    let (ground, address) = (ground.clone(), address.clone());
    let child = ChildSpec::worker(name.clone(), move |child: Child| {
        let (ground, address, connect) = (ground.clone(), address.clone(), connect.clone());
        let owner = owner.clone();
        async move {
            let open = || ground.net.listen(&owner, &address);
            let Some(listener) = opened(&child, &ground, service, &address, open).await else {
                return Ok(());
            };
            child.ready();
            loop {
                tokio::select! {
                    accepted = listener.accept() => connect(&child, accepted),
                    () = child.draining() => return Ok(()),
                }
            }
        }
    });
    Wanted {
        name,
        socket,
        child,
    }
}

/// A UDP listener as a group of sockets on one address, between which the kernel spreads the
/// datagrams; each is a child of its own, and `run` owns it until the child drains.
pub fn datagrams(
    ground: &Ground,
    service: &'static str,
    kind: &str,
    address: SocketAddr,
    sockets: usize,
    run: impl Fn(Child, DatagramSocket) -> BoxFuture<'static, ChildResult> + Send + Sync + 'static,
) -> Vec<Wanted> {
    let run = Arc::new(run);
    let one = |index: usize| {
        let name = format!("{kind} {address} #{index}");
        let owner = format!("{service} {kind}");
        let socket = Socket {
            owner: owner.clone(),
            transport: Transport::Datagram,
            address: ListenAddr::from(address),
        };
        let (ground, run) = (ground.clone(), run.clone());
        let child = ChildSpec::worker(name.clone(), move |child: Child| {
            let (ground, run, owner) = (ground.clone(), run.clone(), owner.clone());
            async move {
                let open = || ground.net.datagrams(&owner, address, sockets);
                let Some(group) = opened(&child, &ground, service, &address, open).await else {
                    return Ok(());
                };
                let Some(socket) = group.into_iter().nth(index) else {
                    return Ok(());
                };
                child.ready();
                run(child, socket).await
            }
        });
        Wanted {
            name,
            socket,
            child,
        }
    };
    (0..sockets).map(one).collect()
}

/// Opens a socket, however long it takes: an address that is not there yet, or is still taken by a
/// process that is going, shows as the child's failure until it is bound. `None` at shutdown.
async fn opened<S, E: Display>(
    child: &Child,
    ground: &Ground,
    service: &'static str,
    address: &impl Display,
    open: impl Fn() -> Result<S, E>,
) -> Option<S> {
    let mut wait = RETRY_FIRST;
    let mut failed = false;
    loop {
        match open() {
            Ok(socket) => {
                if failed {
                    info!(service, %address, "listening at last");
                }
                return Some(socket);
            }
            Err(reason) => {
                let reason = reason.to_string();
                child.degraded(format!("cannot listen: {reason}"));
                if !failed {
                    failed = true;
                    error!(service, %address, reason, "cannot listen; trying again until it works");
                    let address = address.to_string();
                    let event = Event::ListenerFailed {
                        service: service.into(),
                        address,
                        reason,
                    };
                    ground.hub.events().publish(event);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
            () = child.draining() => return None,
        }
    }
}

/// Releases every socket of a service that goes. A client that comes from now on is refused, and
/// not kept waiting for nobody.
pub fn release_all(ground: &Ground, service: &str) {
    // Owners are named `SERVICE KIND`, above.
    ground.net.release_all(|owner| {
        let kind = owner.strip_prefix(service);
        kind.is_some_and(|kind| kind.starts_with(' '))
    });
}

/// The listeners of one service that run now.
#[derive(Default)]
pub struct ListenerSet {
    running: Mutex<BTreeMap<String, Socket>>,
}

impl ListenerSet {
    /// Makes the listeners in `tree` those wanted: removes what is gone (its connections drain
    /// within the child's bound, then its socket is released), adds what is new, leaves the rest
    /// alone.
    ///
    /// # Errors
    /// Where the service's supervisor is gone.
    pub async fn apply(
        &self,
        ground: &Ground,
        tree: &Handle,
        wanted: Vec<Wanted>,
    ) -> Result<(), ServiceError> {
        let failed = |reason: &dyn Display| ServiceError {
            service: "listener",
            reason: reason.to_string(),
        };
        let gone: Vec<(String, Socket)> = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = |name: &String| wanted.iter().any(|wanted| wanted.name == *name);
            running
                .iter()
                .filter(|(name, _)| !kept(name))
                .map(|(name, socket)| (name.clone(), socket.clone()))
                .collect()
        };
        for (name, socket) in gone {
            // The socket first: a client that comes now must be refused, not kept waiting.
            if !wanted.iter().any(|wanted| wanted.socket == socket) {
                ground
                    .net
                    .release(&socket.owner, socket.transport, &socket.address);
            }
            tree.remove(&name).await.map_err(|error| failed(&error))?;
            self.running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
        }
        for Wanted {
            name,
            socket,
            child,
        } in wanted
        {
            let runs = self
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(&name);
            if !runs {
                tree.add(child).await.map_err(|error| failed(&error))?;
                self.running
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name, socket);
            }
        }
        Ok(())
    }

    /// What [`ListenerSet::apply`] would change. Connections of a listener that goes are counted.
    pub fn plan(&self, wanted: &[Wanted], tree: Option<&Handle>) -> Vec<Change> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |name: &str| {
            let child = tree.and_then(|tree| tree.child(name));
            child.map_or(0, |child| child.status().total_load())
        };
        let removed = running
            .keys()
            .filter(|name| !wanted.iter().any(|wanted| wanted.name == **name))
            .map(|name| Change {
                what: format!("listener {name}"),
                how: "removed",
                connections: load(name),
            });
        let added = wanted
            .iter()
            .filter(|wanted| !running.contains_key(&wanted.name))
            .map(|Wanted { name, .. }| Change {
                what: format!("listener {name}"),
                how: "added",
                connections: 0,
            });
        removed.chain(added).collect()
    }
}
