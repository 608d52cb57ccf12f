//! Values on their way between JSON and Lua.
//!
//! What comes out of a script is bounded in depth and size: it may have been made by a script gone wrong.

use mlua::{Lua, Table, Value as LuaValue};
use serde_json::{Map, Number, Value};

/// Tables within tables.
const DEPTH_MAX: usize = 32;

/// Values in all.
const VALUES_MAX: usize = 10_000;

/// Bytes of text in all.
const TEXT_MAX: usize = 1024 * 1024;

/// Integers that a Lua number holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A JSON value as Lua's. `null` is nil, and so is absent from tables.
pub(crate) fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Number(number) => LuaValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(values) => {
            let table = lua.create_table_with_capacity(values.len(), 0)?;
            for (index, value) in values.iter().enumerate() {
                table.raw_set(index + 1, to_lua(lua, value)?)?;
            }
            LuaValue::Table(table)
        }
        Value::Object(values) => {
            let table = lua.create_table_with_capacity(0, values.len())?;
            for (name, value) in values {
                table.raw_set(name.as_str(), to_lua(lua, value)?)?;
            }
            LuaValue::Table(table)
        }
    })
}

/// Why a Lua value has no JSON form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("a {0} cannot be passed on")]
    Type(&'static str),
    #[error("a number that is infinite or not a number cannot be passed on")]
    Number,
    #[error("a table's key must be a text or a number, not a {0}")]
    Key(&'static str),
    #[error("tables within tables go too deep (or round in a circle)")]
    Deep,
    #[error("the value is too large")]
    Large,
    #[error("{0}")]
    Lua(String),
}

/// A Lua value as JSON. A table with the keys 1, 2, … is an array, any other (an empty one, too) an object.
pub(crate) fn to_json(value: &LuaValue) -> Result<Value, Unfit> {
    Converter {
        values: VALUES_MAX,
        text: TEXT_MAX,
    }
    .value(value, DEPTH_MAX)
}

/// With what is left of the bounds.
struct Converter {
    values: usize,
    text: usize,
}

impl Converter {
    fn value(&mut self, value: &LuaValue, depth: usize) -> Result<Value, Unfit> {
        self.values = self.values.checked_sub(1).ok_or(Unfit::Large)?;
        Ok(match value {
            LuaValue::Nil => Value::Null,
            LuaValue::Boolean(value) => Value::Bool(*value),
            LuaValue::Integer(number) => Value::from(*number),
            LuaValue::Number(number) => Value::Number(json_number(*number)?),
            LuaValue::String(text) => Value::String(self.text(text)?),
            LuaValue::Table(table) => {
                let depth = depth.checked_sub(1).ok_or(Unfit::Deep)?;
                self.table(table, depth)?
            }
            other => return Err(Unfit::Type(other.type_name())),
        })
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<Value, Unfit> {
        let mut entries = Vec::new();
        // Raw: without the script's metamethods, which could do anything.
        for pair in table.pairs::<LuaValue, LuaValue>() {
            let (key, value) = pair.map_err(|error| Unfit::Lua(error.to_string()))?;
            entries.push((self.key(&key)?, self.value(&value, depth)?));
        }
        // As many keys as there are, each within 1, 2, …: then all of them are there.
        let count = entries.len();
        let is_place = |key: &Key| matches!(key, Key::Place(place) if (1..=count).contains(place));
        if count > 0 && entries.iter().all(|(key, _)| is_place(key)) {
            entries.sort_by_key(|(key, _)| match key {
                Key::Place(place) => *place,
                Key::Name(_) => 0,
            });
            return Ok(entries.into_iter().map(|(_, value)| value).collect());
        }
        let named = entries.into_iter().map(|(key, value)| match key {
            Key::Place(place) => (place.to_string(), value),
            Key::Name(name) => (name, value),
        });
        Ok(Value::Object(named.collect::<Map<_, _>>()))
    }

    fn key(&mut self, key: &LuaValue) -> Result<Key, Unfit> {
        let number = match key {
            LuaValue::String(text) => return Ok(Key::Name(self.text(text)?)),
            LuaValue::Integer(number) => Number::from(*number),
            LuaValue::Number(number) => json_number(*number)?,
            other => return Err(Unfit::Key(other.type_name())),
        };
        let place = number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        Ok(place.map_or_else(|| Key::Name(number.to_string()), Key::Place))
    }

    fn text(&mut self, text: &mlua::LuaString) -> Result<String, Unfit> {
        let bytes = text.as_bytes();
        self.text = self.text.checked_sub(bytes.len()).ok_or(Unfit::Large)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A table's key.
enum Key {
    Place(usize),
    Name(String),
}

/// Whole numbers as integers: Lua has but one kind of number, JSON's readers have two.
fn json_number(number: f64) -> Result<Number, Unfit> {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        // In range, as was just seen.
        #[allow(clippy::cast_possible_truncation)]
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or(Unfit::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn json_of(code: &str) -> Result<Value, Unfit> {
        let lua = Lua::new();
        let value = lua
            .load(code)
            .eval()
            .map_err(|error| Unfit::Lua(error.to_string()))?;
        to_json(&value)
    }

    #[test]
    fn lua_values_become_json() {
        for (code, expected) in [
            ("nil", Ok(json!(null))),
            ("true", Ok(json!(true))),
            ("3", Ok(json!(3))),
            ("-0.5", Ok(json!(-0.5))),
            ("2^53", Ok(json!(9_007_199_254_740_992_i64))),
            ("1e300", Ok(json!(1e300))),
            ("1/0", Err(Unfit::Number)),
            ("'a\\0\\255'", Ok(json!("a\0\u{fffd}"))),
            ("{}", Ok(json!({}))),
            ("{1, 'b', {c = 3}}", Ok(json!([1, "b", {"c": 3}]))),
            ("{1, 2, x = 3}", Ok(json!({"1": 1, "2": 2, "x": 3}))),
            (
                "(function() local t = {} for i = 3, 1, -1 do t[i] = i end return t end)()",
                Ok(json!([1, 2, 3])),
            ),
            ("{[3] = 'c'}", Ok(json!({"3": "c"}))),
            ("{[1.5] = 'c'}", Ok(json!({"1.5": "c"}))),
            ("{[true] = 1}", Err(Unfit::Key("boolean"))),
            ("{f = print}", Err(Unfit::Type("function"))),
            (
                "(function() local t = {} t.t = t return t end)()",
                Err(Unfit::Deep),
            ),
            ("table.create(10001, 1)", Err(Unfit::Large)),
            (
                "{string.rep('x', 600000), string.rep('y', 600000)}",
                Err(Unfit::Large),
            ),
            (
                "setmetatable({1}, {__index = error, __iter = error, __len = error})",
                Ok(json!([1])),
            ),
        ] {
            assert_eq!(json_of(&format!("return {code}")), expected, "{code}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            (-1e9..1e9).prop_map(|number: f64| Value::from(number + 0.25)),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_survives_lua(value in any_json()) {
            let lua = Lua::new();
            let back = to_lua(&lua, &value).map(|value| to_json(&value));
            prop_assert_eq!(back.ok(), Some(Ok(value)));
        }
    }
}
