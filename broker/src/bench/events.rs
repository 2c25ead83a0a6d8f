//! Events for a measurement: the same for the same seed but for their identity.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use takt_protocol::event::{Event, EventRef};
use takt_protocol::words::{OrderKey, Timestamp};

use super::BenchError;
use crate::generator::{SplitMix, generate, to_csv};
use crate::import::{DedupColumns, Identity, Rows, production_mapping};

/// When the first event occurred: a constant, so that no clock is read. In microseconds.
const FIRST_TIME: i64 = 1_760_000_000_000_000;

/// Production orders of the log whose reports are data: more reports than any compression looks back.
const ORDERS: u32 = 1_000;

/// Random data of all events that differ in it, in bytes: more than any compression looks back.
const RANDOM_BYTES: usize = 16 << 20;

/// What events carry, one after the other and from the front again: nobody has to make it meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Data(Arc<[Bytes]>);

impl Data {
    /// So many bytes each that do not compress.
    pub fn random(seed: u64, size: usize) -> Self {
        let mut random = SplitMix::new(seed);
        let one = |_| {
            let words = std::iter::repeat_with(|| random.next().to_le_bytes());
            words.flatten().take(size).collect()
        };
        Self((0..(RANDOM_BYTES / size.max(256)).max(1)).map(one).collect())
    }

    /// The reports of a log with this seed.
    pub fn reports(seed: u64) -> Result<Self, BenchError> {
        let csv = to_csv(&generate(seed, ORDERS));
        let mapping =
            production_mapping("//bench", Identity::DedupColumns(DedupColumns::All), "UTC");
        let failed = |error: String| BenchError::Task(format!("the generated log: {error}"));
        let rows =
            Rows::new(csv.as_slice(), &mapping).map_err(|error| failed(error.to_string()))?;
        let reports = rows.map(|row| {
            let row = row.map_err(|error| failed(error.to_string()))?;
            Ok(row.map_err(|error| failed(error.to_string()))?.event.data)
        });
        Ok(Self(reports.collect::<Result<_, BenchError>>()?))
    }

    /// Bytes of an event's data, in the mean.
    pub fn mean_bytes(&self) -> u64 {
        self.0.iter().map(|data| data.len() as u64).sum::<u64>() / self.0.len() as u64
    }

    /// That of the event of this number.
    fn of(&self, number: u64) -> &Bytes {
        let turn = number % self.0.len() as u64;
        &self.0[usize::try_from(turn).expect("less than there are")]
    }
}

/// The order keys of one producer: its calls go to its topics in turns, and each order is of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orders {
    /// Order keys of each topic.
    per_topic: u64,
    /// Topics of all producers.
    topics: u64,
    /// The first of the producer's topics, and how many others lie between two of them.
    first: u64,
    step: u64,
    /// Its calls so far.
    calls: u64,
    /// Each event is a call of its own.
    each: bool,
}

impl Orders {
    /// Of all `orders` those of a producer's topics: the `first`, and every so many behind it.
    pub fn shared(orders: u32, topics: usize, first: usize, step: usize, each: bool) -> Self {
        let topics = topics.max(1) as u64;
        let per_topic = (u64::from(orders) / topics).max(1);
        let (first, step) = (first as u64 % topics, step as u64);
        Self { per_topic, topics, first, step, calls: 0, each }
    }

    /// One of the orders of the topic whose turn it is.
    fn draw(&self, random: &mut SplitMix) -> u64 {
        let own = (self.topics - self.first).div_ceil(self.step);
        let topic = self.first + self.calls % own * self.step;
        topic + self.topics * (random.next() % self.per_topic)
    }
}

/// Makes the events of one producer.
#[derive(Debug, Clone)]
pub(super) struct EventMaker {
    source: Arc<str>,
    orders: Orders,
    data: Data,
    random: SplitMix,
    next: u64,
}

impl EventMaker {
    /// Events of `orders`, from `source`, which must be new for the events to be.
    pub fn new(source: &str, seed: u64, orders: Orders, data: Data) -> Self {
        Self { source: source.into(), orders, data, random: SplitMix::new(seed), next: 0 }
    }

    /// The next `count` events.
    pub fn make(&mut self, count: usize) -> Call {
        let first = self.next + 1;
        self.next += count as u64;
        let orders = (0..count).map(|_| {
            let order = self.orders.draw(&mut self.random);
            self.orders.calls += u64::from(self.orders.each);
            order
        });
        let orders = orders.collect();
        self.orders.calls += u64::from(!self.orders.each);
        Call { source: Arc::clone(&self.source), first, orders, data: self.data.clone() }
    }
}

/// The events of one call, but for their texts, which follow from their numbers.
#[derive(Debug)]
pub(super) struct Call {
    source: Arc<str>,
    first: u64,
    /// The number of each event's order.
    orders: Vec<u64>,
    data: Data,
}

impl Call {
    /// How many events there are.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// Gives each event to `each`, in their order; none after the first that it does not take.
    pub fn try_each<E>(
        &self,
        mut each: impl FnMut(EventRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut id, mut order_key) = (String::new(), String::new());
        for index in 0..self.len() {
            let number = self.first + index as u64;
            digits(&mut id, "", number, 12);
            digits(&mut order_key, "PO-", self.orders[index], 8);
            let time = FIRST_TIME + i64::try_from(number).expect("fewer than 2^63 events");
            each(EventRef {
                id: &id,
                source: &self.source,
                kind: "mfg.operation.confirmed.v1",
                time: Some(Timestamp::from_micros(time)),
                order_key: Some(&order_key),
                data: self.data.of(number),
                ..EventRef::default()
            })?;
        }
        Ok(())
    }

    /// The events, each with texts of its own; their data is shared.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.len());
        let taken: Result<(), Infallible> = self.try_each(|event| {
            let number = self.first + events.len() as u64;
            events.push(Event {
                id: event.id.to_owned(),
                source: event.source.to_owned(),
                kind: event.kind.to_owned(),
                time: event.time,
                order_key: event.order_key.map(|key| OrderKey::new(key).expect("a short key")),
                data: self.data.of(number).clone(),
                ..Event::default()
            });
            Ok(())
        });
        let Ok(()) = taken;
        events
    }
}

/// Writes a number behind a prefix, in so many digits or more: what an application takes for its text is
/// not what is measured.
fn digits(text: &mut String, prefix: &str, mut number: u64, width: usize) {
    let mut all = [b'0'; 20];
    let mut first = all.len();
    while number > 0 {
        first -= 1;
        all[first] += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    let first = first.min(all.len() - width.min(all.len()));
    text.clear();
    text.push_str(prefix);
    text.push_str(str::from_utf8(&all[first..]).unwrap_or_default());
}
