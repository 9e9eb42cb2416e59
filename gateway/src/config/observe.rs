//! `access_log` and `[traces]`: what is told of each request beside its app's own log.

use serde::Deserialize;

use super::ConfigError;
use crate::observe::access::Target;
use crate::observe::traces::TraceSettings;

/// `[traces]` as a person writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// An OTLP/HTTP endpoint for spans, such as `http://127.0.0.1:4318/v1/traces`. Default none: no traces.
    /// `PORTICO_TRACES_ENDPOINT`.
    pub endpoint: Option<String>,
    /// The share of requests that are traced, 0 to 1. Default 0.01. `PORTICO_TRACES_SAMPLE`.
    pub sample: Option<f64>,
    /// What the collector knows this node as. Default `portico`. `PORTICO_TRACES_SERVICE`.
    pub service: Option<String>,
}

impl Traces {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        self.endpoint = variable("PORTICO_TRACES_ENDPOINT").or(self.endpoint.take());
        self.service = variable("PORTICO_TRACES_SERVICE").or(self.service.take());
        if let Some(text) = variable("PORTICO_TRACES_SAMPLE") {
            let wrong = |_| ConfigError(format!("PORTICO_TRACES_SAMPLE: '{text}' is not a number"));
            self.sample = Some(text.parse().map_err(wrong)?);
        }
        Ok(())
    }

    pub fn check(self) -> Result<Option<TraceSettings>, ConfigError> {
        let sample = self.sample.unwrap_or(0.01);
        if !(0.0..=1.0).contains(&sample) {
            return Err(ConfigError(format!("traces.sample: {sample} is not between 0 and 1")));
        }
        let Some(endpoint) = self.endpoint else { return Ok(None) };
        let url = reqwest::Url::parse(&endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if url.is_none_or(|url| url.host_str().is_none()) {
            return Err(ConfigError(format!("traces.endpoint: '{endpoint}' is no http or https URL")));
        }
        Ok(Some(TraceSettings { endpoint, sample, service: self.service.unwrap_or_else(|| "portico".to_owned()) }))
    }
}

/// `off`, `stdout`, or a file's path.
pub fn access_log(written: Option<String>) -> Option<Target> {
    match written.as_deref() {
        None | Some("off") => None,
        Some("stdout") => Some(Target::StandardOutput),
        Some(path) => Some(Target::File(path.into())),
    }
}
