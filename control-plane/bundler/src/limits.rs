//! The bundler's bounds, each with its unit, its reason and what is seen when it is met: an install that fails with a
//! text that names the number.

use std::time::Duration;

/// Packages one app may have, those of its packages included. The largest trees in use have about a thousand.
pub const PACKAGES_MAX: usize = 4_000;

/// Bytes of one packed package. The largest in common use (compilers, browsers' data) have 30 MiB.
pub const TARBALL_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Bytes of what a registry says about one package. Packages with thousands of versions come to 20 MiB.
pub const METADATA_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that all packages of one app may unpack to.
pub const TREE_BYTES_MAX: u64 = 768 * 1024 * 1024;

/// Files that all packages of one app may unpack to.
pub const TREE_FILES_MAX: usize = 200_000;

/// How many times larger than its archive the unpacked tree may be, once it is larger than [`RATIO_FREE_BYTES`]. Source
/// code packs to a fifth, source maps and tables to a fiftieth; a bomb packs to a thousandth.
pub const RATIO_MAX: u64 = 200;

/// What an archive may unpack to whatever its ratio, bytes.
pub const RATIO_FREE_BYTES: u64 = 32 * 1024 * 1024;

/// Longest path inside an archive, bytes. Deep trees of old npm versions come to 400.
pub const PATH_BYTES_MAX: usize = 1_024;

/// Bytes of one file that is bundled. Generated clients come to 5 MiB.
pub const MODULE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of the bundled script. It travels to a host in one frame, with its code cache and the app's functions.
pub const SCRIPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long an install may take, over all downloads.
pub const INSTALL_TIME_MAX: Duration = Duration::from_secs(300);

/// How long a registry may take for one answer, and how long it may stay silent within one.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// How often a request to a registry is tried when the connection breaks or it answers that it is overloaded.
pub const TRIES: u32 = 3;

/// Downloads at once. More do not make a registry faster.
pub const DOWNLOADS_AT_ONCE: usize = 8;

/// Packed packages kept on disk for the next install, bytes. Past it the ones used longest ago go.
pub const TARBALLS_KEPT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Installed trees kept on disk for the next deployment. One that is gone is installed again from its lock file.
pub const TREES_KEPT: usize = 64;
