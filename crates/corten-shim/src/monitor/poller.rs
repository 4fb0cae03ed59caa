use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// What is watched, by a number that is never used twice.
pub(super) type Token = u64;

/// Level-triggered readiness. A source that is not watched with [`Poller::watch`] anew must be [`Poller::forget`]ten
/// before its descriptor is closed.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    watched: BTreeMap<Token, EventFlags>,
    next: Token,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, watched: BTreeMap::new(), next: 0 })
    }

    /// A number for a new source.
    pub(super) fn token(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    /// Watches a source for these events (and for errors and hang-ups, which are always told).
    pub(super) fn watch(&mut self, token: Token, source: impl AsFd, flags: EventFlags) -> io::Result<()> {
        let source: BorrowedFd<'_> = source.as_fd();
        let data = EventData::new_u64(token);
        match self.watched.get(&token) {
            Some(now) if *now == flags => return Ok(()),
            Some(_) => epoll::modify(&self.epoll, source, data, flags)?,
            None => epoll::add(&self.epoll, source, data, flags)?,
        }
        self.watched.insert(token, flags);
        Ok(())
    }

    /// Stops watching a source, hang-ups included.
    pub(super) fn forget(&mut self, token: Token, source: impl AsFd) {
        if self.watched.remove(&token).is_some() {
            epoll::delete(&self.epoll, source).ok();
        }
    }

    /// Waits for events; none when the time is over.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<(Token, EventFlags)>> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let empty = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [empty; 16];
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(count) => Ok(events[..count].iter().map(|e| (e.data.u64(), e.flags)).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
