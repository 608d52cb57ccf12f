//! Documentation comments as help.

/// The paragraphs of a documentation comment, each on one line, links to Rust items undone.
pub(crate) fn paragraphs(help: &[&str]) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in help {
        let line = line.trim();
        match paragraphs.last_mut() {
            Some(last) if !line.is_empty() => {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(line);
            }
            _ => paragraphs.push(String::new()),
        }
    }
    let paragraphs = paragraphs
        .into_iter()
        .filter(|paragraph| !paragraph.is_empty());
    paragraphs
        .map(|text| text.replace("[`", "`").replace("`]", "`"))
        .collect()
}

/// The first paragraph: the one-line help.
pub(crate) fn summary(help: &[&str]) -> String {
    paragraphs(help).into_iter().next().unwrap_or_default()
}
