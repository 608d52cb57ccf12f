//! What is known about each child, shared by its supervisor, itself and who watches.
//!
//! The list of children lives here and not in the supervisor's future, so that it outlasts the future:
//! a supervisor that is restarted finds the children added since it was first started.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::AddError;
use crate::guard::Trap;
use crate::policy::Window;
use crate::spec::{ChildSpec, Start, SupervisorSpec};
use crate::status::{State, Status, Temporary};

/// Locks, whether or not a panic happened under the lock: what is kept under ours is whole at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One child, for as long as it is in the tree.
pub(crate) struct Node {
    pub(crate) name: String,
    /// The names from below the root down to here; empty for the root.
    pub(crate) path: String,
    pub(crate) parent: Weak<Node>,
    /// Present in supervisors.
    pub(crate) family: Option<Family>,
    pub(crate) trap: Trap,
    face: Mutex<Face>,
    restarts: AtomicU32,
    load: AtomicU64,
    kinds: Mutex<Vec<Arc<Kind>>>,
    /// Removed, or shutting down for good: nothing may be added any more.
    retired: AtomicBool,
    /// Of the whole tree: told whenever a state changes anywhere.
    pub(crate) changed: watch::Sender<()>,
}

struct Face {
    state: State,
    since: SystemTime,
    last_error: Option<String>,
    /// The run that may speak for the child; what older ones say is not heard.
    run: u64,
}

/// A supervisor's children.
pub(crate) struct Family {
    pub(crate) spec: SupervisorSpec,
    slots: Mutex<Vec<Slot>>,
    /// Removed children that have not ended yet.
    leaving: Mutex<Vec<Arc<Node>>>,
}

/// A supervisor's place for one child.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) node: Arc<Node>,
    pub(crate) spec: ChildSpec,
    pub(crate) phase: Phase,
    /// From a start to the next stop; restarts after a failure happen within it.
    pub(crate) term: Option<Arc<Term>>,
    /// Restarts since it last ran for long.
    pub(crate) attempt: u32,
    /// Its own restarts of the last while.
    pub(crate) restarts: Window,
}

#[derive(Clone)]
pub(crate) enum Phase {
    /// To be started as soon as its elders have.
    New,
    /// To be started again then.
    Waiting(Instant),
    Running(Run),
    /// Ended, and not to be started again.
    Over,
}

/// One run of a child: from a call of its start function to the end of the future.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) began: Instant,
    /// Set when the future is no more.
    pub(crate) gone: CancellationToken,
}

/// What the runs of a child and its temporary children have in common until it is stopped.
pub(crate) struct Term {
    pub(crate) drain: CancellationToken,
    /// Also set by the supervisor's own.
    pub(crate) cancel: CancellationToken,
    pub(crate) temporaries: TaskTracker,
}

impl Term {
    pub(crate) fn below(cancel: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            drain: CancellationToken::new(),
            cancel: cancel.child_token(),
            temporaries: TaskTracker::new(),
        })
    }
}

/// The temporary children of one kind.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) alive: AtomicU64,
    pub(crate) total: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) trap: Trap,
}

/// Stands in [`Node::load`] for a child that does not say what it carries.
const LOAD_UNSAID: u64 = u64::MAX;

impl Node {
    pub(crate) fn root(spec: SupervisorSpec) -> Arc<Self> {
        let changed = watch::Sender::new(());
        let name = spec.name.clone();
        Self::build(
            name,
            String::new(),
            Weak::new(),
            Start::Supervisor(spec),
            changed,
        )
    }

