//! Tables: `${name:key|default}`.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read,
    sync::atomic::{AtomicUsize, Ordering},
};

use omnid_config::{Problem, Problems};

use super::MapConfig;
use crate::expression::Lookup;

/// The largest file of a table.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Tables by name.
#[derive(Debug, Default)]
pub struct Maps {
    maps: BTreeMap<String, Map>,
    /// Where the next random choice is taken from. It need not be hard to guess.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Map {
    values: HashMap<String, String>,
    random: bool,
}

impl Maps {
    /// Reads the tables of the config.
    pub fn compile(config: &BTreeMap<String, MapConfig>, problems: &mut Problems) -> Self {
        let mut maps = BTreeMap::new();
        for (name, config) in config {
            let mut map = Map {
                values: HashMap::new(),
                random: config.random,
            };
            if let Some(path) = &config.file {
                let mut text = String::new();
                let read = fs::File::open(&path.value)
                    .and_then(|file| file.take(LONGEST).read_to_string(&mut text));
                if let Err(error) = read {
                    problems.push(
                        Problem::error(format!(
                            "the table {} cannot be read: {error}",
                            path.display()
                        ))
                        .at(path.span, ""),
                    );
                }
                map.read(&text);
            }
            let values = config.values.iter();
            map.values
                .extend(values.map(|(key, value)| (key.clone(), value.clone())));
            maps.insert(name.clone(), map);
        }
        Self {
            maps,
            turn: AtomicUsize::new(0),
        }
    }
}

impl Map {
    /// A key, white space, a value; `#` begins a comment. The first of two equal keys counts.
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = rest.split_whitespace().next().unwrap_or_default();
            self.values
                .entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
        }
    }
}

impl Lookup for Maps {
    fn look_up(&self, map: &str, key: &str) -> Option<String> {
        let map = self.maps.get(map)?;
        let value = map.values.get(key)?;
        if !map.random {
            return Some(value.clone());
        }
        let choices: Vec<&str> = value.split('|').collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let turn = turn.wrapping_mul(0x9E37_79B9) >> 7;
        let choice = turn.checked_rem(choices.len())?;
        choices.get(choice).map(|choice| (*choice).to_owned())
    }

    fn knows(&self, map: &str) -> bool {
        self.maps.contains_key(map)
    }
}
