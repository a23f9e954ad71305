//! Filters of spans and events by target and level, as in `info,my_crate=debug,hyper=off`.

use std::fmt;
use std::str::FromStr;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Parsed filter directives, divided by commas: `LEVEL`, `TARGET=LEVEL` or `TARGET`, where
/// a target stands for itself and everything whose path begins with it, and a level is
/// `off`, `error`, `warn`, `info`, `debug` or `trace`. The longest target that fits counts.
#[derive(Clone)]
pub struct Directives {
    text: String,
    targets: Targets,
    /// Set where no target is named.
    uniform: Option<LevelFilter>,
    max: LevelFilter,
}

/// Filter directives that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{directive}` is not a filter directive: {reason}; accepted are LEVEL, TARGET=LEVEL and \
     TARGET divided by commas, with the levels off, error, warn, info, debug and trace, such \
     as `info,my_crate=debug`"
)]
pub struct DirectiveError {
    /// The part that cannot be read.
    pub directive: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Directives {
    /// Whether a span or event passes.
    #[must_use]
    pub fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.uniform {
            Some(level) => level >= *metadata.level(),
            None => self
                .targets
                .would_enable(metadata.target(), metadata.level()),
        }
    }

    /// The level, where no target is named.
    #[must_use]
    pub fn uniform(&self) -> Option<LevelFilter> {
        self.uniform
    }

    /// The most verbose level that passes anywhere.
    #[must_use]
    pub fn max_level(&self) -> LevelFilter {
        self.max
    }
}

impl FromStr for Directives {
    type Err = DirectiveError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut targets = Targets::new();
        let mut default = LevelFilter::OFF;
        let mut max = LevelFilter::OFF;
        let mut named = false;
        for directive in text.split(',').map(str::trim).filter(|d| !d.is_empty()) {
            let error = |reason| DirectiveError {
                directive: directive.to_owned(),
                reason,
            };
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target.trim()), level.trim()),
                None if LevelFilter::from_str(directive).is_ok() => (None, directive),
                None => (Some(directive), "trace"),
            };
            if level.parse::<u8>().is_ok() {
                return Err(error("a number is not a level"));
            }
            let level = LevelFilter::from_str(level).map_err(|_| error("no such level"))?;
            match target {
                Some(target) if target.contains(['[', ']', '{', '}', '"', ' ']) => {
                    return Err(error("spans and fields are not filtered by"));
                }
                Some("") => return Err(error("the target is missing")),
                Some(target) => {
                    named = true;
                    targets = targets.with_target(target, level);
                }
                None => default = level,
            }
            max = max.max(level);
        }
        // A default that a later one overrides does not count.
        if !named {
            max = default;
        }
        Ok(Self {
            text: text.to_owned(),
            targets: targets.with_default(default),
            uniform: (!named).then_some(default),
            max,
        })
    }
}

impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directives").field(&self.text).finish()
    }
}
