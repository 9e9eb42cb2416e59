//! The binary `portico`: the server, its isolate hosts, and the commands that talk to it.

use std::process::ExitCode;

use gateway::{commands, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A host is started by the supervisor and never by a person; it must not spend time on a command line.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "isolate-host") {
        return match arguments.next() {
            Some(what) if what == "--make-snapshot" => isolate_pool::host::make_snapshot(),
            _ => isolate_pool::host::main(),
        };
    }
    commands::main(commands::Serving {
        serve: serve::run,
        dev: serve::dev::run,
        run: serve::once::run,
        isolate_host: isolate_pool::host::main,
    })
}
