//! The states that serve, swapped as a whole when the scripts are loaded anew.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mlua::Function;
use omnid_config::{Problem, Problems, Sources};
use omnid_hub::{Hub, Published};
use omnid_store::Database;
use omnid_telemetry::{limited, metrics};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::ScriptError;
use crate::compile::Program;
use crate::config::{OnError, ScriptConfig};
use crate::fetch::Fetcher;
use crate::hook::Hook;
use crate::state::{Failure, Limits, LoadFailure, Role, State, Timers};

/// Event handlers under way at one time. Past them events are lost, as they are to any slow subscriber.
const HANDLERS_MAX: usize = 256;

/// Functions waiting for `omnid.after`.
const TIMERS_MAX: usize = 1000;

/// Events that scripts may emit in a second: two that answer each other would not stop by themselves.
const EMITTED_MAX: u32 = 1000;

/// How often the same failure is logged.
const REPEAT: Duration = Duration::from_secs(10);

/// Scripts that were compiled and have run once, ready to serve.
pub struct Prepared {
    config: ScriptConfig,
    program: Program,
    limits: Limits,
    fetcher: Fetcher,
    workers: Vec<Arc<State>>,
    background: Arc<State>,
    timers: Timers,
    warnings: Problems,
}

impl Prepared {
    pub(crate) fn load(config: &ScriptConfig, sources: &mut Sources) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let fetcher = Fetcher::new(&config.fetch, &mut problems);
        let program = Program::compile(&config.files, sources, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        let limits = Limits {
            time: config.time_limit,
            wait: config.wait_limit,
            memory: config.memory_limit.as_usize(),
        };
        let built = build(&program, limits).map_err(|failure| {
            problems.push(program.problem(sources, &failure));
            problems.clone()
        })?;
        Ok(Self {
            config: config.clone(),
            program,
            limits,
            fetcher,
            workers: built.workers,
            background: built.background,
            timers: built.timers,
            warnings: problems,
        })
    }

    /// What somebody should look at.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

struct Built {
    background: Arc<State>,
    timers: Timers,
    workers: Vec<Arc<State>>,
}

fn build(program: &Program, limits: Limits) -> Result<Built, LoadFailure> {
    let (background, timers) = State::build(program, limits, Role::Background)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // Where no service will ask, there is no need of states to answer.
    let wanted = if background.hooked() == 0 {
        0
    } else {
        processors
    };
    let worker = |_| State::build(program, limits, Role::Worker).map(|(state, _)| state);
    let workers = (0..wanted).map(worker).collect::<Result<_, _>>()?;
    Ok(Built {
        background,
        timers,
        workers,
    })
}

/// The states that serve, and what they act on.
pub(crate) struct Pool {
    pub(crate) hub: Hub,
    pub(crate) database: Database,
    pub(crate) fetcher: Fetcher,
    config: ScriptConfig,
    program: Program,
    limits: Limits,
    calls: Semaphore,
    workers: Vec<Worker>,
    background: Arc<State>,
    /// Those of the top level, until they are started.
    first_timers: Mutex<Timers>,
    timers: AtomicUsize,
    handlers: Arc<Semaphore>,
    emitted: Mutex<(Instant, u32)>,
    replaced: CancellationToken,
    meters: [HookMeters; Hook::ALL.len()],
}

struct Worker {
    state: ArcSwap<State>,
    is_renewed: AtomicBool,
}

struct HookMeters {
    calls: metrics::Counter,
    failures: metrics::Counter,
}

/// Why a service got no decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("too many calls of scripts are under way")]
    Busy,
}

impl Pool {
    pub(crate) fn new(prepared: Prepared, hub: Hub, database: Database) -> Arc<Self> {
        let workers = prepared.workers.into_iter().map(|state| Worker {
            state: ArcSwap::new(state),
            is_renewed: AtomicBool::new(false),
        });
        let max_calls = usize::try_from(prepared.config.max_calls).unwrap_or(usize::MAX);
        let pool = Arc::new(Self {
            hub,
            database,
            fetcher: prepared.fetcher,
            config: prepared.config,
            program: prepared.program,
            limits: prepared.limits,
            calls: Semaphore::new(max_calls),
            workers: workers.collect(),
            background: prepared.background,
            first_timers: Mutex::new(prepared.timers),
            timers: AtomicUsize::new(0),
            handlers: Arc::new(Semaphore::new(HANDLERS_MAX)),
            emitted: Mutex::new((Instant::now(), 0)),
            replaced: CancellationToken::new(),
            meters: Hook::ALL.map(HookMeters::new),
        });
        pool.background.link(&pool);
        for worker in &pool.workers {
            worker.state.load().link(&pool);
        }
        pool
    }

    /// Whether these would be the same scripts, under the same settings.
    pub(crate) fn is(&self, prepared: &Prepared) -> bool {
        self.config == prepared.config && self.program == prepared.program
    }

    pub(crate) fn hooked(&self) -> u32 {
        self.background.hooked()
    }

    pub(crate) fn listens(&self) -> bool {
        self.background.listens()
    }

