//! The running daemon: from a checked configuration to a tree, and through reloads to its end.

mod descriptors;
mod reload;
pub mod services;
mod signals;
mod verbs;
mod watchdog;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use omnid_admin::Admin;
use omnid_ground::{Ground, ListenerSet, ServerFacts};
use omnid_hub::Hub;
use omnid_net::{
    Net,
    systemd::{Notify, Passed},
};
use omnid_supervisor::{Child, ChildSpec, Exit, Handle, Intensity, Supervisor, SupervisorSpec};
use omnid_telemetry::Telemetry;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use crate::{check::Checked, data_directory, root::Root};
use services::Services;

/// Restarts that the whole tree bears before the process gives up and systemd takes over. Low,
/// since intensities multiply down the tree.
const ROOT_INTENSITY: Intensity = Intensity {
    restarts: 5,
    within: Duration::from_secs(60),
};

/// Everything that lives as long as the process.
pub struct Daemon {
    path: PathBuf,
    services: Services,
    ground: Ground,
    telemetry: Telemetry,
    tree: Handle,
    admin_listeners: ListenerSet,
    /// The configuration that runs. Held while a reload is under way, so that reloads queue.
    current: Mutex<Root>,
}

/// Why the daemon did not come up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn new(what: &str, error: &dyn std::error::Error) -> Self {
        let mut message = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            // Some errors say what caused them by themselves.
            let cause_said = cause.to_string();
            if !message.ends_with(&cause_said) {
                message.push_str(&format!(": {cause_said}"));
            }
            source = cause.source();
        }
        Self(message)
    }
}

