//! `portico settings`: every setting, with its default and what it is for.

use std::io::Write;

use clap::Args;

use super::Failure;

/// The example configuration, which a test compares with the settings there are.
const EXAMPLE: &str = include_str!("../../../deploy/portico.toml");

/// Show every setting of the server with its default, as a portico.toml to begin from.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico settings > portico.toml")]
pub struct SettingsArgs {}

pub fn run(_args: SettingsArgs) -> Result<(), Failure> {
    let shown = std::io::stdout().lock().write_all(EXAMPLE.as_bytes());
    shown.map_err(|error| Failure::failed(format!("standard output: {error}")))
}
