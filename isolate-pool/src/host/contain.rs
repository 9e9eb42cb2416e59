//! What a host gives up before tenants' code runs in it. What is left: memory, time, and the descriptors it was given.
//!
//! In two steps, because of what the kernel applies to whom: Landlock and limits bind the calling thread and those it
//! starts, so [`narrow`] comes before V8 starts any; seccomp can be laid on all threads at once, and starting V8 needs
//! calls that are denied afterwards, so [`seal`] comes last.
//!
//! Two seccomp filters: one kills for what only an intruder tries, the other allows what a running host needs and
//! answers EPERM to the rest. Opening files is among the rest: the C library and ICU try (the time zone, for one) and
//! get along without.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use landlock::{Access, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use super::boot::Boot;
use crate::limits::LINKS_MAX;

/// Descriptors a host may have open: standard ones, links, page, epoll, control, and a few to spare.
const FILES_MAX: u64 = LINKS_MAX as u64 + 32;

/// Before any thread is started.
pub fn narrow(boot: &Boot) -> io::Result<()> {
    let mut keep = vec![boot.control.as_raw_fd(), boot.page.memory().as_raw_fd()];
    keep.extend(boot.links.iter().map(AsRawFd::as_raw_fd));
    crate::engine::process::close_others(&keep)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let exactly = |value| Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(Resource::Core, exactly(0))?;
    rustix::process::setrlimit(Resource::Nofile, exactly(FILES_MAX))?;
    match landlock() {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            eprintln!("isolate host: this kernel has no Landlock; seccomp alone keeps it from files");
        }
        Ok(_) => {}
        Err(error) => eprintln!("isolate host: Landlock was refused ({error}); seccomp alone keeps it from files"),
    }
    Ok(())
}

/// After V8 and all threads have started, before the first tenant's code.
pub fn seal() -> io::Result<()> {
    seccompiler::apply_filter_all_threads(&program(KILLED, SeccompAction::KillProcess, SeccompAction::Allow)?)
        .map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(EPERM);
    seccompiler::apply_filter_all_threads(&program(ALLOWED, SeccompAction::Allow, refuse)?).map_err(io::Error::other)
}

/// No path may be reached, no port bound or connected to, no signal sent out and no abstract socket used, as far as this
/// kernel knows how.
fn landlock() -> Result<RestrictionStatus, landlock::RulesetError> {
    let abi = landlock::ABI::V6;
    Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()
}

fn program(calls: &[i64], on_match: SeccompAction, otherwise: SeccompAction) -> io::Result<BpfProgram> {
    let rules: BTreeMap<i64, Vec<SeccompRule>> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    SeccompFilter::new(rules, otherwise, on_match, arch).and_then(BpfProgram::try_from).map_err(io::Error::other)
}

const EPERM: u32 = libc::EPERM as u32;

/// Only an intruder does these.
const KILLED: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// What a running host needs: its links, memory, time, its own threads' coordination, and dying.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_shutdown,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_pkey_mprotect,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getcpu,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    // `abort` sends itself a signal; other processes are out of reach of a signal by Landlock, and have other users.
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // To lay the second filter over the first.
    libc::SYS_seccomp,
];

#[cfg(test)]
mod tests {
    //! Ways out that an intruder who owns the process would try, each in a contained host of its own, and a contained
    //! host that still does its work.

    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::ExitStatus;

    use super::*;
    use crate::host::tests::{Stage, snapshot};
    use crate::supervisor::child::{self, SnapshotMemory};

    const ATTEMPT: &str = "PORTICO_TEST_ATTEMPT";

