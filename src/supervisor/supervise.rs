//! The supervisor's own work.
//!
//! It is a loop that looks at the children's places and does what is due, so nothing depends on the order
//! in which news arrives: who adds a child makes a place for it, and the loop finds it there, be it only
//! after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::child::{Child, GRACE};
use crate::error::{ChildError, ChildResult};
use crate::guard::{Outcome, guarded};
use crate::policy::{Backoff, Intensity, Window, chance};
use crate::spec::{Drain, Restart, Start, Strategy};
use crate::status::State;
use crate::tree::{Family, Node, Phase, Run, Slot, Term};

/// How long after its cancellation a child may still be there, before it is left behind: it blocks its
/// thread, and nothing can be done about that from outside.
const STUCK: Duration = Duration::from_secs(2);

/// Runs the supervisor `node` until it is drained or gives up.
pub(crate) fn supervise(
    node: Arc<Node>,
    term: Arc<Term>,
    run: u64,
) -> BoxFuture<'static, ChildResult> {
    async move {
        let Some(family) = &node.family else {
            return Ok(());
        };
        let (exits, exited) = unbounded_channel();
        let changed = node.changed.subscribe();
        let together = Window::default();
        let supervisor = Supervision {
            node: &node,
            family,
            term: &term,
            exits,
            together,
        };
        supervisor.reclaim().await;
        node.say(run, State::Ready);
        supervisor.run(exited, changed).await
    }
    .boxed()
}

struct Supervision<'a> {
    node: &'a Arc<Node>,
    family: &'a Family,
    term: &'a Term,
    /// Where children tell of their end. It holds at most one message per run, and is emptied at once.
    exits: UnboundedSender<Exited>,
    /// The restarts of all, where one child's failure concerns the others.
    together: Window,
}

struct Exited {
    run: u64,
    outcome: Outcome,
}

/// What is to be done about a child that ended.
enum Verdict {
    Nothing,
    /// Its place is given up.
    Forget(String),
    /// It is `failed` and starts again then, and so do those it is to be stopped `with`.
    Restart {
        with: Vec<Stopping>,
        failed: Arc<Node>,
        until: Instant,
    },
    GiveUp(ChildError),
}

