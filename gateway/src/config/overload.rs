//! `[overload]`: when calls that wait for an isolate host are too many.
//!
//! In: the table as a person writes it. Out: [`OverloadSettings`].

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::gate::OverloadSettings;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// How long calls of an app may wait for a host's thread, on end, before new ones are refused, milliseconds. Default
    /// 250. `PORTICO_OVERLOAD_STANDING_MS`.
    pub standing_ms: Option<u64>,
    /// How long those wait that are let in meanwhile, milliseconds. Default 1. `PORTICO_OVERLOAD_TARGET_MS`.
    pub target_ms: Option<u64>,
}

impl Overload {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for (name, into) in [
            ("PORTICO_OVERLOAD_STANDING_MS", &mut self.standing_ms),
            ("PORTICO_OVERLOAD_TARGET_MS", &mut self.target_ms),
        ] {
            if let Some(text) = variable(name) {
                let wrong = || ConfigError(format!("{name}: '{text}' is not a whole number in range"));
                *into = Some(text.parse().map_err(|_| wrong())?);
            }
        }
        Ok(())
    }

    pub fn check(self) -> Result<OverloadSettings, ConfigError> {
        let default = OverloadSettings::default();
        let ms = |name: &str, written: Option<u64>, default: Duration| match written {
            None => Ok(default),
            Some(ms) if (1..=3_600_000).contains(&ms) => Ok(Duration::from_millis(ms)),
            Some(ms) => Err(ConfigError(format!("overload.{name}: {ms} is not between 1 and 3600000"))),
        };
        let settings = OverloadSettings {
            standing: ms("standing_ms", self.standing_ms, default.standing)?,
            target: ms("target_ms", self.target_ms, default.target)?,
        };
        if settings.target > settings.standing {
            return Err(ConfigError("overload.target_ms: is more than standing_ms".to_owned()));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_and_wrong_ones_named() {
        let read = |toml: &str| toml::from_str::<Overload>(toml).unwrap().check().map_err(|error| error.0);
        assert_eq!(read("").unwrap(), OverloadSettings::default());
        assert_eq!(read("standing_ms = 50").unwrap().standing, Duration::from_millis(50));
        for (toml, named) in [
            ("standing_ms = 0", "overload.standing_ms: 0 is not between 1"),
            ("standing_ms = 5\ntarget_ms = 6", "overload.target_ms: is more than standing_ms"),
        ] {
            assert!(read(toml).unwrap_err().contains(named), "{toml}");
        }
        let mut written = Overload::default();
        written.environment(|name| (name == "PORTICO_OVERLOAD_TARGET_MS").then(|| "7".to_owned())).unwrap();
        assert_eq!(written.check().unwrap().target, Duration::from_millis(7));
    }
}
