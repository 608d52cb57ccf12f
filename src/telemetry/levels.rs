//! Which entries are wanted.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::config::{LogConfig, LogLevel};

/// The wanted level, and others for parts of the server. Written `info,dns=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Levels {
    level: LevelFilter,
    /// Longest name first, so that the first that fits counts.
    targets: Vec<(String, LevelFilter)>,
}

/// Text that is not a list of levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// A level that there is not.
    #[error("{0:?} is not a level: off, error, warn, info, debug or trace")]
    Level(String),
    /// More than one level without a part's name before it.
    #[error("two levels for everything: {0:?} and {1:?}")]
    Twice(String, String),
    /// No level at all.
    #[error("no level")]
    Empty,
}

impl Levels {
    /// What a level for everything means for the libraries, whose `debug` is of no use to an operator
    /// who looks at one service.
    const LIBRARIES: LevelFilter = LevelFilter::INFO;

    pub(crate) fn new(config: &LogConfig) -> Self {
        let targets = config
            .targets
            .iter()
            .map(|(name, level)| (name.clone(), filter(*level)));
        Self::of(filter(config.level), targets.collect())
    }

    fn of(level: LevelFilter, mut targets: Vec<(String, LevelFilter)>) -> Self {
        for (name, _) in &mut targets {
            if let Some(short) = name.strip_prefix("omnid_") {
                *name = short.to_owned();
            }
        }
        targets.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        targets.dedup_by(|(a, _), (b, _)| a == b);
        Self { level, targets }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        // Spans are the context of entries: kept up to info though entries of that level are not
        // wanted, so that a warning names the peer and the user whatever the level.
        if metadata.is_span() && *metadata.level() <= Level::INFO {
            return true;
        }
        // An entry of the `log` crate was asked about under its own target just before.
        metadata.target() == "log" || self.level_of(metadata.target()) >= *metadata.level()
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let (name, ours) = match target.strip_prefix("omnid") {
            Some(rest) => (rest.strip_prefix('_').unwrap_or(target), true),
            None => (target, false),
        };
        let named = self.targets.iter().find(|(part, _)| {
            name.strip_prefix(part.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        match named {
            Some((_, level)) => *level,
            None if ours => self.level,
            None => self.level.min(Self::LIBRARIES),
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        for (name, level) in &self.targets {
            write!(f, ",{name}={level}")?;
        }
        Ok(())
    }
}

impl FromStr for Levels {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let mut everything: Option<(&str, LevelFilter)> = None;
        let mut targets = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part.split_once('=') {
                Some((name, level)) => targets.push((name.trim().to_owned(), parse(level.trim())?)),
                None => {
                    if let Some((first, _)) = everything.replace((part, parse(part)?)) {
                        return Err(LevelError::Twice(first.to_owned(), part.to_owned()));
                    }
                }
            }
        }
        match everything {
            Some((_, level)) => Ok(Self::of(level, targets)),
            None if targets.is_empty() => Err(LevelError::Empty),
            None => Ok(Self::of(LevelFilter::INFO, targets)),
        }
    }
}

impl<S: Subscriber> Filter<S> for Levels {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = self.targets.iter().map(|(_, level)| *level);
        levels.chain([self.level, LevelFilter::INFO]).max()
    }
}

fn parse(level: &str) -> Result<LevelFilter, LevelError> {
    let known = LogLevel::ALL
        .iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(level));
    known
        .map(|level| filter(*level))
        .ok_or_else(|| LevelError::Level(level.to_owned()))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_printed() -> Result<(), LevelError> {
        for (text, printed) in [
            ("debug", "debug"),
            ("WARN", "warn"),
            ("info, dns=trace", "info,dns=trace"),
            (
                "omnid_dns::resolver=off,dns=debug,error",
                "error,dns::resolver=off,dns=debug",
            ),
            ("h2=debug", "info,h2=debug"),
        ] {
            let levels: Levels = text.parse()?;
            assert_eq!(levels.to_string(), printed);
            assert_eq!(levels.to_string().parse::<Levels>()?, levels);
        }
        assert_eq!("".parse::<Levels>(), Err(LevelError::Empty));
        assert_eq!(
            "loud".parse::<Levels>(),
            Err(LevelError::Level("loud".to_owned()))
        );
        assert_eq!(
            "dns=".parse::<Levels>(),
            Err(LevelError::Level(String::new()))
        );
        let twice = LevelError::Twice("info".to_owned(), "warn".to_owned());
        assert_eq!("info,warn".parse::<Levels>(), Err(twice));
        Ok(())
    }

    #[test]
    fn the_longest_name_that_fits_counts() -> Result<(), LevelError> {
        let levels: Levels = "debug,dns=warn,dns::resolver=trace,rustls=debug".parse()?;
        for (target, level) in [
            ("omnid", LevelFilter::DEBUG),
            ("omnid::run", LevelFilter::DEBUG),
            ("omnid_http", LevelFilter::DEBUG),
            ("omnid_dns", LevelFilter::WARN),
            ("omnid_dns::io::udp", LevelFilter::WARN),
            ("omnid_dns::resolver", LevelFilter::TRACE),
            ("omnid_dns::resolver::cache", LevelFilter::TRACE),
            ("omnid_dnssec", LevelFilter::DEBUG),
            ("h2::proto", LevelFilter::INFO),
            ("rustls::conn", LevelFilter::DEBUG),
        ] {
            assert_eq!(levels.level_of(target), level, "{target}");
        }
        let quiet: Levels = "error".parse()?;
        assert_eq!(quiet.level_of("h2"), LevelFilter::ERROR);
        Ok(())
    }
}