impl Supervision<'_> {
    async fn run(
        mut self,
        mut exited: UnboundedReceiver<Exited>,
        mut changed: watch::Receiver<()>,
    ) -> ChildResult {
        loop {
            let wake = self.start_due(Instant::now());
            let sleep = async {
                match wake {
                    Some(wake) => sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.told_to_stop() => {
                    self.stop_all().await;
                    return Ok(());
                }
                Some(exit) = exited.recv() => {
                    if let Err(error) = self.exited(exit).await {
                        self.stop_all().await;
                        return Err(error);
                    }
                }
                _ = changed.changed() => {}
                () = sleep => {}
            }
        }
    }

    /// Resolves when it is to be drained; or cancelled without that, when the whole tree is out of time:
    /// its children are cancelled with it, and that is no failure of theirs.
    async fn told_to_stop(&self) {
        tokio::select! {
            () = self.term.drain.cancelled() => {}
            () = self.term.cancel.cancelled() => {}
        }
    }

    /// Makes the places of an earlier run that came to a bad end as if new.
    async fn reclaim(&self) {
        let runs: Vec<Stopping> = self.family.slots().iter().map(Stopping::of).collect();
        // The earlier run's drop has cancelled them; they must be gone before others take their place.
        join_all(
            runs.iter()
                .map(|stopping| stopping.end(Some(Instant::now()))),
        )
        .await;
        for slot in self.family.slots().iter_mut() {
            slot.renew();
            slot.node.enter(State::Starting);
        }
    }

    /// Starts every child that is due, eldest first, and says when to look again.
    fn start_due(&self, now: Instant) -> Option<Instant> {
        let spec = &self.family.spec;
        let mut wake: Option<Instant> = None;
        let mut wake_at = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        // Whether an elder is not there yet, so that who is started for the first time must wait. With
        // strategies that restart in order, so must who is started again.
        let mut held = false;
        for slot in self.family.slots().iter_mut() {
            let again = matches!(slot.phase, Phase::Waiting(_));
            match slot.phase {
                Phase::Over => continue,
                Phase::New if held => continue,
                Phase::Waiting(_) if held && spec.strategy != Strategy::OneForOne => continue,
                Phase::Waiting(until) if until > now => {
                    wake_at(until);
                    held |= spec.strategy != Strategy::OneForOne;
                    continue;
                }
                Phase::New | Phase::Waiting(_) => self.start(slot, now, again),
                Phase::Running(_) => {}
            }
            if let Phase::Running(run) = &slot.phase
                && !slot.node.is_settled()
            {
                let patience = run.began + spec.start_patience;
                if now < patience {
                    wake_at(patience);
                    held = true;
                }
            }
        }
        wake
    }

    fn start(&self, slot: &mut Slot, now: Instant, again: bool) {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let run = Run {
            id: RUNS.fetch_add(1, Ordering::Relaxed),
            began: now,
            gone: CancellationToken::new(),
        };
        let term = slot
            .term
            .get_or_insert_with(|| Term::below(&self.term.cancel))
            .clone();
        let node = slot.node.clone();
        node.begin(run.id);
        let (future, grace) = match &slot.spec.start {
            Start::Worker(start) => {
                let start = start.clone();
                let child = Child {
                    node: node.clone(),
                    term: term.clone(),
                    run: run.id,
                };
                // The call is inside the future, so that its panic, too, is the child's.
                (async move { start(child).await }.boxed(), GRACE)
            }
            // Cancelled, a supervisor ends by itself once its children have; it is dropped only if not.
            Start::Supervisor(_) => (supervise(node.clone(), term.clone(), run.id), GRACE + STUCK),
        };
        let last_word = LastWord {
            exits: self.exits.clone(),
            run: run.id,
            gone: run.gone.clone(),
            outcome: Outcome::Cancelled,
        };
        let span = tracing::info_span!(parent: None, "child", path = %node.shown());
        if again {
            tracing::info!(parent: &span, "starting again");
        }
        let task = async move {
            let mut last_word = last_word; // all of it, not the one field
            last_word.outcome = guarded(future, &node.trap, &term.cancel, grace).await;
        };
        tokio::spawn(task.instrument(span));
        slot.phase = Phase::Running(run);
    }

    /// Does what is to be done about a child that ended. An error when it is one failure too many.
    async fn exited(&mut self, exit: Exited) -> ChildResult {
        match self.judge(&exit) {
            Verdict::Nothing => {}
            Verdict::Forget(name) => {
                if let Some(slot) = self.node.dismiss(&name) {
                    see_off(self.node.clone(), slot, None);
                }
            }
            Verdict::Restart {
                with,
                failed,
                until,
            } => {
                if !with.is_empty() {
                    self.stop(&with).await;
                    self.await_restart(&with, &failed, until);
                }
            }
            Verdict::GiveUp(error) => return Err(error),
        }
        Ok(())
    }

    /// Decides what becomes of a child that ended, and notes it in its place.
    fn judge(&mut self, exit: &Exited) -> Verdict {
        let mut slots = self.family.slots();
        let Some(index) = slots.iter().position(|slot| slot.is_run(exit.run)) else {
            return Verdict::Nothing; // it was stopped or removed meanwhile
        };
        let (strategy, now) = (self.family.spec.strategy, Instant::now());
        let with = match strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::OneForAll => slots.iter().map(Stopping::of).collect(),
            Strategy::RestForOne => slots.iter().skip(index).map(Stopping::of).collect(),
        };
        let Some(slot) = slots.get_mut(index) else {
            return Verdict::Nothing;
        };
        let error = exit.outcome.error();
        slot.node.ended(error.clone());
        let error = match (slot.spec.restart, error) {
            (Restart::Permanent, error) => error.unwrap_or_else(|| "ended".to_owned()),
            (Restart::Transient, Some(error)) => error,
            (Restart::Transient | Restart::Temporary, error) => return slot.conclude(error),
        };
        let child = slot.node.shown();
        let intensity = self.family.spec.intensity;
        let window = match strategy {
            Strategy::OneForOne => &mut slot.restarts,
            Strategy::OneForAll | Strategy::RestForOne => &mut self.together,
        };
        if !window.allows(intensity, now) {
            let Intensity { restarts, within } = intensity;
            let reason = format!(
                "more than {restarts} restarts within {within:?}, the last because {child}: {error}"
            );
            tracing::error!(supervisor = self.node.shown(), reason, "gives up");
            return Verdict::GiveUp(ChildError::new(reason));
        }
        let delay = slot.retry(self.family.spec.backoff, now);
        tracing::error!(child, error, ?delay, "ended; to be started again");
        let (failed, until) = (slot.node.clone(), now + delay);
        Verdict::Restart {
            with,
            failed,
            until,
        }
    }

    /// Stops children, given eldest first: the youngest first.
    async fn stop(&self, children: &[Stopping]) {
        let youngest_first = children.iter().rev();
        match self.family.spec.drain {
            Drain::InTurn => {
                for child in youngest_first {
                    child.end(None).await;
                }
            }
            Drain::Together => {
                join_all(youngest_first.map(|child| child.end(None))).await;
            }
        }
    }

    /// Lets the children that were stopped `with` the `failed` one be started again, in order.
    fn await_restart(&self, with: &[Stopping], failed: &Arc<Node>, until: Instant) {
        for slot in self.family.slots().iter_mut() {
            // By identity, not by place: places come and go while children are being stopped.
            let stopped = with
                .iter()
                .any(|child| Arc::ptr_eq(&child.node, &slot.node));
            if !stopped || matches!(slot.phase, Phase::Over) {
                continue;
            }
            slot.term = None;
            slot.phase = Phase::Waiting(until);
            if Arc::ptr_eq(&slot.node, failed) {
                slot.node.enter(State::Restarting(slot.node.restarts()));
            } else {
                slot.node.enter(State::Starting);
            }
        }
    }

    /// Stops all children, and sees off those that were leaving anyway.
    async fn stop_all(&self) {
        let mut changed = self.node.changed.subscribe();
        let children: Vec<Stopping> = self.family.slots().iter().map(Stopping::of).collect();
        self.stop(&children).await;
        while self.family.has_leaving() {
            if changed.changed().await.is_err() {
                break;
            }
        }
        for slot in self.family.slots().iter_mut() {
            slot.renew();
        }
    }
}

