//! Reads and writes that a thread does while their caller goes on: what the file of a run is written
//! and read with, so that the processor and the disk need not wait for each other.

use std::{
    io,
    ops::Range,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
};

use super::AlignedBuf;

/// Writes that may be under way: one at the disk, one behind it.
const WRITES: usize = 2;

/// A read or a write of a file, with the buffer that it goes through.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) at: u64,
    pub(super) len: usize,
    pub(super) buffer: AlignedBuf,
    /// What came of it; of a read, where in the buffer the bytes are.
    pub(super) done: io::Result<Range<usize>>,
}

impl Transfer {
    fn new(at: u64, len: usize, buffer: AlignedBuf) -> Self {
        Self { at, len, buffer, done: Ok(0..0) }
    }
}

/// A thread that does one transfer after the other, in the order in which it was given them. Dropping
/// it waits for all of them.
#[derive(Debug)]
struct Helper {
    given: Option<SyncSender<Transfer>>,
    finished: Receiver<Transfer>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// At most `room` transfers are under way at a time: so nobody ever waits to hand one over.
    fn start(
        name: &str,
        room: usize,
        work: impl Fn(&mut Transfer) + Send + 'static,
    ) -> io::Result<Self> {
        let (given, to_do) = sync_channel::<Transfer>(room);
        let (done, finished) = sync_channel(room);
        let body = move || {
            for mut transfer in to_do {
                work(&mut transfer);
                // Who dropped the helper does not ask.
                let _ = done.send(transfer);
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it decides nothing, and ends with its file")]
        let thread = Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Self { given: Some(given), finished, under_way: 0, thread: Some(thread) })
    }

    fn give(&mut self, transfer: Transfer) {
        let given = self.given.as_ref().expect("it is taken when dropped");
        given.send(transfer).expect("the helper lives as long as it is given transfers");
        self.under_way += 1;
    }

    /// The oldest that is under way, when it is done.
    fn take(&mut self) -> Option<Transfer> {
        self.under_way = self.under_way.checked_sub(1)?;
        Some(self.finished.recv().expect("the helper gives back what it was given"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Then it ends, when it has done what it was given.
        self.given = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// The writes of one file that their caller does not wait for.
#[derive(Debug)]
pub(super) struct WriteBehind {
    helper: Helper,
    empty: Vec<AlignedBuf>,
}

impl WriteBehind {
    pub(super) fn start(
        write: impl Fn(u64, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |transfer: &mut Transfer| {
            let written = write(transfer.at, &transfer.buffer);
            transfer.done = written.map(|()| 0..transfer.len);
        };
        Ok(Self { helper: Helper::start("takt-write", WRITES, work)?, empty: Vec::new() })
    }

    /// Takes over the first `len` bytes of `buffer`; the rest is in another one then.
    pub(super) fn write(&mut self, at: u64, buffer: &mut AlignedBuf, len: usize) -> io::Result<()> {
        if self.helper.under_way == WRITES {
            self.settle_one()?;
        }
        let mut next = self.empty.pop().unwrap_or_else(|| AlignedBuf::with_capacity(buffer.len()));
        next.resize(0);
        next.extend_from_slice(&buffer[len..]);
        buffer.resize(len);
        self.helper.give(Transfer::new(at, len, std::mem::replace(buffer, next)));
        Ok(())
    }

    /// Waits for all writes; the first error that nobody was told.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let mut settled = Ok(());
        while self.helper.under_way > 0 {
            settled = settled.and(self.settle_one());
        }
        settled
    }

    fn settle_one(&mut self) -> io::Result<()> {
        let Some(transfer) = self.helper.take() else { return Ok(()) };
        self.empty.push(transfer.buffer);
        transfer.done.map(drop)
    }
}

/// The read of one file that somebody will ask for.
#[derive(Debug)]
pub(super) struct ReadAhead {
    helper: Helper,
    /// Where the read is that is under way, and its length.
    begun: Option<(u64, usize)>,
    empty: AlignedBuf,
}

impl ReadAhead {
    pub(super) fn start(
        read: impl Fn(u64, usize, &mut AlignedBuf) -> io::Result<Range<usize>> + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |transfer: &mut Transfer| {
            transfer.done = read(transfer.at, transfer.len, &mut transfer.buffer);
        };
        let helper = Helper::start("takt-read", 1, work)?;
        Ok(Self { helper, begun: None, empty: AlignedBuf::default() })
    }

    pub(super) fn begin(&mut self, at: u64, len: usize) {
        // What nobody has asked for.
        if let Some(transfer) = self.helper.take() {
            self.empty = transfer.buffer;
        }
        self.helper.give(Transfer::new(at, len, std::mem::take(&mut self.empty)));
        self.begun = Some((at, len));
    }

    /// What was read, in place of the `buffer`; `None` if it is not what was begun.
    pub(super) fn fetch(
        &mut self,
        at: u64,
        len: usize,
        buffer: &mut AlignedBuf,
    ) -> Option<io::Result<Range<usize>>> {
        if self.begun != Some((at, len)) {
            return None;
        }
        self.begun = None;
        let transfer = self.helper.take()?;
        self.empty = std::mem::replace(buffer, transfer.buffer);
        Some(transfer.done)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written so far, where it went; write `fails` (from 0) fails.
    #[derive(Debug, Default)]
    struct Written {
        writes: Mutex<Vec<(u64, Vec<u8>)>>,
        fails: Option<usize>,
    }

    impl Written {
        fn behind(self: &Arc<Self>) -> WriteBehind {
            let written = Arc::clone(self);
            let write = move |at, bytes: &[u8]| {
                let mut writes = written.writes.lock().unwrap();
                writes.push((at, bytes.to_vec()));
                let fails = written.fails == Some(writes.len() - 1);
                if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            };
            WriteBehind::start(write).unwrap()
        }
    }

    /// Fills `buffer` as a caller does and hands all but the last byte over.
    fn write(behind: &mut WriteBehind, at: u8, buffer: &mut AlignedBuf) -> io::Result<()> {
        buffer.extend_from_slice(&[at; 9]);
        let len = buffer.len() - 1;
        behind.write(u64::from(at), buffer, len)
    }

    #[test]
    fn many_writes_go_in_their_order_through_three_buffers() {
        let written = Arc::new(Written::default());
        let mut behind = written.behind();
        let mut buffer = AlignedBuf::default();
        for at in 0..200 {
            write(&mut behind, at, &mut buffer).unwrap();
            assert_eq!(*buffer, [at], "what is not written stays with the caller");
            if at % 50 == 49 {
                behind.settle().unwrap();
                assert_eq!(behind.empty.len(), WRITES, "to be filled again");
                assert_eq!(written.writes.lock().unwrap().len(), usize::from(at) + 1);
            }
        }
        let writes = written.writes.lock().unwrap();
        for (at, (before, write)) in (0..200_u8).zip([0].into_iter().chain(0..).zip(&*writes)) {
            let mut expected = vec![at; 8];
            if at > 0 {
                expected.insert(0, before);
            }
            assert_eq!(*write, (u64::from(at), expected));
        }
    }

    #[test]
    fn each_error_is_told_once() {
        let written = Arc::new(Written { fails: Some(1), ..Written::default() });
        let mut behind = written.behind();
        let mut buffer = AlignedBuf::default();
        (0..3).for_each(|at| write(&mut behind, at, &mut buffer).unwrap());
        let error = behind.settle().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        behind.settle().unwrap();
        drop(behind);

        // And by the next write that would not fit beside it.
        let mut behind = written.behind();
        written.writes.lock().unwrap().clear();
        (0..3).for_each(|at| write(&mut behind, at, &mut buffer).unwrap());
        write(&mut behind, 3, &mut buffer).unwrap_err();
        behind.settle().unwrap();
    }

    #[test]
    fn dropping_waits_for_all_that_was_handed_over() {
        let written = Arc::new(Written::default());
        let mut behind = written.behind();
        let mut buffer = AlignedBuf::default();
        (0..2).for_each(|at| write(&mut behind, at, &mut buffer).unwrap());
        drop(behind);
        assert_eq!(written.writes.lock().unwrap().len(), 2);
        assert_eq!(Arc::strong_count(&written), 1, "the thread has ended");
    }

    #[test]
    fn what_was_begun_is_fetched_once_by_who_asks_for_it() {
        let read = |at: u64, len: usize, buffer: &mut AlignedBuf| {
            buffer.resize(len);
            buffer.as_mut_slice().fill(u8::try_from(at).map_err(io::Error::other)?);
            Ok(0..len)
        };
        let mut ahead = ReadAhead::start(read).unwrap();
        let mut buffer = AlignedBuf::default();
        assert!(ahead.fetch(0, 4, &mut buffer).is_none(), "nothing was begun");
        ahead.begin(1, 4);
        assert!(ahead.fetch(1, 3, &mut buffer).is_none());
        assert!(ahead.fetch(2, 4, &mut buffer).is_none());
        assert_eq!(ahead.fetch(1, 4, &mut buffer).unwrap().unwrap(), 0..4);
        assert_eq!(*buffer, [1; 4]);
        assert!(ahead.fetch(1, 4, &mut buffer).is_none(), "it was fetched");
        // What nobody asks for is forgotten, an error is told who asks.
        ahead.begin(2, 4);
        ahead.begin(3, 4);
        assert!(ahead.fetch(2, 4, &mut buffer).is_none());
        ahead.fetch(3, 4, &mut buffer).unwrap().unwrap();
        assert_eq!(*buffer, [3; 4]);
        ahead.begin(300, 4);
        ahead.fetch(300, 4, &mut buffer).unwrap().unwrap_err();
    }
}
