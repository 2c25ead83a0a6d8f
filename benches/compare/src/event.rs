//! The events that every system gets: the same for a seed but for their identity.

use bytes::{BufMut, Bytes, BytesMut};

/// One event, before a system's client gives it its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What a repeat of it is known by: 29 bytes, new in each run.
    pub id: String,
    /// Which order it belongs to, from 0.
    pub order: u32,
    /// Data that does not compress.
    pub data: Bytes,
}

impl Event {
    /// The name of its order: what stays in order, where a system promises that.
    pub fn order_key(&self) -> String {
        format!("PO-{:08}", self.order)
    }
}

/// Makes the events of one producer.
#[derive(Debug, Clone)]
pub struct EventMaker {
    prefix: String,
    orders: u32,
    size: usize,
    random: SplitMix,
    next: u64,
}

impl EventMaker {
    /// Events of `size` bytes of data over `orders` order keys (at least 1), of the producer with a
    /// number in a run with one.
    pub fn new(run: u64, producer: u16, orders: u32, size: usize) -> Self {
        assert!(orders > 0, "an event has an order");
        let prefix = format!("{:012x}-{producer:03}", run & 0xffff_ffff_ffff);
        Self { prefix, orders, size, random: SplitMix(u64::from(producer) << 48), next: 0 }
    }

    /// The next `count` events. Their data lies in one allocation.
    pub fn make(&mut self, count: usize) -> Vec<Event> {
        let mut data = self.data(count * self.size);
        (0..count).map(|_| self.event(data.split_to(self.size))).collect()
    }

    fn event(&mut self, data: Bytes) -> Event {
        self.next += 1;
        let order = self.random.next() % u64::from(self.orders);
        Event {
            id: format!("{}-{:012}", self.prefix, self.next),
            order: u32::try_from(order).expect("below a number of orders that fits"),
            data,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn events_are_the_same_for_a_run_and_none_repeats_another() {
        let make = |run, producer| EventMaker::new(run, producer, 10, 100).make(40);
        let events = make(7, 1);
        assert_eq!(events, make(7, 1));
        assert!(events.iter().all(|event| event.data.len() == 100 && event.id.len() == 29));
        let ids: BTreeSet<_> = [make(7, 1), make(7, 2), make(8, 1)]
            .concat()
            .into_iter()
            .map(|event| event.id)
            .collect();
        assert_eq!(ids.len(), 120);
        let orders: BTreeSet<_> = events.iter().map(Event::order_key).collect();
        assert_eq!(orders.len(), 10);
        assert!(orders.contains("PO-00000009"));
    }
}
