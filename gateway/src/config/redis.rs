//! `[redis]`: what the nodes of a fleet share for speed.
//!
//! In: the table as a person writes it. Out: the connection's settings, none where there is no Redis, or what is wrong, which
//! never repeats the URL, since it may hold a password.

use std::time::Duration;

use ::storage::model::SecretText;
use ::storage::redis::{Settings, check_url};
use serde::Deserialize;

use super::ConfigError;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://[user:password@]host[:port][/database]`. Without one there is no Redis. `PORTICO_REDIS_URL`.
    pub url: Option<String>,
    /// What the names of keys and channels begin with. Default `portico:`. `PORTICO_REDIS_PREFIX`.
    pub prefix: Option<String>,
    /// Until a connection is made, milliseconds. Default 1000. `PORTICO_REDIS_CONNECT_MS`.
    pub connect_ms: Option<u64>,
    /// Until a command is answered, milliseconds. Default 250. `PORTICO_REDIS_ANSWER_MS`.
    pub answer_ms: Option<u64>,
}

// A URL may hold a password, which must not come out where somebody prints the configuration.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        self.url = variable("PORTICO_REDIS_URL").or(self.url.take());
        self.prefix = variable("PORTICO_REDIS_PREFIX").or(self.prefix.take());
        for (name, into) in
            [("PORTICO_REDIS_CONNECT_MS", &mut self.connect_ms), ("PORTICO_REDIS_ANSWER_MS", &mut self.answer_ms)]
        {
            if let Some(text) = variable(name) {
                let wrong = |_| ConfigError(format!("{name}: '{text}' is not a whole number in range"));
                *into = Some(text.parse().map_err(wrong)?);
            }
        }
        Ok(())
    }

    pub fn check(self) -> Result<Option<Settings>, ConfigError> {
        let ms = |what: &str, written: Option<u64>, default: u64| match written.unwrap_or(default) {
            ms @ 1..=60_000 => Ok(Duration::from_millis(ms)),
            other => Err(ConfigError(format!("redis.{what}: {other} is not between 1 and 60000"))),
        };
        let connect = ms("connect_ms", self.connect_ms, 1_000)?;
        let answer = ms("answer_ms", self.answer_ms, 250)?;
        let prefix = self.prefix.unwrap_or_else(|| "portico:".to_owned());
        if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError("redis.prefix: is not up to 64 printed characters".to_owned()));
        }
        let Some(url) = self.url else { return Ok(None) };
        check_url(&url).map_err(|why| ConfigError(format!("redis.url: {why}")))?;
        Ok(Some(Settings { url: SecretText::new(url), prefix, connect, answer }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let mut written: Redis = toml::from_str(toml).unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        written.environment(variable).and_then(|()| written.check()).map_err(|error| error.0)
    }

    #[test]
    fn without_a_url_there_is_no_redis() {
        assert!(read("", &[]).unwrap().is_none());
        let set = read("url = \"redis://a:b@h:1/2\"\nanswer_ms = 9", &[("PORTICO_REDIS_PREFIX", "two:")]);
        let set = set.unwrap().unwrap();
        assert_eq!(
            (set.prefix.as_str(), set.answer, set.connect),
            ("two:", Duration::from_millis(9), Duration::from_secs(1))
        );
        assert!(!format!("{set:?}").contains("a:b"), "{set:?}");
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (toml, environment, named) in [
            ("url = \"rediss://u:s3cret@h/\"", &[][..], "redis.url: TLS to Redis is not part of this build"),
            ("url = \"http://u:s3cret@h/\"", &[], "redis.url: is not a URL of Redis"),
            ("answer_ms = 0", &[], "redis.answer_ms: 0"),
            ("prefix = \"a b\"", &[], "redis.prefix"),
            ("", &[("PORTICO_REDIS_CONNECT_MS", "soon")], "PORTICO_REDIS_CONNECT_MS: 'soon'"),
        ] {
            let error = read(toml, environment).unwrap_err();
            assert!(error.contains(named) && !error.contains("s3cret"), "{error}");
        }
    }
}
