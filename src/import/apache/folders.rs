//! Directories: under which URLs they are seen, and the files of rules in them.

use std::path::PathBuf;

use super::{convert::Work, parse};

/// Directories that are searched for files of rules.
const SEARCHED_MAX: usize = 2000;

impl Work<'_> {
    /// The URLs under which a directory, or the parts of it that are served, can be seen.
    pub(super) fn covered(&self, directory: &str) -> Vec<String> {
        let mut urls = Vec::new();
        for mapping in &self.mappings {
            let glob = directory.contains(['*', '?']);
            let above = directory.is_empty()
                || mapping.directory == directory
                || mapping.directory.starts_with(&format!("{directory}/"))
                || (glob && parse::fits(directory.as_bytes(), mapping.directory.as_bytes()));
            let below = directory
                .strip_prefix(mapping.directory.as_str())
                .filter(|rest| rest.starts_with('/') && !glob);
            let url = match below {
                Some(rest) => format!("{}{rest}", mapping.url.trim_end_matches('/')),
                None if above => mapping.url.clone(),
                None => continue,
            };
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// Files of rules in and below a directory.
    pub(super) fn search(&mut self, directory: &str, found: &mut Vec<(String, PathBuf)>) {
        let starts: Vec<String> = self
            .mappings
            .iter()
            .filter(|mapping| {
                mapping.directory == directory
                    || mapping.directory.starts_with(&format!("{directory}/"))
            })
            .map(|mapping| mapping.directory.clone())
            .chain((!self.covered(directory).is_empty()).then(|| directory.to_owned()))
            .collect();
        for start in starts {
            let mut folders = vec![start];
            let mut seen = 0;
            while let Some(folder) = folders.pop() {
                seen += 1;
                if seen > SEARCHED_MAX {
                    break;
                }
                let here = self.source.here(&folder);
                let file = here.join(".htaccess");
                if file.is_file() && !found.iter().any(|(_, known)| *known == file) {
                    found.push((folder.clone(), file));
                }
                let Ok(entries) = std::fs::read_dir(&here) else {
                    continue;
                };
                for entry in entries.flatten() {
                    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if is_folder && folder.matches('/').count() < 12 {
                        folders.push(format!("{folder}/{name}"));
                    }
                }
            }
        }
        found.sort_by_key(|(folder, _)| folder.matches('/').count());
    }
}
