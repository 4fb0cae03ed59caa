//! System calls that neither `std` nor `rustix` offers, behind safe functions on owned descriptors.
//!
//! **Owns** every line of `unsafe` in the workspace: process creation (`clone3`, `execve`), the parts of the
//! mount API that `rustix` lacks, `seccomp(2)`, `bpf(2)` for the device program, keyrings, signal masks and
//! descriptor passing.
//!
//! **Invariants.** Each `unsafe` block carries the proof of its soundness. Functions return the kernel's error
//! number unchanged ([`std::io::Error`] built from it); they name no container, no policy and no path of ours.
//! Descriptors go in borrowed and come out owned and close-on-exec.
//!
//! **Refuses** policy, async and domain words: what to mount, which capability to keep or whom to tell is decided
//! by the callers.

#![allow(unsafe_code, reason = "this crate exists to contain the workspace's unsafe code")]

pub mod activation;
pub mod bpf;
pub mod fds;
pub mod keyring;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod path;
pub mod pidfd;
pub mod process;
pub mod scm;
pub mod seccomp;
pub mod signals;
pub mod socket;
pub mod terminal;

mod syscall;
