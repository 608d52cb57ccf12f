//! "Did you mean …?"

/// The candidate nearest to what was written, if any is near enough to have been meant.
pub fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = written.to_lowercase().replace('-', "_");
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other = candidate.to_lowercase().replace('-', "_");
        let distance = strsim::damerau_levenshtein(&lower, &other);
        let longest = lower.chars().count().max(other.chars().count());
        // A third of the letters may differ, so that "tpye" finds "type" and "ip" does not find
        // "to"; a word begun or carried on ("host" for "hosts", "cert" for "certificate") counts
        // as near too.
        let prefix = lower.len() >= 3
            && other.len() >= 3
            && (other.starts_with(&lower) || lower.starts_with(&other));
        let near = distance <= (longest / 3).max(1) && distance < longest;
        if (near || prefix) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}