/// Runs until a signal or the tree's own end. `started` is called once every listener is bound.
///
/// # Errors
/// Where the ground (store, identity, log) cannot be laid.
pub async fn run(
    path: &Path,
    services: Services,
    checked: Checked,
    started: impl AsyncFnOnce(&Arc<Daemon>),
) -> Result<ExitCode, StartError> {
    let root = checked.root.clone();
    let telemetry = omnid_telemetry::init(&root.log)
        .map_err(|error| StartError::new("cannot set up the log", &error))?;
    for line in checked.warnings.lines() {
        warn!("{line}");
    }
    descriptors::raise();
    let mut signals = signals::Signals::new()
        .map_err(|error| StartError::new("cannot listen for signals", &error))?;
    let ground = lay_ground(&root, checked.certificates, checked.scripts).await?;

    let spec = SupervisorSpec::new("omnid").intensity(ROOT_INTENSITY);
    let (tree, mut over) = Supervisor::start(spec);
    let daemon = Arc::new(Daemon {
        path: path.to_owned(),
        services,
        ground,
        telemetry,
        tree,
        admin_listeners: ListenerSet::default(),
        current: Mutex::new(root.clone()),
    });
    daemon.start_own_children(&root).await?;
    verbs::register(&daemon);
    for error in daemon
        .services
        .apply(checked.services, &daemon.ground, &daemon.tree)
        .await
    {
        error!(%error, "service did not start");
    }

    let ready = {
        let daemon = daemon.clone();
        async move {
            daemon.tree.wait_ready().await;
            daemon.ground.net.close_unclaimed();
            daemon.ground.net.notify().ready();
            info!(version = env!("CARGO_PKG_VERSION"), "ready");
            started(&daemon).await;
        }
    };
    tokio::pin!(ready);
    let mut is_ready = false;
    loop {
        tokio::select! {
            () = &mut ready, if !is_ready => is_ready = true,
            signal = signals.next() => match signal {
                signals::Signal::Stop(name) => {
                    info!(signal = name, "stopping");
                    break;
                }
                signals::Signal::Reload => match daemon.reload(false).await {
                    Ok(plan) => info!(changes = plan.changes(), "reloaded"),
                    Err(rejected) => error!("not reloaded, nothing changed:\n{rejected}"),
                },
            },
            exit = &mut over => {
                let reason = match exit {
                    Ok(Exit::Escalated(reason)) => reason,
                    Ok(Exit::Stopped) => "stopped".to_owned(),
                    Err(error) => error.to_string(),
                };
                error!(%reason, "the supervisor tree has given up");
                daemon.ground.net.notify().stopping();
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    daemon.ground.net.notify().stopping();
    let drain = daemon.ground.server.load().server.drain;
    daemon.tree.shutdown(drain).await;
    daemon.services.close().await;
    daemon.ground.identity.flush().await;
    daemon.ground.database.close().await;
    info!("stopped");
    daemon.telemetry.flush(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

async fn lay_ground(
    root: &Root,
    certificates: omnid_tls::Prepared,
    prepared_scripts: omnid_script::Prepared,
) -> Result<Ground, StartError> {
    let data = &root.server.data_dir;
    data_directory::create(data).map_err(|error| {
        StartError::new(
            &format!("cannot create [server] data_dir {}", data.display()),
            &error,
        )
    })?;
    let database = omnid_store::Database::open(&root.store, data)
        .await
        .map_err(|error| StartError::new("cannot open the store", &error))?;
    let hub = Hub::new();
    let identity = omnid_identity::Identity::open(&root.identity, database.clone(), hub.clone())
        .await
        .map_err(|error| StartError::new("cannot open the accounts", &error))?;
    let scripts = omnid_script::Scripts::open(hub.clone(), database.clone())
        .await
        .map_err(|error| StartError::new("cannot start the scripts", &error))?;
    scripts.swap(prepared_scripts);
    let facts = ServerFacts {
        server: root.server.clone(),
        domains: root.domain.clone(),
    };
    Ok(Ground {
        server: Arc::new(ArcSwap::from_pointee(facts)),
        net: Net::with(&root.net, Passed::take(), Notify::from_environment()),
        certificates: omnid_tls::CertStore::new(certificates)
            .map_err(|error| StartError::new("cannot set up TLS", &error))?,
        database,
        identity,
        hub,
        scripts,
    })
}

impl Daemon {
    /// The handles that services stand on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The root of the tree.
    pub fn tree(&self) -> &Handle {
        &self.tree
    }

    async fn start_own_children(self: &Arc<Self>, root: &Root) -> Result<(), StartError> {
        let add = async |child: ChildSpec| {
            let started = self.tree.add(child).await;
            started.map_err(|error| StartError::new("cannot start", &error))
        };
        add(store_maintenance(&self.ground)).await?;
        add(certificates(&self.ground)).await?;
        add(automatic_certificates(&self.ground)).await?;
        add(scripts(&self.ground)).await?;
        add(watchdog::child(self.ground.net.notify())).await?;
        add(ChildSpec::supervisor(SupervisorSpec::new("admin"))).await?;
        self.apply_admin(root).await
    }

    async fn apply_admin(&self, root: &Root) -> Result<(), StartError> {
        let admin = Admin::new(
            root.admin.clone(),
            self.ground.clone(),
            self.telemetry.clone(),
            self.tree.clone(),
        );
        let Some(supervisor) = self.tree.child("admin") else {
            return Err(StartError("the admin supervisor is gone".to_owned()));
        };
        admin
            .apply(&self.admin_listeners, &supervisor)
            .await
            .map_err(|error| StartError::new("cannot open the control socket", &error))
    }
}

/// Delivers events to scripts and runs what they put off.
fn scripts(ground: &Ground) -> ChildSpec {
    let scripts = ground.scripts.clone();
    ChildSpec::worker("scripts", move |child: Child| {
        let scripts = scripts.clone();
        async move {
            child.ready();
            tokio::select! {
                () = scripts.serve() => {}
                () = child.draining() => {}
            }
            Ok(())
        }
    })
}

/// How often the store is tidied.
const MAINTENANCE: Duration = Duration::from_secs(3600);

/// Removes what nothing refers to any more.
fn store_maintenance(ground: &Ground) -> ChildSpec {
    let database = ground.database.clone();
    ChildSpec::worker("store", move |child: Child| {
        let database = database.clone();
        async move {
            child.ready();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(MAINTENANCE) => database.maintain().await?,
                    () = child.draining() => return Ok(()),
                }
            }
        }
    })
}

/// Watches certificate files; what changes is taken without a reload.
fn certificates(ground: &Ground) -> ChildSpec {
    let (certificates, hub) = (ground.certificates.clone(), ground.hub.clone());
    ChildSpec::worker("certificates", move |child: Child| {
        let (certificates, hub) = (certificates.clone(), hub.clone());
        async move {
            child.ready();
            tokio::select! {
                () = certificates.watch(&hub) => {}
                () = child.draining() => {}
            }
            Ok(())
        }
    })
}

/// Asks an authority for certificates and renews them.
fn automatic_certificates(ground: &Ground) -> ChildSpec {
    let (certificates, hub) = (ground.certificates.clone(), ground.hub.clone());
    ChildSpec::worker("automatic certificates", move |child: Child| {
        let (certificates, hub) = (certificates.clone(), hub.clone());
        async move {
            child.ready();
            tokio::select! {
                () = Box::pin(certificates.automate(&hub)) => {}
                () = child.draining() => {}
            }
            Ok(())
        }
    })
}