    /// Asks the scripts; the first that decides has decided.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        hook: Hook,
        arguments: &Value,
    ) -> Result<Option<Value>, ScriptError> {
        let meters = self.meters.get(hook.index());
        if let Some(meters) = meters {
            meters.calls.inc();
        }
        let error = match self.decide(hook, arguments).await {
            Ok(decision) => return Ok(decision),
            Err(error) => error,
        };
        if let Some(meters) = meters {
            meters.failures.inc();
        }
        limited!(REPEAT, key = hook.name(), error, hook = hook.name(), %error, "a script failed");
        match self.config.on_error {
            OnError::Continue => Ok(None),
            OnError::Deny => Err(ScriptError(error.to_string())),
        }
    }

    async fn decide(
        self: &Arc<Self>,
        hook: Hook,
        arguments: &Value,
    ) -> Result<Option<Value>, Unanswered> {
        let _permit = self.calls.try_acquire().map_err(|_| Unanswered::Busy)?;
        let Some(index) = thread_number().checked_rem(self.workers.len()) else {
            return Ok(None);
        };
        let Some(worker) = self.workers.get(index) else {
            return Ok(None);
        };
        let state = worker.state.load_full();
        for function in state.handlers(hook) {
            let decision = match state.call(self, function, arguments).await {
                Ok(decision) => decision,
                Err(failure) => {
                    if state.is_worn() && !worker.is_renewed.swap(true, Ordering::Relaxed) {
                        self.renew(index);
                    }
                    return Err(failure.into());
                }
            };
            if !decision.is_null() {
                return Ok(Some(decision));
            }
        }
        Ok(None)
    }

    /// Replaces a worker's state whose memory the scripts have filled, since every call would fail.
    fn renew(self: &Arc<Self>, index: usize) {
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            tracing::warn!(
                "scripts have filled their memory: they begin anew, without their variables"
            );
            let Some(worker) = pool.workers.get(index) else {
                return;
            };
            match State::build(&pool.program, pool.limits, Role::Worker) {
                Ok((state, _)) => {
                    state.link(&pool);
                    worker.state.store(state);
                }
                Err(failure) => {
                    tracing::error!(error = failure.message, "the scripts cannot be begun anew");
                }
            }
            worker.is_renewed.store(false, Ordering::Relaxed);
        });
    }

    /// Tells the scripts that listen of an event.
    pub(crate) fn tell(self: &Arc<Self>, published: &Published) {
        let topic = published.event.topic();
        let mut event = None;
        for function in self.background.listeners(topic) {
            let Ok(permit) = self.handlers.clone().try_acquire_owned() else {
                limited!(
                    REPEAT,
                    warn,
                    topic,
                    "scripts are too slow for an event, and miss it"
                );
                return;
            };
            let event = event.get_or_insert_with(|| {
                Arc::new(serde_json::to_value(&published.event).unwrap_or_default())
            });
            let (pool, function, event) = (self.clone(), function.clone(), event.clone());
            tokio::spawn(async move {
                let outcome = pool.background.call(&pool, &function, &event).await;
                log_failure("omnid.on", outcome);
                drop(permit);
            });
        }
    }

    /// Starts the timers of the scripts' top level, once.
    pub(crate) fn start_timers(self: &Arc<Self>) {
        let mut timers = self
            .first_timers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (delay, function) in std::mem::take(&mut *timers) {
            if !self.after(self.background.clone(), delay, function) {
                limited!(
                    REPEAT,
                    error,
                    "scripts have too many timers: some are left out"
                );
            }
        }
    }

    /// Calls a state's function later. False when too many wait.
    pub(crate) fn after(
        self: &Arc<Self>,
        state: Arc<State>,
        delay: Duration,
        function: Function,
    ) -> bool {
        let waiting = Waiting(self.clone());
        if self.timers.fetch_add(1, Ordering::Relaxed) >= TIMERS_MAX {
            return false;
        }
        tokio::spawn(async move {
            let pool = &waiting.0;
            tokio::select! {
                () = tokio::time::sleep(delay) => {
                    log_failure("omnid.after", state.call(pool, &function, &Value::Null).await);
                }
                () = pool.replaced.cancelled() => {}
            }
        });
        true
    }

    /// Whether a script may emit one more event now.
    pub(crate) fn may_emit(&self) -> bool {
        let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        if emitted.0.elapsed() >= Duration::from_secs(1) {
            *emitted = (Instant::now(), 0);
        }
        emitted.1 = emitted.1.saturating_add(1);
        emitted.1 <= EMITTED_MAX
    }

    /// Ends what would begin later. What is under way comes to its end.
    pub(crate) fn retire(&self) {
        self.replaced.cancel();
    }
}

/// Counts a timer out when it is over.
struct Waiting(Arc<Pool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.timers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HookMeters {
    fn new(hook: Hook) -> Self {
        let labels = [("hook", hook.name())];
        let calls = metrics::counter("omnid_script_calls", "Calls of scripts", &labels);
        let failures =
            metrics::counter("omnid_script_failures", "Failed calls of scripts", &labels);
        Self { calls, failures }
    }
}

fn log_failure(verb: &str, outcome: Result<Value, Failure>) {
    if let Err(error) = outcome {
        limited!(REPEAT, key = verb, error, verb, %error, "a script failed");
    }
}

/// A number for the thread, so that each of the runtime's workers comes to a state of its own.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(new));
            new
        })
    })
}
