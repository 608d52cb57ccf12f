//! One Lua state: a sandbox in which the scripts were run once, and what they registered there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use mlua::chunk::Compiler;
use mlua::{Error, Function, Lua, LuaOptions, MultiValue, StdLib, Thread, VmState};
use serde_json::Value;

use crate::ask::{Answer, Ask};
use crate::compile::Program;
use crate::convert::{to_json, to_lua};
use crate::hook::Hook;
use crate::meter::{Meter, Verdict};
use crate::pool::Pool;
use crate::verbs;

/// What a state is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Answers services: one for each processor.
    Worker,
    /// Does what happens by itself (events, timers of the scripts' top level), of which there must be
    /// one, though each script runs once in every state.
    Background,
}

/// A Lua state, and what its scripts registered.
pub(crate) struct State {
    lua: Lua,
    /// Held while Lua runs, so that a task waits its turn as a task and does not block its thread.
    turn: tokio::sync::Mutex<()>,
    meter: Arc<Meter>,
    desk: Arc<Desk>,
    limits: Limits,
    hooks: [Vec<Function>; Hook::ALL.len()],
    topics: Vec<(String, Function)>,
    /// Memory in use after the last full collection.
    live_memory: AtomicUsize,
    /// Whether its scripts hold on to so much memory that it should be replaced.
    worn: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) wait: Duration,
    pub(crate) memory: usize,
}

/// What a state and the verbs in it share.
pub(crate) struct Desk {
    pub(crate) role: Role,
    /// While the scripts are loaded; none afterwards.
    pub(crate) registering: Mutex<Option<Registrations>>,
    /// Once the scripts serve.
    pub(crate) link: OnceLock<Link>,
    /// The coroutine of the call that runs, by its address.
    running: AtomicUsize,
}

/// Where a state belongs.
pub(crate) struct Link {
    pub(crate) pool: Weak<Pool>,
    pub(crate) state: Weak<State>,
}

/// Functions, and after which wait they are to be called.
pub(crate) type Timers = Vec<(Duration, Function)>;

#[derive(Default)]
pub(crate) struct Registrations {
    pub(crate) hooks: [Vec<Function>; Hook::ALL.len()],
    pub(crate) topics: Vec<(String, Function)>,
    pub(crate) timers: Timers,
}

/// Why a call came to no good end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Script(String),
    #[error("out of processor time\n{0}")]
    Time(String),
    #[error("out of time for what it waits for")]
    Wait,
    #[error("out of memory: {0}")]
    Memory(String),
}

/// A script's failure while it was loaded.
pub(crate) struct LoadFailure {
    /// Which of the program's scripts.
    pub(crate) script: usize,
    pub(crate) message: String,
}

impl Desk {
    /// Whether Lua runs in the coroutine that a call began in, so that a verb can wait: one within it
    /// would hand what the verb wants to the script.
    pub(crate) fn may_wait(&self, lua: &Lua) -> bool {
        self.running.load(Ordering::Relaxed) == address(&lua.current_thread())
    }
}

fn address(thread: &Thread) -> usize {
    thread.to_pointer().addr()
}

impl State {
    /// A state in which the program's scripts have run. Also what is to be done once it serves.
    pub(crate) fn build(
        program: &Program,
        limits: Limits,
        role: Role,
    ) -> Result<(Arc<Self>, Timers), LoadFailure> {
        let desk = Arc::new(Desk {
            role,
            registering: Mutex::new(Some(Registrations::default())),
            link: OnceLock::new(),
            running: AtomicUsize::new(0),
        });
        let meter = Arc::new(Meter::new());
        let lua = sandbox(&desk, &meter, limits).map_err(|error| LoadFailure {
            script: 0,
            message: error.to_string(),
        })?;
        let mut state = Self {
            lua,
            turn: tokio::sync::Mutex::new(()),
            meter,
            desk,
            limits,
            hooks: Default::default(),
            topics: Vec::new(),
            live_memory: AtomicUsize::new(0),
            worn: AtomicBool::new(false),
        };
        for (script, compiled) in program.scripts.iter().enumerate() {
            let failed = |failure: Failure| LoadFailure {
                script,
                message: failure.to_string(),
            };
            let chunk = state
                .lua
                .load(&*compiled.bytecode)
                .set_name(format!("={}", compiled.name));
            let function = chunk
                .into_function()
                .map_err(|error| failed(failure(&error)))?;
            state.load(&function).map_err(failed)?;
        }
        let registering = state.desk.registering.lock();
        let registered = registering
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_default();
        state.hooks = registered.hooks;
        state.topics = registered.topics;
        Ok((Arc::new(state), registered.timers))
    }

