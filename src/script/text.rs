//! Searching and splitting texts in linear time, in place of Luau's own (see `prelude.lua`).

use memchr::memmem;
use mlua::{Lua, LuaString, MultiValue, Table, Value};

/// The characters that make a pattern more than plain text, as in Luau's `nospecials`.
const SPECIALS: &[u8] = b"^$*+?.([%-";

/// The most parts of one text.
const PARTS_MAX: usize = 1_000_000;

/// `is_plain(pattern, plain)`: whether `string.find` is to take the pattern as it is written.
pub(crate) fn is_plain(_: &Lua, (pattern, plain): (LuaString, Value)) -> mlua::Result<bool> {
    let asked = !matches!(plain, Value::Nil | Value::Boolean(false));
    Ok(asked
        || !pattern
            .as_bytes()
            .iter()
            .any(|byte| SPECIALS.contains(byte)))
}

/// `find(s, text, init)` like `string.find(s, text, init, true)`.
pub(crate) fn find(
    _: &Lua,
    (text, wanted, init): (LuaString, LuaString, Option<f64>),
) -> mlua::Result<MultiValue> {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    let length = text.len();
    let begin = begin(init.unwrap_or(1.0), length);
    let found = text
        .get(begin..)
        .and_then(|rest| memmem::find(rest, &wanted));
    let Some(found) = found else {
        return Ok(MultiValue::from_iter([Value::Nil]));
    };
    let first = begin + found + 1;
    let pair = [first, first + wanted.len() - 1].map(|place| place as f64);
    Ok(pair.into_iter().map(Value::Number).collect())
}

/// The offset that Lua's `init` means: from 1, or from the end where negative.
fn begin(init: f64, length: usize) -> usize {
    // `as` saturates, and a position past either end is moved to it or found past it below.
    #[allow(clippy::cast_possible_truncation)]
    let init = init as i64;
    if init > 0 {
        return usize::try_from(init - 1).unwrap_or(usize::MAX);
    }
    if init == 0 {
        return 0;
    }
    length.saturating_sub(usize::try_from(init.unsigned_abs()).unwrap_or(usize::MAX))
}

/// `split(s, separator)` like `string.split`: at commas by default, into characters by an empty separator.
pub(crate) fn split(
    lua: &Lua,
    (text, separator): (LuaString, Option<LuaString>),
) -> mlua::Result<Table> {
    let text = text.as_bytes();
    let comma = lua.create_string(",")?;
    let separator = separator.unwrap_or(comma);
    let separator = separator.as_bytes();
    let parts = lua.create_table()?;
    let add = |part: &[u8]| {
        if parts.raw_len() >= PARTS_MAX {
            return Err(mlua::Error::runtime("string.split: too many parts"));
        }
        parts.raw_push(lua.create_string(part)?)
    };
    if separator.is_empty() {
        for byte in text.iter() {
            add(std::slice::from_ref(byte))?;
        }
        return Ok(parts);
    }
    let mut begin = 0;
    for found in memmem::find_iter(&text, &separator) {
        add(text.get(begin..found).unwrap_or_default())?;
        begin = found + separator.len();
    }
    add(text.get(begin..).unwrap_or_default())?;
    Ok(parts)
}
