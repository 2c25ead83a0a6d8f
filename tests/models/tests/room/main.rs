//! A producer's room: however many tasks take of it and give back, it is never more than it was,
//! none of it is lost, who waits for it is woken, and who finds it closed learns why.
//!
//! The room is the client's own source. Its semaphore and its watch are tokio's, which `loom` cannot
//! see into; here they are plain ones that it can. So the model is of how they are used, not of
//! tokio.
#![cfg(takt_loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

extern crate self as tokio;

#[path = "../../../../client/src/producer/shared.rs"]
#[expect(dead_code, reason = "the client uses more of it")]
mod shared;
mod sync;

/// What [`shared`] says of a producer that is over.
mod receipt {
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum PublishError {
        Closed,
        Fenced,
    }
}

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use receipt::PublishError;
use shared::Shared;

const ROOM: usize = 2;

#[test]
fn room_is_neither_lost_nor_made_and_who_waits_is_woken() {
    loom::model(|| {
        let shared = Arc::new(Shared::new(ROOM));
        // Not of `loom`: it is no part of what is modelled, only written down.
        let taken = std::sync::Arc::new(AtomicUsize::new(0));
        // The second of them wants more than there ever is.
        let tasks = [1, 5].map(|cost| {
            let (shared, taken) = (Arc::clone(&shared), std::sync::Arc::clone(&taken));
            thread::spawn(move || {
                for _ in 0..2 {
                    let got = block_on(shared.take(cost)).unwrap();
                    assert_eq!(got, cost.min(ROOM));
                    let all = taken.fetch_add(got, Ordering::SeqCst) + got;
                    assert!(all <= ROOM, "{all} of {ROOM} are taken");
                    taken.fetch_sub(got, Ordering::SeqCst);
                    shared.give_back(got);
                }
            })
        });
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(shared.try_take(ROOM), Ok(Some(ROOM)), "all of it is there again");
        assert_eq!(shared.try_take(1), Ok(None), "and no more");
    });
}

#[test]
fn who_waits_learns_why_it_is_over() {
    loom::model(|| {
        let shared = Arc::new(Shared::new(ROOM));
        assert_eq!(shared.try_take(ROOM), Ok(Some(ROOM)));
        let tasks = [1, 2].map(|cost| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || block_on(shared.take(cost)))
        });
        shared.close(&PublishError::Fenced);
        shared.close(&PublishError::Closed);
        for task in tasks {
            assert_eq!(task.join().unwrap(), Err(PublishError::Fenced), "the first reason stays");
        }
    });
}

#[test]
fn who_waits_for_the_node_hears_of_it() {
    loom::model(|| {
        let shared = Arc::new(Shared::new(ROOM));
        let waits = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || block_on(shared.ready()))
        };
        shared.opened(7);
        assert_eq!(waits.join().unwrap(), Ok(7));
    });
}
