//! All sections below a root, in the order in which they are explained.

use crate::help::paragraphs;
use crate::shape::{Field, SectionInfo, Shape};

/// A section and where it stands in the file.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Its path: "" for the root, "http.site", "dns.policy.NAME".
    pub path: String,
    /// Whether there may be several, each with the header `[[path]]`.
    pub listed: bool,
    /// The key that it stands under, of the section around it; `None` for the root.
    pub field: Option<&'static Field>,
    /// Its keys.
    pub info: &'static SectionInfo,
}

impl Outline {
    /// The header as it is written; for the root, what there is instead of one.
    pub fn header(&self) -> String {
        match (self.path.as_str(), self.listed) {
            ("", _) => "the top level".into(),
            (path, true) => format!("[[{path}]]"),
            (path, false) => format!("[{path}]"),
        }
    }

    /// What it is, a paragraph each: its own documentation, or that of the key that it stands
    /// under.
    pub fn help(&self) -> Vec<String> {
        match paragraphs(self.info.help) {
            own if !own.is_empty() => own,
            _ => self
                .field
                .map(|field| paragraphs(field.help))
                .unwrap_or_default(),
        }
    }

    /// The header of one of its keys, if that is a section.
    pub fn below(&self, field: &Field) -> Option<String> {
        let shape = (field.shape)();
        shape.section()?;
        let path = join(&self.path, field.key);
        Some(match shape {
            Shape::List(_) => format!("[[{path}]]"),
            Shape::Map(_) => format!("[{path}.NAME]"),
            _ => format!("[{path}]"),
        })
    }

    /// The path of one of its keys.
    pub fn key_path(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// The root and every section in it. One that holds itself is entered once.
pub fn outline(root: &'static SectionInfo) -> Vec<Outline> {
    let mut sections = Vec::new();
    let root = Outline {
        path: String::new(),
        listed: false,
        field: None,
        info: root,
    };
    enter(root, &mut Vec::new(), &mut sections);
    sections
}

fn enter(section: Outline, inside: &mut Vec<&'static str>, sections: &mut Vec<Outline>) {
    let info = section.info;
    if inside.contains(&info.id) {
        return;
    }
    inside.push(info.id);
    let path = section.path.clone();
    sections.push(section);
    for field in info.fields {
        let shape = (field.shape)();
        if let Some(nested) = shape.section() {
            let mut path = join(&path, field.key);
            if matches!(shape, Shape::Map(_)) {
                path.push_str(".NAME");
            }
            let listed = matches!(shape, Shape::List(_));
            enter(
                Outline {
                    path,
                    listed,
                    field: Some(field),
                    info: nested,
                },
                inside,
                sections,
            );
        }
    }
    inside.pop();
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.into()
    } else {
        format!("{path}.{key}")
    }
}