    /// Runs a script's top level.
    fn load(&self, function: &Function) -> Result<(), Failure> {
        let thread = self
            .lua
            .create_thread(function.clone())
            .map_err(|error| failure(&error))?;
        // A script may prepare tables while it is loaded: more time than a call has.
        let mut budget = self.limits.time.saturating_mul(20);
        match self.resume(&thread, MultiValue::new(), &mut budget)? {
            Step::Done(_) => Ok(()),
            Step::Waits(_) => Err(Failure::Script(
                "a script cannot wait while it is loaded: use omnid.after(0, function() … end)"
                    .to_owned(),
            )),
        }
    }

    /// Which hooks its scripts registered, a bit each.
    pub(crate) fn hooked(&self) -> u32 {
        let hooked = Hook::ALL
            .into_iter()
            .filter(|hook| !self.handlers(*hook).is_empty());
        hooked.fold(0, |bits, hook| bits | hook.bit())
    }

    pub(crate) fn handlers(&self, hook: Hook) -> &[Function] {
        self.hooks.get(hook.index()).map_or(&[], Vec::as_slice)
    }

    /// The functions that want to hear of `topic`.
    pub(crate) fn listeners<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Function> {
        let wants = move |wanted: &str| match wanted.strip_suffix('*') {
            Some(beginning) => topic.starts_with(beginning),
            None => topic == wanted,
        };
        self.topics
            .iter()
            .filter(move |(wanted, _)| wants(wanted))
            .map(|(_, function)| function)
    }

