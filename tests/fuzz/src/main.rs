//! The program that `tests/fuzz/run` builds: libFuzzer, and one of the targets. `PORTICO_FUZZ` names it.
//! With `PORTICO_FUZZ_SEEDS` it writes the target's seeds into that directory and does nothing else.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs, process};

use portico_fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: begin(),
    |data: &[u8]| {
        let target = CHOSEN.get().expect("a target was chosen at the beginning");
        (target.run)(data);
    }
);

fn begin() {
    let name = env::var("PORTICO_FUZZ").unwrap_or_default();
    let Some(target) = Target::named(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("PORTICO_FUZZ must be one of: {}", names.join(" "));
        process::exit(2);
    };
    if let Some(directory) = env::var_os("PORTICO_FUZZ_SEEDS") {
        for (number, seed) in target.seeds().iter().enumerate() {
            fs::write(Path::new(&directory).join(format!("{number:04}")), seed).expect("a seed can be written");
        }
        process::exit(0);
    }
    let _ = CHOSEN.set(target);
}
