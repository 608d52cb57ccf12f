//! Media types by file name extension.

use std::{collections::HashMap, sync::OnceLock};

use http::HeaderValue;

const TABLE: &str = include_str!("types.txt");

/// The longest extension in the table is far shorter.
const EXTENSION_MAX: usize = 32;

/// The media type of a file by its name; `None` where the name says nothing.
pub(super) fn of(path: &[u8]) -> Option<HeaderValue> {
    static TYPES: OnceLock<HashMap<&'static [u8], HeaderValue>> = OnceLock::new();
    let types = TYPES.get_or_init(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        lines
            .flat_map(|line| {
                let mut words = line.split(' ');
                let kind = words.next().unwrap_or_default();
                words.map(move |extension| (extension.as_bytes(), HeaderValue::from_static(kind)))
            })
            .collect()
    });
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    // The last extension that says anything: "a.html.en" and "a.html.2" are HTML.
    let dots = name.iter().filter(|&&byte| byte == b'.').count();
    let mut extensions = name.rsplit(|&byte| byte == b'.').take(dots);
    extensions.find_map(|extension| by_extension(types, extension))
}

fn by_extension(
    types: &HashMap<&'static [u8], HeaderValue>,
    extension: &[u8],
) -> Option<HeaderValue> {
    if let Some(kind) = types.get(extension) {
        return Some(kind.clone());
    }
    let mut lower = [0; EXTENSION_MAX];
    let lower = lower.get_mut(..extension.len())?;
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    types.get(&*lower).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_extension() {
        let kind = |path: &str| of(path.as_bytes());
        let is = |kind| Some(HeaderValue::from_static(kind));
        assert_eq!(kind("/a/index.html"), is("text/html"));
        assert_eq!(kind("/a/PHOTO.JPG"), is("image/jpeg"));
        assert_eq!(kind("/a.css/x"), None);
        assert_eq!(kind("/a.tar.gz"), is("application/gzip"));
        assert_eq!(kind("/a.html.en"), is("text/html"));
        assert_eq!(kind("/a.html.xyzzy.2"), is("text/html"));
        assert_eq!(kind("/a.css.txt"), is("text/plain"));
        assert_eq!(kind("/html"), None);
        assert_eq!(kind("/x."), None);
        assert_eq!(kind("/x.nosuchthing"), None);
        assert_eq!(kind(&format!("/x.{}", "a".repeat(100))), None);
    }

    #[test]
    fn every_line_of_the_table_is_a_type_and_its_extensions() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            assert!(
                words.next().is_some_and(|kind| kind.contains('/')),
                "{line}"
            );
            assert!(
                words.all(|word| !word.is_empty() && word.len() <= EXTENSION_MAX),
                "{line}"
            );
        }
    }
}
