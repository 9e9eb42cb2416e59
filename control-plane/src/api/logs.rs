//! Reading the log: `…/logs` for pages, `…/logs/download` for all of it.
//!
//! In: filters. Out: a page as clients expect it, or one line of JSON per entry for as long as there are any, newest first.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Map, Value as Json};

use super::error::{ApiError, lines, ok};
use super::request::{InApp, Params};
use crate::ControlPlane;
use crate::limits::{LOG_BLOCK_BYTES, LOG_DOWNLOAD_PIECES, LOG_PAGE_MAX, LOG_SKIP_MAX};
use crate::logs::{LogQuery, StatusFilter};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/logs", get(list))
        .route("/groups/{group}/apps/{app}/logs/download", get(download))
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp, params: Params) -> Result<Response, ApiError> {
    let query = query_of(&params)?;
    let sink = control.logs.clone();
    let page = tokio::task::spawn_blocking(move || sink.read(within.app.id, &query));
    let page = page.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    let mut answer = Map::new();
    answer.insert("logs".to_owned(), page.entries.into_iter().map(Json::Object).collect());
    if let Some(date) = page.next_end_date {
        answer.insert("nextEndDate".to_owned(), date.into());
    }
    if let Some(skip) = page.next_skip {
        answer.insert("nextSkip".to_owned(), skip.into());
    }
    Ok(ok(&answer.into()))
}

/// Everything, without a cap. It is read while it is sent, so that a log larger than the memory can be downloaded.
async fn download(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    params: Params,
) -> Result<Response, ApiError> {
    if let Some(format) = params.get("format").filter(|format| *format != "ndjson") {
        return Err(ApiError::invalid(format!("format: '{format}' is not known; ndjson is")));
    }
    let query = query_of(&params)?;
    let sink = control.logs.clone();
    let (pieces, received) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(LOG_DOWNLOAD_PIECES);
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::new();
        for found in sink.entries(within.app.id, &query) {
            match found {
                Ok(found) => piece.extend_from_slice(&found.line),
                Err(error) => return drop(pieces.blocking_send(Err(error))),
            }
            piece.push(b'\n');
            // Nobody receives any more: whoever asked has gone.
            if piece.len() > LOG_BLOCK_BYTES
                && pieces.blocking_send(Ok(Bytes::from(std::mem::take(&mut piece)))).is_err()
            {
                return;
            }
        }
        drop(pieces.blocking_send(Ok(Bytes::from(piece))));
    });
    let body = futures_util::stream::unfold(received, async |mut received| {
        let piece = received.recv().await?;
        Some((piece, received))
    });
    Ok(lines(&format!("{}_logs.ndjson", within.app.client_app_id), Body::from_stream(body)))
}

fn query_of(params: &Params) -> Result<LogQuery, ApiError> {
    let text = |name: &str| params.get(name).map(str::to_owned);
    let number = |name: &str| match params.get(name) {
        None => Ok(None),
        Some(text) => {
            text.parse::<usize>().map(Some).map_err(|_| ApiError::invalid(format!("{name}: '{text}' is not a number")))
        }
    };
    let skip = number("skip")?.unwrap_or(0);
    if skip > LOG_SKIP_MAX {
        return Err(ApiError::invalid(format!("skip: at most {LOG_SKIP_MAX}; use end_date to go further back")));
    }
    let limit = number("limit")?.unwrap_or(LOG_PAGE_MAX).min(LOG_PAGE_MAX);
    if limit == 0 {
        return Err(ApiError::invalid("limit: a page has at least one entry"));
    }
    Ok(LogQuery {
        co_id: text("co_id"),
        user_id: text("user_id"),
        endpoint_id: text("endpoint_id"),
        function_id: text("function_id"),
        route: text("route"),
        status: params.get("status").map(status).transpose()?,
        text: text("q"),
        // Its presence counts, whatever it says.
        errors_only: params.0.contains_key("errors_only"),
        types: params.get("type").map_or_else(Vec::new, |types| types.split(',').map(str::to_owned).collect()),
        start_ms: params.get("start_date").map(|date| epoch_ms("start_date", date)).transpose()?,
        end_ms: params.get("end_date").map(|date| epoch_ms("end_date", date)).transpose()?,
        skip,
        limit,
    })
}

/// `404` or `4xx`.
fn status(text: &str) -> Result<StatusFilter, ApiError> {
    let class = text.strip_suffix("xx").and_then(|digit| digit.parse().ok()).map(StatusFilter::Class);
    let exactly = || text.parse().ok().map(StatusFilter::Exactly);
    class
        .or_else(exactly)
        .ok_or_else(|| ApiError::invalid(format!("status: '{text}' is not a status or a class such as 4xx")))
}

/// RFC 3339 with any fraction and offset, an offset without its colon, or a plain date. A `+` that was not escaped
/// arrives as a space and is understood.
fn epoch_ms(name: &str, text: &str) -> Result<i64, ApiError> {
    let wrong = || ApiError::invalid(format!("{name}: '{text}' is not a date"));
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        return date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map(|time| time.timestamp().as_millisecond())
            .map_err(|_| wrong());
    }
    let text = match text.rsplit_once(' ') {
        Some((time, offset))
            if offset.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && time.contains('T') =>
        {
            format!("{time}+{offset}")
        }
        _ => text.to_owned(),
    };
    text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_clients_write_them() {
        for (text, expected) in [
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
            ("2023-11-14T22:13:20.41Z", Some(1_700_000_000_410)),
            ("2023-11-14T23:13:20.410000000+01:00", Some(1_700_000_000_410)),
            ("2023-11-14T22:13:20.000+0000", Some(1_700_000_000_000)),
            ("2023-11-14T22:13:20.000 0000", Some(1_700_000_000_000)),
            ("2023-11-14", Some(1_699_920_000_000)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(epoch_ms("d", text).ok(), expected, "{text}");
        }
    }
}