    /// A node with all that its specification says is below it.
    fn build(
        name: String,
        path: String,
        parent: Weak<Self>,
        start: Start,
        changed: watch::Sender<()>,
    ) -> Arc<Self> {
        let (family, children) = match start {
            Start::Worker(_) => (None, Vec::new()),
            Start::Supervisor(mut spec) => {
                let children = std::mem::take(&mut spec.children);
                let slots = Mutex::new(Vec::with_capacity(children.len()));
                (
                    Some(Family {
                        spec,
                        slots,
                        leaving: Mutex::default(),
                    }),
                    children,
                )
            }
        };
        let face = Face {
            state: State::Starting,
            since: SystemTime::now(),
            last_error: None,
            run: 0,
        };
        let node = Arc::new(Self {
            name,
            path,
            parent,
            family,
            trap: Trap::alone(),
            face: Mutex::new(face),
            restarts: AtomicU32::new(0),
            load: AtomicU64::new(LOAD_UNSAID),
            kinds: Mutex::default(),
            retired: AtomicBool::new(false),
            changed,
        });
        for child in children {
            if let Err(error) = node.adopt(child) {
                tracing::error!(%error, "a child of the tree's specification is left out");
            }
        }
        node
    }

    /// Makes a place for a new child.
    pub(crate) fn adopt(self: &Arc<Self>, spec: ChildSpec) -> Result<(), AddError> {
        let family = self
            .family
            .as_ref()
            .ok_or_else(|| AddError::NotASupervisor(self.shown()))?;
        if self.is_retired() {
            return Err(AddError::Stopping(self.shown()));
        }
        let mut slots = lock(&family.slots);
        if slots.iter().any(|slot| slot.node.name == spec.name) {
            return Err(AddError::Duplicate(self.shown(), spec.name));
        }
        let path = if self.path.is_empty() {
            spec.name.clone()
        } else {
            format!("{}/{}", self.path, spec.name)
        };
        let node = Self::build(
            spec.name.clone(),
            path,
            Arc::downgrade(self),
            spec.start.clone(),
            self.changed.clone(),
        );
        slots.push(Slot {
            node,
            spec,
            phase: Phase::New,
            term: None,
            attempt: 0,
            restarts: Window::default(),
        });
        drop(slots);
        self.changed.send_replace(());
        Ok(())
    }

    /// Takes a child out of the family, into those that are leaving it.
    pub(crate) fn dismiss(&self, name: &str) -> Option<Slot> {
        let family = self.family.as_ref()?;
        let mut slots = lock(&family.slots);
        let index = slots.iter().position(|slot| slot.node.name == name)?;
        let slot = slots.remove(index);
        slot.node.retire();
        lock(&family.leaving).push(slot.node.clone());
        Some(slot)
    }

    /// Forgets a child that has left.
    pub(crate) fn forget(&self, child: &Arc<Self>) {
        if let Some(family) = &self.family {
            lock(&family.leaving).retain(|leaving| !Arc::ptr_eq(leaving, child));
        }
        self.changed.send_replace(());
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it, or anything above it, is going for good.
    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
            || self
                .parent
                .upgrade()
                .is_some_and(|parent| parent.is_retired())
    }

    pub(crate) fn child(&self, name: &str) -> Option<Arc<Self>> {
        let slots = lock(&self.family.as_ref()?.slots);
        slots
            .iter()
            .find(|slot| slot.node.name == name)
            .map(|slot| slot.node.clone())
    }

    /// Its path, or the root's name: what logs and errors call it.
    pub(crate) fn shown(&self) -> String {
        if self.path.is_empty() {
            self.name.clone()
        } else {
            self.path.clone()
        }
    }

    /// Sets the state, whatever it was.
    pub(crate) fn enter(&self, state: State) {
        self.face_change(|face| face.set(state));
    }

    /// Sets the state to starting and lets only run `run` speak from now on.
    pub(crate) fn begin(&self, run: u64) {
        self.face_change(|face| {
            face.run = run;
            face.set(State::Starting)
        });
    }

    /// Sets the state as the child itself says, unless it has nothing to say (any more).
    pub(crate) fn say(&self, run: u64, state: State) {
        self.face_change(|face| {
            let listening = matches!(
                face.state,
                State::Starting | State::Ready | State::Degraded(_)
            );
            face.run == run && listening && face.set(state)
        });
    }

