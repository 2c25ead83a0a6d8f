//! Events whose content follows from their numbers.

use takt_client::{Event, OrderKey, Timestamp};
use takt_storage::journal::Entropy;

/// The source that the events of a test share.
pub const SOURCE: &str = "//acme/mes";

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next_u64().to_le_bytes()[0]);
    }
}

/// The event `id` of a source; `content` tells events with the same id apart.
///
/// # Panics
/// If the order key is none.
pub fn event(source: &str, id: u64, order: &str, content: u64) -> Event {
    let mut dice = Dice::new(id ^ content.rotate_left(32));
    let len = 100 + usize::try_from(dice.below(200)).unwrap_or_default();
    let data: Vec<u8> = (0..len).map(|_| dice.next_u64().to_le_bytes()[0]).collect();
    let second = i64::try_from(id).unwrap_or_default();
    Event {
        id: id.to_string(),
        source: source.to_owned(),
        kind: "mfg.operation.confirmed.v1".to_owned(),
        time: Some(Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)),
        order_key: (!order.is_empty()).then(|| OrderKey::new(order).expect("an order key")),
        content_type: Some("application/octet-stream".to_owned()),
        data: data.into(),
        ..Event::default()
    }
}

/// Events with the ids of a range, spread over `orders` order keys.
pub fn events(ids: std::ops::Range<u64>, orders: u64, content: u64) -> Vec<Event> {
    ids.map(|id| event(SOURCE, id, &format!("order-{}", id % orders), content)).collect()
}

/// The number that an event has as its id.
///
/// # Panics
/// If it is not one of [`event`]'s.
pub fn number(event: &Event) -> u64 {
    event.id.parse().expect("an id that is a number")
}
