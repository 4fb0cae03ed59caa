//! The agent of system calls: a process outside that decides about calls which the filter leaves to it
//! (`SCMP_ACT_NOTIFY`). It is given the filter's descriptor and the container's state, once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corten_sys::scm;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::seccomp::Agent;

/// Hands `listener` to the agent. `state` is the container's, as the specification writes it, and `pid` the process
/// whose calls are meant.
pub(super) fn hand_over(agent: &Agent, listener: &OwnedFd, pid: i32, state: &str) -> io::Result<()> {
    let state: serde_json::Value = serde_json::from_str(state)?;
    let message = serde_json::json!({
        "ociVersion": crate::spec::VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": agent.metadata,
        "state": state,
    });
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(agent.path.as_str())?)?;
    scm::send(&socket, message.to_string().as_bytes(), &[listener.as_fd()])
}