    /// Notes why it ended.
    pub(crate) fn ended(&self, error: Option<String>) {
        if error.is_some() {
            lock(&self.face).last_error = error;
        }
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn set_load(&self, load: u64) {
        self.load
            .store(load.min(LOAD_UNSAID - 1), Ordering::Relaxed);
    }

    pub(crate) fn kind(&self, name: &'static str) -> Arc<Kind> {
        let mut kinds = lock(&self.kinds);
        if let Some(kind) = kinds.iter().find(|kind| kind.name == name) {
            return kind.clone();
        }
        let kind = Arc::new(Kind {
            name,
            alive: AtomicU64::new(0),
            total: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            trap: Trap::shared(),
        });
        kinds.push(kind.clone());
        kind
    }

    /// Sets the trap of the child or the kind of temporary children at `path` below here.
    pub(crate) fn inject(&self, path: &str) -> bool {
        if path.is_empty() {
            self.trap.set();
            return true;
        }
        if let Some(kind) = lock(&self.kinds).iter().find(|kind| kind.name == path) {
            let alive = kind.alive.load(Ordering::Relaxed) > 0;
            if alive {
                kind.trap.set();
            }
            return alive;
        }
        let Some(family) = &self.family else {
            return false;
        };
        lock(&family.slots).iter().any(|slot| {
            let Some(rest) = path.strip_prefix(slot.node.name.as_str()) else {
                return false;
            };
            match rest.strip_prefix('/') {
                Some(below) => !below.is_empty() && slot.node.inject(below),
                None => {
                    let running = matches!(slot.phase, Phase::Running(_));
                    rest.is_empty() && running && slot.node.inject("")
                }
            }
        })
    }

    /// Whether its younger siblings need not wait for it (any more).
    pub(crate) fn is_settled(&self) -> bool {
        let settled = lock(&self.face).state != State::Starting;
        settled
            && self.family.as_ref().is_none_or(|family| {
                lock(&family.slots)
                    .iter()
                    .all(|slot| slot.node.is_settled())
            })
    }

    pub(crate) fn status(&self) -> Status {
        let children: Vec<Status> = self.family.as_ref().map_or_else(Vec::new, |family| {
            let slots: Vec<_> = lock(&family.slots)
                .iter()
                .map(|slot| slot.node.clone())
                .collect();
            let leaving: Vec<_> = lock(&family.leaving).clone();
            slots
                .iter()
                .chain(&leaving)
                .map(|node| node.status())
                .collect()
        });
        let temporary: Vec<_> = lock(&self.kinds).iter().map(|kind| kind.status()).collect();
        let load = match self.load.load(Ordering::Relaxed) {
            LOAD_UNSAID => temporary.iter().map(|kind| kind.alive).sum(),
            load => load,
        };
        let face = lock(&self.face);
        let state = match &face.state {
            State::Ready => together(&children),
            other => other.clone(),
        };
        Status {
            name: self.name.clone(),
            state,
            since: face
                .since
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            restarts: self.restarts(),
            last_error: face.last_error.clone(),
            load,
            temporary,
            children,
        }
    }

    fn face_change(&self, change: impl FnOnce(&mut Face) -> bool) {
        if change(&mut lock(&self.face)) {
            self.changed.send_replace(());
        }
    }
}

impl Face {
    fn set(&mut self, state: State) -> bool {
        let changes = self.state != state;
        if changes {
            self.state = state;
            self.since = SystemTime::now();
        }
        changes
    }
}

impl Family {
    pub(crate) fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        lock(&self.slots)
    }

    pub(crate) fn has_leaving(&self) -> bool {
        !lock(&self.leaving).is_empty()
    }
}

impl Kind {
    fn status(&self) -> Temporary {
        Temporary {
            kind: self.name.to_owned(),
            alive: self.alive.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// Where a running supervisor with these children stands.
fn together(children: &[Status]) -> State {
    let amiss = children.iter().find_map(|child| match &child.state {
        State::Degraded(_) | State::Restarting(_) | State::Failed(_) => Some(State::Degraded(
            format!("{} is {}", child.name, child.state),
        )),
        _ => None,
    });
    amiss.unwrap_or_else(|| {
        let starting = children.iter().any(|child| child.state == State::Starting);
        if starting {
            State::Starting
        } else {
            State::Ready
        }
    })
}
