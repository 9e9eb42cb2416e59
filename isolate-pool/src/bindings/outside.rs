//! The modules through which functions reach outside: `context.http`, the web's globals, and Node's network modules. They
//! are compiled when they are first needed, as all modules are (`modules`).

/// By name, sorted. `internal/…` are pieces that only modules see.
pub const SOURCES: &[(&str, &str)] = &[
    ("dgram", include_str!("../../js/node/dgram.js")),
    ("dns", include_str!("../../js/node/dns.js")),
    ("dns/promises", "module.exports = require('dns').promises;"),
    ("http", include_str!("../../js/node/http.js")),
    ("http2", include_str!("../../js/node/http2.js")),
    ("https", include_str!("../../js/node/https.js")),
    ("internal/addresses", include_str!("../../js/node/internal/addresses.js")),
    ("internal/http", include_str!("../../js/http.js")),
    ("internal/http_client", include_str!("../../js/node/internal/http_client.js")),
    ("internal/no_server", include_str!("../../js/node/internal/no_server.js")),
    ("internal/web/ask", include_str!("../../js/web/ask.js")),
    ("internal/web/blob", include_str!("../../js/web/blob.js")),
    ("internal/web/clone", include_str!("../../js/web/clone.js")),
    ("internal/web/events", include_str!("../../js/web/events.js")),
    ("internal/web/fetch", include_str!("../../js/web/fetch.js")),
    ("internal/web/multipart", include_str!("../../js/web/multipart.js")),
    ("internal/web/streams", include_str!("../../js/web/streams.js")),
    ("internal/web/url", include_str!("../../js/web/url.js")),
    ("net", include_str!("../../js/node/net.js")),
    ("tls", include_str!("../../js/node/tls.js")),
];