    /// What the other tests start: a host, or the start of one that then tries something.
    #[test]
    #[ignore = "is a host, started by the other tests"]
    fn as_host() {
        let Some(attempt) = std::env::var(ATTEMPT).ok() else {
            assert_eq!(crate::host::main(), std::process::ExitCode::SUCCESS);
            return;
        };
        let control = std::os::unix::net::UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
        let boot = crate::host::boot::receive(control).unwrap();
        narrow(&boot).unwrap();
        let mut host = crate::host::run::Host::new(boot).unwrap();
        host.open().unwrap();
        seal().unwrap();
        let escaped = match attempt.as_str() {
            "read" => std::fs::read("/etc/passwd").is_ok(),
            "list" => std::fs::read_dir("/proc").is_ok(),
            "write" => std::fs::write("/tmp/portico-escaped", "x").is_ok(),
            "thread" => std::thread::Builder::new().spawn(|| {}).is_ok(),
            "command" => std::process::Command::new("/bin/true").status().is_ok(),
            "kill parent" => {
                let parent = rustix::process::getppid().unwrap_or(rustix::process::getpid());
                rustix::process::kill_process(parent, Signal::CONT).is_ok()
            }
            other => crate::engine::process::raw_call(other.parse().unwrap()) >= 0,
        };
        std::process::exit(if escaped { 1 } else { 42 });
    }

    /// The supervisor starts `program isolate-host`; here that is this test binary, told to be a host.
    fn start(attempt: Option<&str>) -> (child::Host, PathBuf) {
        let this = std::env::current_exe().unwrap();
        let name = format!("portico-test-host-{}-{}", std::process::id(), attempt.unwrap_or("none").replace(' ', "-"));
        let script = std::env::temp_dir().join(name);
        let set = attempt.map(|attempt| format!("export {ATTEMPT}='{attempt}'\n")).unwrap_or_default();
        let this = this.display();
        let text = format!("#!/bin/sh\n{set}exec '{this}' --ignored --exact host::contain::tests::as_host\n");
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        let memory = SnapshotMemory::new(snapshot()).unwrap();
        (child::start(&script, 1, 1, &memory).unwrap(), script)
    }

    fn end_of(attempt: &str) -> ExitStatus {
        let (mut host, script) = start(Some(attempt));
        let status = host.child.wait().unwrap();
        std::fs::remove_file(script).unwrap();
        status
    }

    #[test]
    fn what_only_an_intruder_does_kills_the_host() {
        for call in KILLED {
            let status = end_of(&call.to_string());
            assert_eq!(status.signal(), Some(libc::SIGSYS), "system call {call}: {status}");
        }
    }

    #[test]
    fn files_threads_and_others_are_out_of_reach() {
        for attempt in ["read", "list", "write", "thread", "command", "kill parent"] {
            let status = end_of(attempt);
            assert!(status.code() == Some(42) || status.signal() == Some(libc::SIGSYS), "{attempt}: {status}");
        }
    }

    #[test]
    fn a_contained_host_runs_what_functions_do_and_ends_with_its_parent() {
        let (mut host, script) = start(None);
        let link = host.links.pop().unwrap();
        let mut stage = Stage::over(
            link,
            host.page.clone(),
            &[
                (
                    "hot",
                    "exports = () => { let s = 0; for (let i = 0; i < 3e7; i++) s = (s + i * 7) % 1000003; return s > 0; };",
                ),
                (
                    "garbage",
                    "exports = () => { let k = []; for (let i = 0; i < 2e6; i++) { k.push({ i }); if (i % 1e5 === 0) k = []; } return k.length; };",
                ),
                (
                    "words",
                    "exports = () => [new Date(0).toLocaleString('de-DE'), new Intl.NumberFormat('fr').format(1234.5).length, 'ß'.toUpperCase()];",
                ),
                ("random", "exports = () => new BSON.ObjectId().toHexString().length + Math.floor(Math.random());"),
                (
                    "timer",
                    "exports = async () => { await new Promise(done => setTimeout(done, 5)); return 'waited'; };",
                ),
                ("bomb", "exports = () => { const a = []; for (;;) a.push(new Array(1e5).fill(1)); };"),
            ],
        );
        assert_eq!(stage.body("hot"), "true");
        assert_eq!(stage.body("garbage"), "99999");
        assert_eq!(stage.body("words"), r#"["1.1.1970, 00:00:00",7,"SS"]"#);
        assert_eq!(stage.body("random"), "24");
        assert_eq!(stage.body("timer"), r#""waited""#);
        assert_eq!(stage.failure("bomb").kind, crate::FailureKind::Memory);
        assert_eq!(stage.body("random"), "24");
        drop(host.control);
        assert!(host.child.wait().unwrap().success());
        std::fs::remove_file(script).unwrap();
    }
}
