//! The process's figures, in Prometheus' words. App names are never labels: there may be ten thousand.

use std::time::Duration;

use isolate_pool::link::frame::HostStats;
use isolate_pool::supervisor::Serial;
use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::families::Family;
use crate::observe::Stage;
use crate::refusal::Refusal;

/// Handles to what is counted per request, looked up once.
#[derive(Clone)]
pub struct Metrics {
    requests: [[Counter; 6]; Family::ALL.len()],
    latency: [Histogram; Family::ALL.len()],
    stages: [Histogram; Stage::ALL.len()],
    rendered: PrometheusHandle,
}

/// Upper bounds of the latency buckets, seconds: from a warm call to the documented run time limit.
const LATENCY_BOUNDS: [f64; 19] = [
    0.000_001, 0.000_01, 0.000_03, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    1.0, 5.0, 30.0, 120.0, 300.0,
];

impl Metrics {
    /// Installs the process's recorder. To be called once.
    pub fn install() -> Result<Self, String> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BOUNDS)
            .map_err(|error| error.to_string())?
            .build_recorder();
        let rendered = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
        describe_counter!("portico_requests_total", "Requests answered, by path family and status class.");
        describe_histogram!("portico_request_seconds", "Time from a whole request to its encoded answer, by family.");
        describe_histogram!(
            "portico_stage_seconds",
            "Time an endpoint request took in each step, of one request in 16."
        );
        describe_counter!(
            "portico_refused_total",
            "Endpoint requests that were refused before a function ran, by reason."
        );
        describe_counter!("portico_access_log_dropped_total", "Access-log lines that could not be written.");
        describe_counter!("portico_spans_sent_total", "Spans the collector took.");
        describe_counter!(
            "portico_spans_dropped_total",
            "Traced requests or spans the collector did not take in time."
        );
        describe_counter!("portico_panics_total", "Tasks that panicked and were ended, by task.");
        describe_counter!("portico_connections_refused_total", "Connections closed at once, by reason.");
        describe_counter!("portico_connections_shed_total", "Idle connections closed to make room for others.");
        describe_counter!(
            "portico_answers_given_up_total",
            "Answers dropped because too much waited for clients that do not read."
        );
        describe_counter!("portico_http1_refused_total", "HTTP/1.1 requests that could not be read, by reason.");
        describe_counter!("portico_restarts_total", "Restarts in which another process took over.");
        describe_gauge!("portico_connections", "Open connections, by core.");
        describe_gauge!("portico_calls_in_flight", "Calls handed to hosts and not yet answered, by core.");
        describe_gauge!("portico_hosts", "Isolate hosts that are up.");
        describe_gauge!("portico_overloaded_apps", "Apps whose new calls are refused for want of room, by core.");
        describe_counter!("portico_shed_total", "Calls refused for want of room, by reason: queue or calls_max.");
        describe_histogram!("portico_queue_seconds", "How long calls waited for a host's thread that had to wait.");
        describe_counter!("portico_rate_limited_total", "Requests that came too soon, by whose rate they exceeded.");
        describe_counter!(
            "portico_rate_cells_evicted_total",
            "Users and addresses forgotten while they still counted."
        );
        describe_counter!("portico_rate_cells_shared_total", "Buckets other nodes were told of.");
        describe_gauge!("portico_rate_nodes", "Nodes that share rates, as last seen.");
        describe_gauge!("portico_rate_shared", "1 while rates are shared through Redis, 0 while it does not answer.");
        describe_gauge!("portico_isolates_warm", "Isolates holding an app, by host.");
        describe_gauge!("portico_isolates_blank", "Isolates waiting for an app, by host.");
        describe_gauge!("portico_host_heap_bytes", "V8 heap in use, by host.");
        describe_counter!("portico_isolates_condemned_total", "Isolates given up after a termination, by host.");
        describe_counter!("portico_cold_loads_total", "Apps loaded into an isolate, by host.");
        describe_gauge!("portico_driver_info", "1 for the I/O driver in use.");
        describe_gauge!("portico_apps", "Apps being served.");
        describe_counter!(
            "portico_peer_requests_total",
            "Requests for apps of another region, by region and what became of them."
        );
        describe_histogram!(
            "portico_peer_request_seconds",
            "Time until a peer's answer to a request that was sent on begins, by region."
        );
        describe_gauge!("portico_peer_up", "1 for a node of another region that can be reached, by region and URL.");
        describe_gauge!("portico_peer_latency_seconds", "How long a node of another region took to answer last.");
        describe_counter!("portico_peer_received_total", "Requests that peers sent on to this node, by outcome.");
        describe_counter!("portico_http2_connections_total", "HTTP/2 connections that were begun.");
        describe_counter!("portico_http2_ended_total", "HTTP/2 connections that ended, by reason.");
        describe_counter!("portico_http2_refused_total", "HTTP/2 streams that were refused or given up, by reason.");
        crate::tls::describe();
        let requests = Family::ALL.map(|family| {
            ["1xx", "2xx", "3xx", "4xx", "5xx", "other"]
                .map(|class| counter!("portico_requests_total", "family" => family.name(), "status" => class))
        });
        let latency = Family::ALL.map(|family| histogram!("portico_request_seconds", "family" => family.name()));
        let stages = Stage::ALL.map(|stage| histogram!("portico_stage_seconds", "stage" => stage.name()));
        Ok(Self { requests, latency, stages, rendered })
    }

    pub fn request(&self, family: Family, status: u16, elapsed: Duration) {
        let class = usize::from(status / 100).checked_sub(1).filter(|class| *class < 5).unwrap_or(5);
        self.requests[family as usize][class].increment(1);
        self.latency[family as usize].record(elapsed.as_secs_f64());
    }

    /// Why a request went no further.
    pub fn refused(&self, refusal: &Refusal) {
        counter!("portico_refused_total", "reason" => refusal.name()).increment(1);
    }

    /// Nanoseconds by stage; a stage that was not reached has none.
    pub fn stages(&self, took: &[u64; Stage::ALL.len()]) {
        for (histogram, took) in self.stages.iter().zip(took).filter(|(_, took)| **took > 0) {
            histogram.record(Duration::from_nanos(*took).as_secs_f64());
        }
    }

    pub fn core(&self, core: usize, connections: usize, in_flight: usize) {
        gauge!("portico_connections", "core" => core.to_string()).set(connections as f64);
        gauge!("portico_calls_in_flight", "core" => core.to_string()).set(in_flight as f64);
    }

    pub fn handshakes(&self, core: usize, in_progress: usize) {
        gauge!("portico_tls_handshakes_in_progress", "core" => core.to_string()).set(in_progress as f64);
    }

    pub fn short(&self, core: usize, apps: usize) {
        gauge!("portico_overloaded_apps", "core" => core.to_string()).set(apps as f64);
    }

    pub fn hosts(&self, up: usize) {
        gauge!("portico_hosts").set(up as f64);
    }

    /// The Prometheus text.
    pub fn render(&self) -> String {
        self.rendered.render()
    }

    /// Folds recorded latencies into their buckets. To be called every few seconds, or samples pile up between scrapes.
    pub fn upkeep(&self) {
        self.rendered.run_upkeep();
    }
}