impl Drop for Supervision<'_> {
    /// However the supervisor ends (it may have panicked), its children do not go on without it.
    fn drop(&mut self) {
        for slot in self.family.slots().iter() {
            if let Some(term) = &slot.term {
                term.cancel.cancel();
            }
        }
    }
}

impl Slot {
    fn is_run(&self, id: u64) -> bool {
        matches!(&self.phase, Phase::Running(run) if run.id == id)
    }

    /// Forgets what was before, so that the child starts as if for the first time.
    fn renew(&mut self) {
        self.phase = Phase::New;
        self.term = None;
        self.attempt = 0;
        self.restarts = Window::default();
    }

    /// Notes that the child has ended for good.
    fn conclude(&mut self, error: Option<String>) -> Verdict {
        self.phase = Phase::Over;
        match error {
            None => self.node.enter(State::Stopped),
            Some(error) => {
                tracing::error!(
                    child = self.node.shown(),
                    error,
                    "failed, and is not restarted"
                );
                self.node.enter(State::Failed(error));
            }
        }
        match self.spec.restart {
            Restart::Temporary => Verdict::Forget(self.node.name.clone()),
            Restart::Transient | Restart::Permanent => Verdict::Nothing,
        }
    }

    /// Notes that the child has failed and is to be started again, and after which wait.
    fn retry(&mut self, backoff: Backoff, now: Instant) -> Duration {
        if let Phase::Running(run) = &self.phase {
            self.attempt = backoff.next_attempt(self.attempt, now.duration_since(run.began));
        }
        let delay = backoff.delay(self.attempt, chance());
        self.attempt = self.attempt.saturating_add(1);
        self.phase = Phase::Waiting(now + delay);
        self.node.count_restart();
        self.node.enter(State::Restarting(self.node.restarts()));
        delay
    }
}

/// Tells, when dropped with the child's future, how that ended.
struct LastWord {
    exits: UnboundedSender<Exited>,
    run: u64,
    gone: CancellationToken,
    outcome: Outcome,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Cancelled);
        self.gone.cancel();
        // Nobody listens when the supervisor itself has ended.
        drop(self.exits.send(Exited {
            run: self.run,
            outcome,
        }));
    }
}

/// Stops a child that was dismissed by `parent`. A task of its own does it, since a drain once begun must
/// be finished though nobody waits for it, and its siblings are to be looked after meanwhile.
pub(crate) fn see_off(parent: Arc<Node>, slot: Slot, limit: Option<Instant>) -> JoinHandle<()> {
    tokio::spawn(async move {
        Stopping::of(&slot).end(limit).await;
        parent.forget(&slot.node);
    })
}

/// A child to be stopped, apart from its place, which cannot be held meanwhile.
struct Stopping {
    node: Arc<Node>,
    term: Option<Arc<Term>>,
    gone: Option<CancellationToken>,
    shutdown: Option<Duration>,
}

impl Stopping {
    fn of(slot: &Slot) -> Self {
        let gone = match &slot.phase {
            Phase::Running(run) => Some(run.gone.clone()),
            Phase::New | Phase::Waiting(_) | Phase::Over => None,
        };
        let (node, term) = (slot.node.clone(), slot.term.clone());
        Self {
            node,
            term,
            gone,
            shutdown: slot.spec.shutdown,
        }
    }

    /// Asks it to finish, waits for that its shutdown time or until `limit`, then cancels it.
    async fn end(&self, limit: Option<Instant>) {
        let Some(term) = &self.term else {
            self.node.enter(State::Stopped);
            return;
        };
        self.node.enter(State::Draining);
        term.drain.cancel();
        term.temporaries.close();
        let own = self
            .shutdown
            .and_then(|time| Instant::now().checked_add(time));
        let until = [own, limit].into_iter().flatten().min();
        let child = self.node.shown();
        let finished = match until {
            Some(until) => timeout_at(until, self.finished(term)).await.is_ok(),
            None => {
                self.finished(term).await;
                true
            }
        };
        if !finished && self.shutdown != Some(Duration::ZERO) {
            tracing::warn!(child, "did not finish in time and is cut off");
        }
        term.cancel.cancel();
        if timeout(GRACE + STUCK + STUCK, self.finished(term))
            .await
            .is_err()
        {
            tracing::error!(child, "blocks its thread and is left behind");
        }
        self.node.enter(State::Stopped);
    }

    async fn finished(&self, term: &Term) {
        if let Some(gone) = &self.gone {
            gone.cancelled().await;
        }
        term.temporaries.wait().await;
    }
}
