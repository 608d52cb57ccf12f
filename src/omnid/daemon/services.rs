//! The four services with their types erased, so that check, start and reload treat them alike.

use std::{any::Any, sync::Arc};

use omnid_config::Problems;
use omnid_ground::{Change, Ground, ListenerClaim, Prepare, Service, ServiceError};
use omnid_hub::BoxFuture;
use omnid_supervisor::{ChildSpec, Handle, SupervisorSpec};
use tokio::sync::Mutex;

use crate::root::Root;

type AnyPrepared = Box<dyn Any + Send + Sync>;

/// Every service that this daemon knows, running or not.
pub struct Services {
    slots: Vec<Box<dyn Slot>>,
}

/// What each service made of its section; `None` where the section is missing.
pub struct Prepared(Vec<Option<AnyPrepared>>);

impl Services {
    /// All four, none of them running.
    pub fn new() -> Self {
        Self {
            slots: vec![
                Box::new(Of::<omnid_dns::Dns>::new(|root| root.dns.as_ref())),
                Box::new(Of::<omnid_http::Http>::new(|root| root.http.as_ref())),
                Box::new(Of::<omnid_sip::Sip>::new(|root| root.sip.as_ref())),
                Box::new(Of::<omnid_xmpp::Xmpp>::new(|root| root.xmpp.as_ref())),
            ],
        }
    }

    /// The addresses that the configuration claims, with the service that does.
    pub fn claims(&self, root: &Root) -> Vec<(&'static str, ListenerClaim)> {
        let of = |slot: &Box<dyn Slot>| {
            let name = slot.name();
            slot.claims(root)
                .into_iter()
                .map(move |claim| (name, claim))
                .collect::<Vec<_>>()
        };
        self.slots.iter().flat_map(of).collect()
    }

    /// Loads and checks every section; `None` where one of them has errors.
    pub fn prepare(
        &self,
        root: &Root,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Prepared> {
        // Not `?` in the loop: every service gets to say what is wrong.
        let each: Vec<_> = self
            .slots
            .iter()
            .map(|slot| slot.prepare(root, context, problems))
            .collect();
        each.into_iter().collect::<Option<Vec<_>>>().map(Prepared)
    }

    /// What [`Services::apply`] would change.
    pub async fn plan(&self, prepared: &Prepared) -> Vec<(&'static str, Change)> {
        let mut changes = Vec::new();
        for (slot, prepared) in self.slots.iter().zip(&prepared.0) {
            let of_one = slot.plan(prepared.as_deref()).await;
            changes.extend(of_one.into_iter().map(|change| (slot.name(), change)));
        }
        changes
    }

    /// Makes what runs into what was prepared. One service's failure keeps no other from running;
    /// the errors come back together.
    pub async fn apply(
        &self,
        prepared: Prepared,
        ground: &Ground,
        tree: &Handle,
    ) -> Vec<ServiceError> {
        let mut errors = Vec::new();
        for (slot, prepared) in self.slots.iter().zip(prepared.0) {
            if let Err(error) = slot.apply(prepared, ground, tree).await {
                errors.push(error);
            }
        }
        errors
    }

    /// Lets every running service say its last words, youngest first.
    pub async fn close(&self) {
        for slot in self.slots.iter().rev() {
            slot.close().await;
        }
    }

    /// Answers a question of `omnid test`.
    pub fn rehearse(
        &self,
        service: &str,
        prepared: &Prepared,
        question: &serde_json::Value,
    ) -> Result<serde_json::Value, String> {
        for (slot, prepared) in self.slots.iter().zip(&prepared.0) {
            if slot.name() == service {
                let prepared = prepared
                    .as_deref()
                    .ok_or_else(|| format!("the configuration has no [{service}] section"))?;
                return slot.rehearse(prepared, question);
            }
        }
        Err(format!("there is no service {service}"))
    }
}

/// One service behind a face that all have in common.
trait Slot: Send + Sync {
    fn name(&self) -> &'static str;
    fn claims(&self, root: &Root) -> Vec<ListenerClaim>;
    /// Outer `None`: errors. Inner `None`: no such section.
    fn prepare(
        &self,
        root: &Root,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Option<AnyPrepared>>;
    fn plan<'a>(
        &'a self,
        prepared: Option<&'a (dyn Any + Send + Sync)>,
    ) -> BoxFuture<'a, Vec<Change>>;
    fn apply<'a>(
        &'a self,
        prepared: Option<AnyPrepared>,
        ground: &'a Ground,
        tree: &'a Handle,
    ) -> BoxFuture<'a, Result<(), ServiceError>>;
    fn close(&self) -> BoxFuture<'_, ()>;
    fn rehearse(
        &self,
        prepared: &(dyn Any + Send + Sync),
        question: &serde_json::Value,
    ) -> Result<serde_json::Value, String>;
}

