//! The topics that one producer publishes to, in turns.

use takt_client::Producer;

/// A producer's handle for each of its topics.
#[derive(Debug)]
pub(super) struct Turns {
    producers: Vec<Producer>,
    next: usize,
}

impl Turns {
    /// # Panics
    /// Where there is none.
    pub fn new(producers: Vec<Producer>) -> Self {
        assert!(!producers.is_empty(), "a producer has a topic");
        Self { producers, next: 0 }
    }

    /// That of the topic whose turn it is.
    pub fn next(&mut self) -> &Producer {
        let turn = self.next;
        self.next = (turn + 1) % self.producers.len();
        &self.producers[turn]
    }
}
