//! The names of Node's built-in modules, which are no packages. Which of them a function can use is not decided here.

/// Without `node:`. Files below one (`fs/promises`) count as well.
const NAMES: [&str; 44] = [
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "stream",
    "string_decoder",
    "sys",
    "timers",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
    "sqlite",
    "test",
];

/// Files that Node itself has below a built-in module; another one is a file of the package of that name.
const BELOW: [&str; 13] = [
    "assert/strict",
    "dns/promises",
    "fs/promises",
    "inspector/promises",
    "path/posix",
    "path/win32",
    "readline/promises",
    "stream/consumers",
    "stream/promises",
    "stream/web",
    "timers/promises",
    "util/types",
    "test/reporters",
];

/// Whether `require(name)` means a built-in module.
pub fn is_builtin(name: &str) -> bool {
    // These two exist with the prefix only: without it they are packages.
    let prefixed = |name: &str| matches!(name, "sqlite" | "test" | "test/reporters");
    match name.strip_prefix("node:") {
        Some(_) => true,
        None => !prefixed(name) && (NAMES.contains(&name) || BELOW.contains(&name)),
    }
}
