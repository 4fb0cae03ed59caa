//! The system calls Corten needs and `rustix` does not offer, behind safe functions on owned descriptors.
//!
//! The only crate with `unsafe`; each block proves why it is sound. No policy and no words of the domain in here.
#![allow(unsafe_code, reason = "the one crate that wraps raw system calls")]

pub mod pidfd;
pub mod signals;
