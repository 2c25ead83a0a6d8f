//! The writer's inbox: nothing that is queued waits for ever, nothing is lost, and what one sender
//! has sent comes in its order.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::inbox::Inbox;

/// Two requests of a sender: (who, which).
type Request = (u8, u8);

fn send(inbox: &Arc<Inbox<Request, &'static str>>, sender: u8, count: u8) {
    for number in 0..count {
        inbox.request((sender, number)).unwrap();
    }
}

fn of(taken: &[Request], sender: u8) -> Vec<u8> {
    taken.iter().filter(|(who, _)| *who == sender).map(|(_, number)| *number).collect()
}

#[test]
fn every_request_of_two_senders_arrives_in_its_order() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let senders = [1, 2].map(|sender| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || send(&inbox, sender, 2))
        });
        let mut taken = Vec::new();
        while taken.len() < 4 {
            taken.extend(inbox.take(true, Duration::ZERO).requests);
        }
        assert_eq!((of(&taken, 1), of(&taken, 2)), (vec![0, 1], vec![0, 1]));
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

/// The writer leaves requests where they are while its commit has no room: they wake it no more,
/// the notice that makes room does, and then they are all there.
#[test]
fn notices_come_while_requests_are_not_wanted() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let sender = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || send(&inbox, 1, 2))
        };
        let syncer = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.notify("synced"))
        };
        let first = inbox.take(false, Duration::ZERO);
        assert_eq!((first.notices.len(), first.requests.len()), (1, 0));
        let mut taken = Vec::new();
        while taken.len() < 2 {
            let more = inbox.take(true, Duration::ZERO);
            assert!(more.notices.is_empty());
            taken.extend(more.requests);
        }
        assert_eq!(of(&taken, 1), [0, 1]);
        sender.join().unwrap();
        syncer.join().unwrap();
    });
}
