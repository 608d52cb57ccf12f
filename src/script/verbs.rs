//! What scripts can do: the natives behind `omnid.*` (see `prelude.lua`).

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mlua::{Error, Function, Lua, LuaString, Table, Value};
use omnid_config::did_you_mean;
use omnid_hub::Event;

use crate::ask::Ask;
use crate::convert::to_json;
use crate::fetch::Request;
use crate::hook::Hook;
use crate::pool::Pool;
use crate::state::{Desk, Registrations, Role};
use crate::text;

/// The longest key and value of `omnid.store`.
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 64 * 1024;

/// The longest wait of `omnid.after`.
const AFTER_MAX: Duration = Duration::from_secs(7 * 86400);

/// The functions that the prelude makes the scripts' world of.
pub(crate) fn natives(lua: &Lua, desk: &Arc<Desk>) -> mlua::Result<Table> {
    let natives = lua.create_table()?;
    natives.set("is_plain", lua.create_function(text::is_plain)?)?;
    natives.set("find", lua.create_function(text::find)?)?;
    natives.set("split", lua.create_function(text::split)?)?;
    verb(lua, &natives, "log", desk, log)?;
    verb(lua, &natives, "hook", desk, hook)?;
    verb(lua, &natives, "on", desk, on)?;
    verb(lua, &natives, "emit", desk, emit)?;
    verb(lua, &natives, "after", desk, after)?;
    verb(lua, &natives, "fetch", desk, fetch)?;
    verb(lua, &natives, "store_get", desk, store_get)?;
    verb(lua, &natives, "store_set", desk, store_set)?;
    Ok(natives)
}

fn verb<A, R>(
    lua: &Lua,
    natives: &Table,
    name: &str,
    desk: &Arc<Desk>,
    verb: fn(&Lua, &Arc<Desk>, A) -> mlua::Result<R>,
) -> mlua::Result<()>
where
    A: mlua::FromLuaMulti + 'static,
    R: mlua::IntoLuaMulti + 'static,
{
    let desk = desk.clone();
    natives.set(
        name,
        lua.create_function(move |lua, arguments| verb(lua, &desk, arguments))?,
    )
}

/// `omnid.log([level,] message)`
fn log(lua: &Lua, desk: &Arc<Desk>, (level, message): (String, LuaString)) -> mlua::Result<()> {
    if is_loading(desk) && desk.role == Role::Worker {
        return Ok(()); // the background state says it for all
    }
    let message = message.to_string_lossy();
    let place = place(lua);
    match level.as_str() {
        "error" => tracing::error!(place, "{message}"),
        "warn" => tracing::warn!(place, "{message}"),
        "info" => tracing::info!(place, "{message}"),
        "debug" => tracing::debug!(place, "{message}"),
        "trace" => tracing::trace!(place, "{message}"),
        other => {
            let known = ["error", "warn", "info", "debug", "trace"];
            return Err(unknown("level", other, &known));
        }
    }
    Ok(())
}

/// The script's file and line that called a verb.
fn place(lua: &Lua) -> Option<String> {
    // Level 0 is the native, 1 may be the prelude.
    (1..4).find_map(|level| {
        lua.inspect_stack(level, |debug| {
            let name = debug.source().short_src?.into_owned();
            let line = debug.current_line()?;
            (name != "omnid").then(|| format!("{name}:{line}"))
        })?
    })
}

/// `omnid.hook(name, function)`
fn hook(_: &Lua, desk: &Arc<Desk>, (name, function): (String, Function)) -> mlua::Result<()> {
    let hook = Hook::from_name(&name).ok_or_else(|| {
        let known = Hook::ALL.map(Hook::name);
        unknown("hook", &name, &known)
    })?;
    register(desk, "omnid.hook", |registrations| {
        if let Some(handlers) = registrations.hooks.get_mut(hook.index()) {
            handlers.push(function);
        }
    })
}

/// `omnid.on(topic, function)`
fn on(_: &Lua, desk: &Arc<Desk>, (topic, function): (String, Function)) -> mlua::Result<()> {
    register(desk, "omnid.on", |registrations| {
        registrations.topics.push((topic, function));
    })
}

/// `omnid.emit(topic, data)`
fn emit(_: &Lua, desk: &Arc<Desk>, (topic, data): (String, Value)) -> mlua::Result<()> {
    let pool = serving(desk, "omnid.emit")?;
    if topic.is_empty() || topic.len() > KEY_MAX {
        return Err(Error::runtime("omnid.emit: a topic has 1 to 256 bytes"));
    }
    let data = to_json(&data).map_err(|unfit| Error::runtime(format!("omnid.emit: {unfit}")))?;
    if !pool.may_emit() {
        return Err(Error::runtime("omnid.emit: too many events in a second"));
    }
    pool.hub.events().publish(Event::Custom { topic, data });
    Ok(())
}

