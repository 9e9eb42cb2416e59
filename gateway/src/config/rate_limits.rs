//! `[rate_limits]`: how often apps may be called, and who asks this server.
//!
//! In: the table as a person writes it, rates as texts such as `100/s`, `100/10s`, `600/m` or `1000/h burst 20`. Out: what
//! holds for every app that has no rate of its own, and [`RateSettings`].

use ::storage::model::{Rate, RateLimits};
use ::storage::rates::RateSettings;
use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitTable {
    /// Calls of one app. Default `none`, as for all of these. Whoever owns an app may lower its rates; above these only the
    /// operator may go. `PORTICO_RATE_LIMIT_APP`.
    pub app: Option<String>,
    /// Calls of one user of an app. `PORTICO_RATE_LIMIT_USER`.
    pub user: Option<String>,
    /// Calls of one app from one address. `PORTICO_RATE_LIMIT_ADDRESS`.
    pub address: Option<String>,
    /// Logins of users and administrators from one address. `PORTICO_RATE_LIMIT_LOGIN`.
    pub login: Option<String>,
    /// Admin API requests of one key pair. `PORTICO_RATE_LIMIT_ADMIN_KEY`.
    pub admin_key: Option<String>,
    /// Users and addresses whose calls are counted at a time, 32 bytes each. Default 262144. `PORTICO_RATE_LIMIT_CELLS`.
    pub cells: Option<usize>,
}

/// Fewer would be driven out all the time; more is memory nobody needs.
const CELLS_MIN: usize = 1024;
const CELLS_MAX: usize = 64 * 1024 * 1024;

impl RateLimitTable {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for (name, into) in [
            ("PORTICO_RATE_LIMIT_APP", &mut self.app),
            ("PORTICO_RATE_LIMIT_USER", &mut self.user),
            ("PORTICO_RATE_LIMIT_ADDRESS", &mut self.address),
            ("PORTICO_RATE_LIMIT_LOGIN", &mut self.login),
            ("PORTICO_RATE_LIMIT_ADMIN_KEY", &mut self.admin_key),
        ] {
            *into = variable(name).or(into.take());
        }
        if let Some(text) = variable("PORTICO_RATE_LIMIT_CELLS") {
            let wrong = || ConfigError(format!("PORTICO_RATE_LIMIT_CELLS: '{text}' is not a whole number in range"));
            self.cells = Some(text.parse().map_err(|_| wrong())?);
        }
        Ok(())
    }

    pub fn check(self) -> Result<(RateLimits, RateSettings), ConfigError> {
        let rate = |name: &str, text: Option<String>| match text {
            None => Ok(None),
            Some(text) => Rate::parse(&text).map_err(|reason| ConfigError(format!("rate_limits.{name}: {reason}"))),
        };
        let cells = self.cells.unwrap_or(RateSettings::default().cells);
        if !(CELLS_MIN..=CELLS_MAX).contains(&cells) {
            let range = format!("{CELLS_MIN} and {CELLS_MAX}");
            return Err(ConfigError(format!("rate_limits.cells: {cells} is not between {range}")));
        }
        let limits = RateLimits {
            app: rate("app", self.app)?,
            user: rate("user", self.user)?,
            address: rate("address", self.address)?,
        };
        let settings =
            RateSettings { login: rate("login", self.login)?, admin_key: rate("admin_key", self.admin_key)?, cells };
        Ok((limits, settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<(RateLimits, RateSettings), String> {
        let mut written: RateLimitTable = toml::from_str(toml).unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        written.environment(variable).and_then(|()| written.check()).map_err(|error| error.0)
    }

    #[test]
    fn nothing_is_limited_unless_it_is_said() {
        assert_eq!(read("", &[]).unwrap(), (RateLimits::default(), RateSettings::default()));
        let (limits, settings) = read(
            "app = \"1000/s\"\nuser = \"10/s burst 20\"\nlogin = \"10/m\"",
            &[("PORTICO_RATE_LIMIT_USER", "none"), ("PORTICO_RATE_LIMIT_CELLS", "2048")],
        )
        .unwrap();
        assert_eq!(limits, RateLimits { app: Rate::parse("1000/s").unwrap(), user: None, address: None });
        assert_eq!((settings.login, settings.cells), (Rate::parse("10/m").unwrap(), 2048));
    }

    #[test]
    fn a_rate_that_cannot_be_used_is_named() {
        for (toml, named) in [
            ("app = \"fast\"", "rate_limits.app: 'fast' is neither none nor a rate"),
            ("address = \"0/s\"", "rate_limits.address: requests: 0 is not between"),
            ("admin_key = \"5/s burst 0\"", "rate_limits.admin_key: burst: 0"),
            ("cells = 8", "rate_limits.cells: 8 is not between 1024"),
        ] {
            let error = read(toml, &[]).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(toml::from_str::<RateLimitTable>("ap = \"1/s\"").is_err());
    }
}
