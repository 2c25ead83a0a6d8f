//! Group commit: the writer fills a commit while the one before it syncs, and no receipt goes out
//! before the sync that covers it has returned.
//!
//! The inbox is the real one. The channel to the sync thread is a slot, the disk a list, a commit
//! has room for one request: so the second waits in the backlog while the first one syncs.

use std::collections::VecDeque;
use std::time::Duration;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::inbox::Inbox;

const REQUESTS: u8 = 3;

enum Order {
    Sync(u8),
    End,
}

/// The sync channel: one order on its way.
#[derive(Default)]
struct Channel {
    slot: Mutex<Option<Order>>,
    changed: Condvar,
}

impl Channel {
    fn send(&self, order: Order) {
        let before = self.slot.lock().unwrap().replace(order);
        assert!(before.is_none(), "one commit is in flight at a time");
        self.changed.notify_one();
    }

    fn receive(&self) -> Order {
        let mut slot = self.slot.lock().unwrap();
        loop {
            match slot.take() {
                Some(order) => return order,
                None => slot = self.changed.wait(slot).unwrap(),
            }
        }
    }
}

struct Writer {
    inbox: Arc<Inbox<u8, u8>>,
    commits: Arc<Channel>,
    synced: Arc<Mutex<Vec<u8>>>,
    backlog: VecDeque<u8>,
    in_flight: bool,
    receipts: Vec<u8>,
}

impl Writer {
    fn answer(&mut self, request: u8) {
        let synced = self.synced.lock().unwrap();
        assert!(synced.contains(&request), "a receipt for {request} before its sync");
        self.receipts.push(request);
    }

    /// One turn of the writer's loop.
    fn turn(&mut self) {
        let taken = self.inbox.take(self.backlog.is_empty(), Duration::ZERO);
        for request in taken.notices {
            self.in_flight = false;
            self.answer(request);
        }
        self.backlog.extend(taken.requests);
        if !self.in_flight
            && let Some(request) = self.backlog.pop_front()
        {
            self.in_flight = true;
            self.commits.send(Order::Sync(request));
        }
    }
}

#[test]
fn no_receipt_leaves_before_its_sync_has_returned() {
    loom::model(|| {
        let mut writer = Writer {
            inbox: Arc::new(Inbox::new()),
            commits: Arc::default(),
            synced: Arc::default(),
            backlog: VecDeque::new(),
            in_flight: false,
            receipts: Vec::new(),
        };
        let inbox = Arc::clone(&writer.inbox);
        let client = thread::spawn(move || {
            for request in 0..REQUESTS {
                inbox.request(request).unwrap();
            }
        });
        let (inbox, commits) = (Arc::clone(&writer.inbox), Arc::clone(&writer.commits));
        let disk = Arc::clone(&writer.synced);
        let syncer = thread::spawn(move || {
            while let Order::Sync(commit) = commits.receive() {
                disk.lock().unwrap().push(commit);
                inbox.notify(commit);
            }
        });
        while writer.receipts.len() < usize::from(REQUESTS) {
            writer.turn();
        }
        assert!(writer.receipts.is_sorted(), "receipts leave in the order of their requests");
        writer.commits.send(Order::End);
        client.join().unwrap();
        syncer.join().unwrap();
    });
}