/// `omnid.after(seconds, function)`
fn after(_: &Lua, desk: &Arc<Desk>, (seconds, function): (f64, Function)) -> mlua::Result<()> {
    let delay = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|delay| *delay <= AFTER_MAX)
        .ok_or_else(|| Error::runtime("omnid.after: a wait is between 0 seconds and 7 days"))?;
    let mut registering = desk
        .registering
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(registrations) = registering.as_mut() {
        // Each state loads the scripts, but what they do by themselves is to be done once.
        if desk.role == Role::Background {
            registrations.timers.push((delay, function));
        }
        return Ok(());
    }
    drop(registering);
    let pool = serving(desk, "omnid.after")?;
    let state = desk.link.get().and_then(|link| link.state.upgrade());
    let state = state.ok_or_else(|| Error::runtime("omnid.after: the scripts were replaced"))?;
    if !pool.after(state, delay, function) {
        return Err(Error::runtime("omnid.after: too many are waiting already"));
    }
    Ok(())
}

/// `omnid.fetch(url, {method, headers, body, timeout})`
fn fetch(
    lua: &Lua,
    desk: &Arc<Desk>,
    (url, options): (String, Option<Table>),
) -> mlua::Result<Ask> {
    let pool = waiting(lua, desk, "omnid.fetch")?;
    let request = Request::new(&url, options.as_ref(), &pool.fetcher)
        .map_err(|fault| Error::runtime(format!("omnid.fetch: {fault}")))?;
    Ok(Ask::Fetch(Box::new(request)))
}

/// `omnid.store.get(key)`
fn store_get(lua: &Lua, desk: &Arc<Desk>, key: String) -> mlua::Result<Ask> {
    waiting(lua, desk, "omnid.store.get")?;
    Ok(Ask::Get {
        key: checked_key(key)?,
    })
}

/// `omnid.store.set(key, value)`
fn store_set(lua: &Lua, desk: &Arc<Desk>, (key, value): (String, Value)) -> mlua::Result<Ask> {
    waiting(lua, desk, "omnid.store.set")?;
    let key = checked_key(key)?;
    if value.is_nil() {
        return Ok(Ask::Set { key, value: None });
    }
    let fault = |what: String| Error::runtime(format!("omnid.store.set: {what}"));
    let value = to_json(&value)
        .map_err(|unfit| fault(unfit.to_string()))?
        .to_string();
    if value.len() > VALUE_MAX {
        return Err(fault(format!("a value has at most {VALUE_MAX} bytes")));
    }
    Ok(Ask::Set {
        key,
        value: Some(value),
    })
}

fn checked_key(key: String) -> mlua::Result<String> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Error::runtime("omnid.store: a key has 1 to 256 bytes"));
    }
    Ok(key)
}

fn register(
    desk: &Desk,
    verb: &str,
    register: impl FnOnce(&mut Registrations),
) -> mlua::Result<()> {
    let mut registering = desk
        .registering
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let registrations = registering.as_mut().ok_or_else(|| {
        Error::runtime(format!(
            "{verb} is for the script's top level, not for within its functions"
        ))
    })?;
    register(registrations);
    Ok(())
}

fn is_loading(desk: &Desk) -> bool {
    desk.registering
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some()
}

/// The pool, once the scripts serve.
fn serving(desk: &Desk, verb: &str) -> mlua::Result<Arc<Pool>> {
    let Some(link) = desk.link.get() else {
        let message = format!("{verb} cannot be used while the script is loaded: use omnid.after");
        return Err(Error::runtime(message));
    };
    let replaced = || Error::runtime(format!("{verb}: the scripts were replaced"));
    link.pool.upgrade().ok_or_else(replaced)
}

/// The same, for a verb that waits.
fn waiting(lua: &Lua, desk: &Desk, verb: &str) -> mlua::Result<Arc<Pool>> {
    let pool = serving(desk, verb)?;
    if !desk.may_wait(lua) {
        return Err(Error::runtime(format!(
            "{verb} cannot wait within a coroutine"
        )));
    }
    Ok(pool)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let advice = did_you_mean(name, known.iter().copied()).map_or_else(
        || format!("there are {}", known.join(", ")),
        |near| format!("did you mean {near:?}?"),
    );
    Error::runtime(format!("there is no {what} {name:?}: {advice}"))
}