    pub(crate) fn listens(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Has verbs act from now on.
    pub(crate) fn link(self: &Arc<Self>, pool: &Arc<Pool>) {
        let link = Link {
            pool: Arc::downgrade(pool),
            state: Arc::downgrade(self),
        };
        // It is linked once; were it twice, the first would do as well.
        drop(self.desk.link.set(link));
    }

    /// Whether its scripts hold on to so much memory that it should be replaced.
    pub(crate) fn is_worn(&self) -> bool {
        self.worn.load(Ordering::Relaxed)
    }

    /// Calls `function`, and does for it what it waits for.
    pub(crate) async fn call(
        &self,
        pool: &Pool,
        function: &Function,
        argument: &Value,
    ) -> Result<Value, Failure> {
        let mut budget = self.limits.time;
        let (thread, step) = {
            let _turn = self.turn.lock().await;
            let prepare = || {
                let thread = self.lua.create_thread(function.clone())?;
                let argument = to_lua(&self.lua, argument)?;
                Ok((thread, MultiValue::from_iter([argument])))
            };
            let begun = prepare().map_err(|error| failure(&error));
            let stepped = begun.and_then(|(thread, arguments)| {
                let step = self.resume(&thread, arguments, &mut budget)?;
                Ok((thread, step))
            });
            self.tidy(stepped.as_ref().err());
            stepped?
        };
        match step {
            Step::Done(value) => Ok(value),
            Step::Waits(ask) => {
                let rest = self.go_on(pool, &thread, ask, budget);
                tokio::time::timeout(self.limits.wait, rest)
                    .await
                    .unwrap_or(Err(Failure::Wait))
            }
        }
    }

    async fn go_on(
        &self,
        pool: &Pool,
        thread: &Thread,
        mut ask: Ask,
        mut budget: Duration,
    ) -> Result<Value, Failure> {
        loop {
            let answer = ask.perform(pool).await;
            let _turn = self.turn.lock().await;
            let stepped = self.answer(thread, answer, &mut budget);
            self.tidy(stepped.as_ref().err());
            match stepped? {
                Step::Done(value) => return Ok(value),
                Step::Waits(next) => ask = next,
            }
        }
    }

    fn answer(
        &self,
        thread: &Thread,
        answer: Answer,
        budget: &mut Duration,
    ) -> Result<Step, Failure> {
        match answer
            .into_lua(&self.lua)
            .map_err(|error| failure(&error))?
        {
            Ok(values) => self.resume(thread, values, budget),
            Err(message) => self.step(thread, budget, || thread.resume_error(message)),
        }
    }

    fn resume(
        &self,
        thread: &Thread,
        values: MultiValue,
        budget: &mut Duration,
    ) -> Result<Step, Failure> {
        self.step(thread, budget, || thread.resume(values))
    }

    /// Runs the coroutine to its end or to the next thing it waits for.
    fn step(
        &self,
        thread: &Thread,
        budget: &mut Duration,
        run: impl FnOnce() -> mlua::Result<MultiValue>,
    ) -> Result<Step, Failure> {
        self.desk.running.store(address(thread), Ordering::Relaxed);
        self.meter.begin(*budget);
        let result = run();
        let stretch = self.meter.end();
        *budget = budget.saturating_sub(stretch.took);
        self.desk.running.store(0, Ordering::Relaxed);
        // Also where the script caught the errors and came to an end: it took too long all the same.
        if let Some(traceback) = stretch.stopped_at {
            return Err(Failure::Time(traceback));
        }
        let mut values = result.map_err(|error| failure(&error))?;
        let first = values.pop_front().unwrap_or_default();
        if !thread.is_resumable() {
            let value = to_json(&first);
            return value.map(Step::Done).map_err(|unfit| {
                Failure::Script(format!("what it returns is no decision: {unfit}"))
            });
        }
        let ask = first
            .as_userdata()
            .and_then(|userdata| userdata.take::<Ask>().ok());
        ask.map(Step::Waits).ok_or_else(|| {
            Failure::Script("a call must not yield out of its own coroutine".to_owned())
        })
    }

    /// Collects garbage where there may be much of it. Luau fails an allocation over the limit without
    /// looking for garbage first, so there must be room before.
    fn tidy(&self, failure: Option<&Failure>) {
        let half = self.limits.memory / 2;
        let live = self.live_memory.load(Ordering::Relaxed);
        let much = self.lua.used_memory() > half.max(live.saturating_add(live / 4));
        if much || matches!(failure, Some(Failure::Memory(_))) {
            // Only a script's finalizer could fail, and Luau has none.
            drop(self.lua.gc_collect());
            let live = self.lua.used_memory();
            self.live_memory.store(live, Ordering::Relaxed);
            if failure.is_some() && live > half {
                self.worn.store(true, Ordering::Relaxed);
            }
        }
    }
}

enum Step {
    Done(Value),
    Waits(Ask),
}

/// A Lua state with bounds, the verbs and nothing that leads out.
fn sandbox(desk: &Arc<Desk>, meter: &Arc<Meter>, limits: Limits) -> mlua::Result<Lua> {
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new())?;
    lua.set_compiler(Compiler::new().set_optimization_level(1).set_debug_level(1));
    let natives = verbs::natives(&lua, desk)?;
    lua.load(include_str!("prelude.lua"))
        .set_name("=omnid")
        .call::<()>(natives)?;
    lua.sandbox(true)?;
    // Its own share is not the scripts' to pay.
    lua.set_memory_limit(lua.used_memory().saturating_add(limits.memory))?;
    let meter = meter.clone();
    lua.set_interrupt(move |lua| match meter.interrupt() {
        Verdict::GoOn => Ok(VmState::Continue),
        Verdict::Stop => {
            // An interrupt's error has no traceback, and the script may catch it and run into others.
            let traceback = lua.traceback(None, 0).map(|text| text.to_string_lossy());
            meter.note(traceback.unwrap_or_default());
            Err(Error::runtime("the script takes too long"))
        }
        Verdict::StopAgain => Err(Error::runtime("the script takes too long")),
    });
    Ok(lua)
}

fn failure(error: &Error) -> Failure {
    fn is_memory(error: &Error) -> bool {
        match error {
            Error::MemoryError(_) => true,
            Error::CallbackError { cause, .. } => is_memory(cause),
            Error::WithContext { cause, .. } => is_memory(cause),
            _ => false,
        }
    }
    let message = error.to_string();
    if is_memory(error) {
        Failure::Memory(message)
    } else {
        Failure::Script(message)
    }
}
