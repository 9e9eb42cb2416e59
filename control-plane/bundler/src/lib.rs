//! Packages from a registry or an archive, bundled into one script.
