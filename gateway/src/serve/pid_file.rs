//! The file that says which process serves, for tools that send signals by it. It always names the one that serves now.

use std::fs;
use std::path::{Path, PathBuf};

/// Removed at the end, unless another process has written it meanwhile.
pub struct PidFile(PathBuf);

impl PidFile {
    /// A file that cannot be written is no reason not to serve.
    pub fn write(path: &Path) -> Self {
        Self::name_this(path);
        Self(path.to_owned())
    }

    /// Makes the file say that it is this process.
    pub fn name_this(path: &Path) {
        let begun = path.with_extension("new");
        let written = fs::write(&begun, format!("{}\n", std::process::id())).and_then(|()| fs::rename(&begun, path));
        if let Err(error) = written {
            tracing::error!(path = %path.display(), %error, "the file with this process's id cannot be written");
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.0).is_ok_and(|written| written.trim() == std::process::id().to_string()) {
            // Whoever looks at a file that is left behind finds no such process.
            let _ = fs::remove_file(&self.0);
        }
    }
}
