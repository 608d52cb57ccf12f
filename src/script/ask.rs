//! What a script can wait for, and the answers.

use mlua::{Lua, MultiValue, UserData, Value as LuaValue};
use serde_json::Value;

use crate::convert::to_lua;
use crate::data;
use crate::fetch::{Request, Response};
use crate::pool::Pool;

/// Something that a script waits for.
pub(crate) enum Ask {
    Fetch(Box<Request>),
    Get { key: String },
    Set { key: String, value: Option<String> },
}

impl UserData for Ask {}

/// What it gets for it.
pub(crate) enum Answer {
    Fetched(Response),
    /// What can happen at any time, and the script is to think of: `nil, message`.
    NotFetched(String),
    Value(Option<Value>),
    Done,
    /// What must not happen: an error in the script.
    Broken(String),
}

impl Ask {
    pub(crate) async fn perform(self, pool: &Pool) -> Answer {
        match self {
            Self::Fetch(request) => match pool.fetcher.fetch(*request).await {
                Ok(response) => Answer::Fetched(response),
                Err(error) => Answer::NotFetched(error.to_string()),
            },
            Self::Get { key } => match data::get(&pool.database, key).await {
                Ok(value) => Answer::Value(value),
                Err(error) => Answer::Broken(format!("omnid.store.get: {error}")),
            },
            Self::Set { key, value } => match data::set(&pool.database, key, value).await {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Broken(format!("omnid.store.set: {error}")),
            },
        }
    }
}

impl Answer {
    /// The values that the verb returns, or the message of the error that it raises.
    pub(crate) fn into_lua(self, lua: &Lua) -> mlua::Result<Result<MultiValue, String>> {
        let values = match self {
            Self::Fetched(response) => vec![LuaValue::Table(response.to_lua(lua)?)],
            Self::NotFetched(message) => {
                vec![LuaValue::Nil, LuaValue::String(lua.create_string(message)?)]
            }
            Self::Value(value) => vec![to_lua(lua, &value.unwrap_or_default())?],
            Self::Done => Vec::new(),
            Self::Broken(message) => return Ok(Err(message)),
        };
        Ok(Ok(MultiValue::from_iter(values)))
    }
}