pub fn http2_begun() {
    counter!("portico_http2_connections_total").increment(1);
}

/// `reason` is one of a fixed set of short names.
pub fn http2_ended(reason: &'static str) {
    counter!("portico_http2_ended_total", "reason" => reason).increment(1);
}

pub fn http2_refused(reason: &'static str) {
    counter!("portico_http2_refused_total", "reason" => reason).increment(1);
}

/// What a host said of itself.
pub fn host(serial: Serial, stats: &HostStats) {
    let host = || serial.to_string();
    gauge!("portico_isolates_warm", "host" => host()).set(f64::from(stats.warm_isolates));
    gauge!("portico_isolates_blank", "host" => host()).set(f64::from(stats.blank_isolates));
    gauge!("portico_host_heap_bytes", "host" => host()).set(stats.heap_bytes as f64);
    counter!("portico_isolates_condemned_total", "host" => host()).absolute(stats.condemned);
    counter!("portico_cold_loads_total", "host" => host()).absolute(stats.loads);
}

/// A host is gone; its gauges go to zero.
pub fn host_gone(serial: Serial) {
    host(serial, &HostStats { condemned: 0, loads: 0, ..HostStats::default() });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Every `portico_…` a text speaks of.
    fn names(text: &str) -> BTreeSet<&str> {
        let word = |at: usize| {
            let rest = &text[at..];
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
            &rest[..end]
        };
        text.match_indices("portico_").map(|(at, _)| word(at)).collect()
    }

    fn sources(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push_str(&fs::read_to_string(&path).expect("a source"));
            }
        }
    }

    /// The names that stand in the calls of these macros, wherever they are.
    fn named_by<'a>(text: &'a str, macros: &[&str]) -> BTreeSet<&'a str> {
        let named = |call: &'a str| call.trim_start().strip_prefix('"')?.split('"').next();
        let calls = macros.iter().flat_map(|name| text.split(name).skip(1));
        calls.filter_map(named).filter(|name| name.starts_with("portico_")).collect()
    }

    #[test]
    fn every_figure_is_described() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut text = String::new();
        for room in ["gateway/src", "control-plane/src", "control-plane/bundler/src", "storage/src", "isolate-pool/src"]
        {
            sources(&top.join(room), &mut text);
        }
        // `describe_counter!(` ends like `counter!(`, and is taken out first.
        let described = named_by(&text, &["describe_counter!(", "describe_gauge!(", "describe_histogram!("]);
        let plain =
            text.replace("describe_counter!(", "").replace("describe_gauge!(", "").replace("describe_histogram!(", "");
        let counted = named_by(&plain, &["counter!(", "gauge!(", "histogram!("]);
        assert!(counted.len() > 50, "{counted:?}");
        let silent: Vec<_> = counted.difference(&described).collect();
        assert!(silent.is_empty(), "nothing says what these are: {silent:?}");
        let idle: Vec<_> = described.difference(&counted).collect();
        assert!(idle.is_empty(), "these are described and never counted: {idle:?}");
    }

    #[test]
    fn the_dashboard_asks_for_figures_there_are() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let dashboard = fs::read_to_string(top.join("deploy/grafana/portico.json")).expect("the dashboard");
        let mut text = String::new();
        for room in ["gateway/src", "control-plane/src", "storage/src"] {
            sources(&top.join(room), &mut text);
        }
        let there = names(&text);
        let asked = names(&dashboard);
        assert!(asked.len() > 20, "{asked:?}");
        for name in asked {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(there.contains(name), "no part of Portico counts {name}");
        }
    }
}
