//! The end: each request is taken, given back by [`Inbox::close`], or refused to its sender; exactly
//! one of the three.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::inbox::{Closed, Inbox};

#[test]
fn each_request_is_taken_given_back_or_refused() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let senders = [1, 2].map(|sender| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                let send = |number| match inbox.request((sender, number)) {
                    Ok(()) => None,
                    Err(Closed(refused)) => Some(refused),
                };
                let first = send(0);
                // The first of them asks the writer to stop.
                if sender == 1 {
                    inbox.notify("stop");
                }
                let second = send(1);
                assert!(first.is_none() || second.is_some(), "once closed, it stays closed");
                [first, second].into_iter().flatten().collect::<Vec<(u8, u8)>>()
            })
        });
        let mut ends = Vec::new();
        loop {
            let taken = inbox.take(true, Duration::ZERO);
            ends.extend(taken.requests);
            if !taken.notices.is_empty() {
                break;
            }
        }
        ends.extend(inbox.close());
        for sender in [1, 2] {
            let of = ends.iter().filter(|(who, _)| *who == sender);
            assert!(of.is_sorted(), "what was sent first comes first: {ends:?}");
        }
        for sender in senders {
            ends.extend(sender.join().unwrap());
        }
        ends.sort_unstable();
        assert_eq!(ends, [(1, 0), (1, 1), (2, 0), (2, 1)]);
        assert!(inbox.close().is_empty(), "nothing comes behind the end");
    });
}
