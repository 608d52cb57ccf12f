//! The JSON schema (draft 2020-12) that editors check and complete a config with.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::help::paragraphs;
use crate::item::Item;
use crate::outline::outline;
use crate::reader::Section;
use crate::shape::{Field, Measure, SectionInfo, Shape};

/// The schema of a whole config.
pub fn schema<R: Section>() -> Json {
    // A section is named for the first place where it stands.
    let mut names: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut definitions = Vec::new();
    for section in outline(const { &R::INFO }) {
        if !section.path.is_empty() && !names.contains_key(section.info.id) {
            names.insert(section.info.id, section.path.clone());
            definitions.push((section.path, section.info));
        }
    }
    let writer = Writer { names };
    let definitions: Map<String, Json> = definitions
        .into_iter()
        .map(|(path, info)| (path, writer.section(info)))
        .collect();
    let mut root = writer.section(const { &R::INFO });
    if let Json::Object(root) = &mut root {
        root.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        root.insert("title".into(), "omnid.toml".into());
        root.insert("$defs".into(), Json::Object(definitions));
    }
    root
}

struct Writer {
    names: BTreeMap<&'static str, String>,
}

impl Writer {
    fn section(&self, info: &'static SectionInfo) -> Json {
        let mut schema = json!({ "type": "object", "additionalProperties": false });
        describe(&mut schema, info.help);
        let properties: Map<String, Json> = info
            .fields
            .iter()
            .map(|field| (field.key.to_string(), self.field(field)))
            .collect();
        let required: Vec<&str> = info
            .fields
            .iter()
            .filter(|field| !field.is_optional())
            .map(|field| field.key)
            .collect();
        set(&mut schema, "properties", properties);
        if !required.is_empty() {
            set(&mut schema, "required", required);
        }
        schema
    }

    fn field(&self, field: &Field) -> Json {
        let mut schema = self.shape(&(field.shape)(), Some(field));
        describe(&mut schema, field.help);
        let default = field.default.map(|default| default());
        if let Some(default) = default.as_ref().and_then(json_value) {
            set(&mut schema, "default", default);
        }
        schema
    }

    fn shape(&self, shape: &Shape, field: Option<&Field>) -> Json {
        match shape {
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Integer { min, max } => {
                let range = field.and_then(|field| field.range).map(|range| range());
                let bound = |own: Option<Measure>, of_type: i128| match own {
                    Some(Measure::Integer(bound)) => bound,
                    _ => of_type,
                };
                let min = bound(range.and_then(|range| range.min), *min);
                let max = bound(range.and_then(|range| range.max), *max);
                let mut schema = json!({ "type": "integer" });
                if let Ok(min) = i64::try_from(min) {
                    set(&mut schema, "minimum", min);
                }
                if let Ok(max) = u64::try_from(max) {
                    set(&mut schema, "maximum", max);
                }
                schema
            }
            Shape::Float => json!({ "type": "number" }),
            Shape::Text(text) => {
                let mut schema = json!({ "type": "string" });
                if !text.pattern.is_empty() {
                    set(&mut schema, "pattern", text.pattern);
                }
                if !text.example.is_empty() && !text.pattern.is_empty() {
                    set(&mut schema, "examples", vec![text.example]);
                }
                schema
            }
            Shape::Choice(choice) => {
                let option = |(word, help): &(&str, &[&str])| {
                    let mut schema = json!({ "const": word });
                    describe(&mut schema, help);
                    schema
                };
                let words: Vec<&str> = choice.options.iter().map(|(word, _)| *word).collect();
                let options: Vec<Json> = choice.options.iter().map(option).collect();
                json!({ "type": "string", "enum": words, "oneOf": options })
            }
            Shape::Secret => {
                let from = |key: &str, description: &str| {
                    json!({
                        "type": "object",
                        "additionalProperties": false,
                        "required": [key],
                        "properties": { key: { "type": "string", "description": description } },
                    })
                };
                json!({ "oneOf": [
                    { "type": "string" },
                    from("file", "A file that holds the secret."),
                    from("env", "An environment variable that holds the secret."),
                    from("credential", "A credential that systemd passes."),
                ] })
            }
            Shape::List(of) => json!({ "type": "array", "items": self.shape(of, field) }),
            Shape::Map(of) => {
                json!({ "type": "object", "additionalProperties": self.shape(of, field) })
            }
            Shape::Section(info) => match self.names.get(info.id) {
                Some(name) => json!({ "$ref": format!("#/$defs/{name}") }),
                None => json!({ "$ref": "#" }),
            },
        }
    }
}

fn describe(schema: &mut Json, help: &[&str]) {
    let help = paragraphs(help);
    if !help.is_empty() {
        set(schema, "description", help.join("\n\n"));
    }
}

fn set(schema: &mut Json, key: &str, value: impl Into<Json>) {
    if let Json::Object(schema) = schema {
        schema.insert(key.into(), value.into());
    }
}

/// A default as JSON; `None` where there is nothing to show.
fn json_value(item: &Item) -> Option<Json> {
    match item {
        Item::Absent | Item::Section(_) => None,
        // TOML's notation for strings, numbers and truth as we write them is JSON's too.
        Item::Scalar(text) => serde_json::from_str(text).ok(),
        Item::List(items) => items
            .iter()
            .map(json_value)
            .collect::<Option<Vec<_>>>()
            .map(Json::Array),
        Item::Map(items) => {
            let entries = items
                .iter()
                .map(|(name, item)| Some((name.clone(), json_value(item)?)));
            entries.collect::<Option<Map<_, _>>>().map(Json::Object)
        }
    }
}
