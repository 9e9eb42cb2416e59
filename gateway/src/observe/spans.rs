//! From finished requests to spans, and to a collector.
//!
//! In: requests that were traced, in batches. Out: OTLP over HTTP: one server span a request, one inner span a stage.

use std::time::{Duration, SystemTime};

use metrics::counter;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc::Receiver;

use crate::limits;

use super::stages::Stage;
use super::traces::{Finished, TraceSettings};

/// A connection to the collector; nothing is sent yet.
pub fn exporter(settings: &TraceSettings) -> Result<SpanExporter, String> {
    SpanExporter::builder()
        .with_http()
        .with_endpoint(&settings.endpoint)
        .with_timeout(limits::TRACE_SEND_TIME)
        .build()
        .map_err(|error| format!("traces.endpoint: {error}"))
}

/// Sends what comes until the cores are gone.
pub async fn send_all(mut exporter: SpanExporter, service: String, mut queue: Receiver<Vec<Finished>>) {
    exporter.set_resource(&Resource::builder_empty().with_service_name(service).build());
    let scope = InstrumentationScope::builder("portico").with_version(env!("CARGO_PKG_VERSION")).build();
    let mut failing = false;
    while let Some(mut batch) = queue.recv().await {
        while batch.len() < limits::TRACE_BATCH
            && let Ok(more) = queue.try_recv()
        {
            batch.extend(more);
        }
        let spans: Vec<SpanData> = batch.iter().flat_map(|finished| spans(finished, &scope)).collect();
        let count = spans.len() as u64;
        let sent = exporter.export(spans).await;
        if let Err(error) = &sent {
            counter!("portico_spans_dropped_total").increment(count);
            if !failing {
                tracing::warn!(%error, "spans cannot be sent to the collector; they are dropped until it takes them again");
            }
        } else {
            counter!("portico_spans_sent_total").increment(count);
        }
        failing = sent.is_err();
    }
}

fn spans(finished: &Finished, scope: &InstrumentationScope) -> Vec<SpanData> {
    let trace = TraceId::from_bytes(finished.trace.trace);
    let root = new_span();
    let began = SystemTime::UNIX_EPOCH + Duration::from_millis(finished.started_ms.max(0) as u64);
    let span = |id: SpanId, parent: SpanId, name: &'static str, kind: SpanKind, from: u64, took: u64| SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent,
        parent_span_is_remote: kind == SpanKind::Server && parent != SpanId::INVALID,
        span_kind: kind,
        name: name.into(),
        start_time: began + Duration::from_nanos(from),
        end_time: began + Duration::from_nanos(from + took),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    };
    let parent = SpanId::from_bytes(finished.trace.parent);
    let mut request = span(root, parent, "request", SpanKind::Server, 0, finished.took_ns);
    request.name = format!("{} endpoint", finished.method).into();
    request.attributes = attributes(finished);
    if finished.status >= 500 {
        request.status = Status::error("");
    }
    let mut all = vec![request];
    let mut from = 0;
    for (stage, took) in Stage::ALL.into_iter().zip(finished.stages) {
        // A stage the request did not reach has no span.
        if took > 0 {
            all.push(span(new_span(), root, stage.name(), SpanKind::Internal, from, took));
        }
        from += took;
    }
    all
}

/// In the words of OpenTelemetry's conventions for HTTP servers.
fn attributes(finished: &Finished) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", finished.method.clone()),
        KeyValue::new("url.path", finished.path.clone()),
        KeyValue::new("http.response.status_code", i64::from(finished.status)),
        KeyValue::new("client.address", finished.peer.to_string()),
        KeyValue::new("network.protocol.version", finished.protocol.trim_start_matches("HTTP/")),
        KeyValue::new("portico.request_id", finished.correlation.clone()),
    ];
    attributes.extend(finished.app.clone().map(|app| KeyValue::new("portico.app", app)));
    attributes
}

fn new_span() -> SpanId {
    let mut bytes = [0; 8];
    // Zeros would be no span id at all; they come only when there is no randomness.
    match getrandom::fill(&mut bytes) {
        Ok(()) => SpanId::from_bytes(bytes),
        Err(_) => SpanId::from_bytes([1; 8]),
    }
}
