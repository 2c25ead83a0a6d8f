//! Events for a measurement: the same for the same seed but for their identity.

use bytes::{BufMut, Bytes, BytesMut};
use takt_protocol::event::Event;
use takt_protocol::words::{OrderKey, Timestamp};

/// When the first event occurred: a constant, so that no clock is read. In microseconds.
const FIRST_TIME: i64 = 1_760_000_000_000_000;

/// Makes the events of one producer.
#[derive(Debug, Clone)]
pub(super) struct EventMaker {
    source: String,
    orders: u32,
    size: usize,
    random: SplitMix,
    next: u64,
}

impl EventMaker {
    /// Events of `size` bytes of data over `orders` order keys, from `source`, which must be new for
    /// the events to be.
    pub fn new(source: String, seed: u64, orders: u32, size: usize) -> Self {
        Self { source, orders, size, random: SplitMix(seed), next: 0 }
    }

    /// The next `count` events. Their data lies in one allocation.
    pub fn make(&mut self, count: usize) -> Vec<Event> {
        let mut data = self.data(count * self.size);
        (0..count).map(|_| self.event(data.split_to(self.size))).collect()
    }

    /// The next event.
    pub fn one(&mut self) -> Event {
        let data = self.data(self.size);
        self.event(data)
    }

    fn event(&mut self, data: Bytes) -> Event {
        self.next += 1;
        let order = self.random.next() % u64::from(self.orders);
        let time = FIRST_TIME + i64::try_from(self.next).expect("fewer than 2^63 events");
        Event {
            id: format!("{:012}", self.next),
            source: self.source.clone(),
            kind: "mfg.operation.confirmed.v1".to_owned(),
            time: Some(Timestamp::from_micros(time)),
            order_key: Some(OrderKey::new(&format!("PO-{order:08}")).expect("a short key")),
            data,
            ..Event::default()
        }
    }

    fn data(&mut self, len: usize) -> Bytes {
        let mut data = BytesMut::with_capacity(len + 8);
        while data.len() < len {
            data.put_u64_le(self.random.next());
        }
        data.truncate(len);
        data.freeze()
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