struct Of<S: Service> {
    section: fn(&Root) -> Option<&S::Config>,
    running: Mutex<Option<Running<S>>>,
}

struct Running<S> {
    service: Arc<S>,
    /// The operator's verbs that it answers.
    verbs: Vec<&'static str>,
}

impl<S: Service> Of<S> {
    fn new(section: fn(&Root) -> Option<&S::Config>) -> Self {
        Self {
            section,
            running: Mutex::new(None),
        }
    }

    fn error(reason: impl ToString) -> ServiceError {
        ServiceError {
            service: S::NAME,
            reason: reason.to_string(),
        }
    }
}

impl<S: Service> Slot for Of<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn claims(&self, root: &Root) -> Vec<ListenerClaim> {
        (self.section)(root).map(S::listeners).unwrap_or_default()
    }

    fn prepare(
        &self,
        root: &Root,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Option<AnyPrepared>> {
        let Some(config) = (self.section)(root) else {
            return Some(None);
        };
        let prepared = S::prepare(config, context, problems)?;
        Some(Some(Box::new(prepared)))
    }

    fn plan<'a>(
        &'a self,
        prepared: Option<&'a (dyn Any + Send + Sync)>,
    ) -> BoxFuture<'a, Vec<Change>> {
        Box::pin(async move {
            let running = self.running.lock().await;
            let whole = |how| Change {
                what: format!("service {}", S::NAME),
                how,
                connections: 0,
            };
            match (
                &*running,
                prepared.and_then(|prepared| prepared.downcast_ref::<S::Prepared>()),
            ) {
                (Some(running), Some(prepared)) => running.service.plan(prepared),
                (None, Some(_)) => vec![whole("added")],
                (Some(_), None) => vec![whole("removed")],
                (None, None) => Vec::new(),
            }
        })
    }

    fn apply<'a>(
        &'a self,
        prepared: Option<AnyPrepared>,
        ground: &'a Ground,
        tree: &'a Handle,
    ) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(async move {
            let mut running = self.running.lock().await;
            let Some(prepared) = prepared else {
                if let Some(Running { service, verbs }) = running.take() {
                    omnid_ground::release_all(ground, S::NAME);
                    tree.remove(S::NAME).await.map_err(Self::error)?;
                    service.close().await;
                    let hub = &ground.hub;
                    hub.directory().withdraw(S::NAME);
                    verbs.iter().for_each(|verb| hub.control().withdraw(verb));
                }
                return Ok(());
            };
            let prepared = prepared
                .downcast::<S::Prepared>()
                .map_err(|_| Self::error("prepared by another service"))?;
            let service = match &*running {
                Some(running) => running.service.clone(),
                None => {
                    let supervisor = ChildSpec::supervisor(SupervisorSpec::new(S::NAME));
                    tree.add(supervisor).await.map_err(Self::error)?;
                    let control = ground.hub.control();
                    let others = control.verbs();
                    let service = S::open(ground.clone()).await?;
                    let mut verbs = control.verbs();
                    verbs.retain(|verb| !others.contains(verb));
                    *running = Some(Running {
                        service: service.clone(),
                        verbs,
                    });
                    service
                }
            };
            let own = tree
                .child(S::NAME)
                .ok_or_else(|| Self::error("its supervisor is gone"))?;
            service.apply(*prepared, &own).await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(running) = self.running.lock().await.take() {
                running.service.close().await;
            }
        })
    }

    fn rehearse(
        &self,
        prepared: &(dyn Any + Send + Sync),
        question: &serde_json::Value,
    ) -> Result<serde_json::Value, String> {
        let prepared = prepared
            .downcast_ref::<S::Prepared>()
            .ok_or_else(|| "prepared by another service".to_owned())?;
        S::rehearse(prepared, question)
    }
}
