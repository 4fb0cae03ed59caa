use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::INET;
use crate::netlink::{NetlinkError, Socket, attributes, messages};

/// Group NFNLGRP_NFTABLES, as a bit of the address's mask.
const GROUP: u32 = 1 << 6;
const SUBSYSTEM: u16 = 10;
const NEWGEN: u16 = 15;

/// Hears when somebody else changes one `inet` table.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    table: String,
}

impl Watch {
    /// Listens from now on, in the calling thread's network namespace.
    pub fn open(table: impl Into<String>) -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open_listening(GROUP)?, table: table.into() })
    }

    /// Whether, since the last call, anybody but the socket with number `own` changed the table. Does not block: wait
    /// until the descriptor is readable. When there was more news than the kernel keeps, the answer is yes.
    pub fn changed_by_others(&self, own: u32) -> bool {
        let mut changed = false;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.socket.arrived(&mut buffer) {
                Ok(None) => return changed,
                Ok(Some(bytes)) => {
                    changed |= messages(bytes).any(|message| {
                        message.port != own && self.is_about_us(message.kind, message.payload)
                    });
                }
                // News was lost; the next call hears of what is new then.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }

    fn is_about_us(&self, kind: u16, payload: &[u8]) -> bool {
        kind >> 8 == SUBSYSTEM
            && kind & 0xff != NEWGEN
            && payload.first() == Some(&INET)
            && attributes(payload.get(4..).unwrap_or_default())
                // Tables, chains, sets, rules and elements all name their table first.
                .any(|(kind, value)| {
                    kind == 1 && value.strip_suffix(&[0]).unwrap_or(value) == self.table.as_bytes()
                })
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
