//! What a node holds, read back, and the sentences that must be true of it.

use std::collections::{BTreeMap, BTreeSet};

use takt_client::admin::messages::{ConflictSummary, LinkStatus};
use takt_client::{Client, Delivered, Event, NodeName, Place, Receipt, Start};

use crate::events::number;
use crate::{eventually, within};

/// Reads a topic from its start to where it ends now; of one origin or of all, sorted by origin,
/// partition and offset.
///
/// # Panics
/// If it cannot be read.
pub async fn read_all(client: &Client, topic: &str, origin: Option<&str>) -> Vec<Delivered> {
    let info = eventually("an answer", async || client.admin().topic_info(topic).await).await;
    let wanted = info.partitions.iter().filter(|p| origin.is_none_or(|origin| p.origin == origin));
    let mut missing: u64 = wanted.map(|p| p.end_offset - p.start_offset).sum();
    let mut builder = client.consumer(topic).from(Start::Earliest);
    if let Some(origin) = origin {
        builder = builder.origin(origin);
    }
    let mut consumer = builder.build().expect("names that hold");
    let mut all = Vec::new();
    while missing > 0 {
        let next = within("an event that is stored", consumer.next()).await;
        all.push(next.expect("the topic goes on").expect("it can be read"));
        missing -= 1;
    }
    all.sort_by(|a, b| (&a.partition, a.offset).cmp(&(&b.partition, b.offset)));
    all
}

/// Takes the next `count` events of a consumer.
///
/// # Panics
/// If they do not come.
pub async fn take(consumer: &mut takt_client::Consumer, count: usize) -> Vec<Delivered> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        let what = format!("event {} of {count}", taken.len() + 1);
        let next = within(&what, consumer.next()).await;
        taken.push(next.expect("the topic goes on").expect("it can be read"));
    }
    taken
}

/// I1, I4: an acknowledged event is found at its offset, byte for byte.
///
/// # Panics
/// If one is not.
pub fn assert_acknowledged_is_stored(
    stored: &[Delivered],
    origin: &NodeName,
    acknowledged: &BTreeMap<Place, Event>,
) {
    let of_origin = stored.iter().filter(|at| at.partition.origin == *origin);
    let found: BTreeMap<Place, &Delivered> = of_origin
        .map(|at| (Place { partition: at.partition.number, offset: at.offset }, at))
        .collect();
    for (place, event) in acknowledged {
        let at = found.get(place);
        let at = at.unwrap_or_else(|| panic!("{} is acknowledged at {place:?} and lost", event.id));
        assert_eq!(at.event, *event, "another event is at {place:?}");
    }
}

/// I2: no id stands twice under one origin. Offsets have no gap.
///
/// # Panics
/// If it does, or they have.
pub fn assert_each_once(stored: &[Delivered]) {
    let mut ids = BTreeSet::new();
    let mut next = BTreeMap::new();
    for at in stored {
        let origin = &at.partition.origin;
        let id = (origin, &at.event.source, &at.event.id);
        assert!(ids.insert(id), "{} of {origin} is stored twice", at.event.id);
        let next = next.entry(&at.partition).or_insert(at.offset);
        assert_eq!(*next, at.offset, "offsets of {} have a gap", at.partition);
        *next = at.offset.advance(1);
    }
}

/// I3: the sequences of each order key are 1, 2, 3, ... and go as its events were submitted, that
/// is, by the numbers in their ids.
///
/// # Panics
/// If they do not.
pub fn assert_orders_are_dense(stored: &[Delivered]) {
    let mut orders = BTreeMap::new();
    for at in stored {
        let Some(key) = &at.event.order_key else { continue };
        let sequence = at.order_sequence.expect("an event of an order has a sequence").get();
        let number = number(&at.event);
        let (last, last_number) =
            orders.entry((&at.partition.origin, key)).or_insert((0_u64, None::<u64>));
        assert_eq!(sequence, *last + 1, "order {key} of {}", at.partition.origin);
        assert!(
            last_number.is_none_or(|last| last < number),
            "order {key} of {}: {number} stands behind {last_number:?}",
            at.partition.origin
        );
        (*last, *last_number) = (sequence, Some(number));
    }
}

/// Where an event that is new was stored.
///
/// # Panics
/// If it was not new.
pub fn appended(receipt: &Receipt) -> Place {
    let Receipt::Appended { place, .. } = receipt else { panic!("not appended: {receipt:?}") };
    *place
}

/// All open conflicts of a topic.
///
/// # Panics
/// If they cannot be listed, or do not fit one answer.
pub async fn conflicts(client: &Client, topic: &str) -> Vec<ConflictSummary> {
    let list = client.admin().conflicts(topic, None, 1_000).await.expect("they can be listed");
    assert!(!list.more, "a test has at most 1,000 conflicts");
    list.conflicts
}

/// Waits until a link stands so.
///
/// # Panics
/// If it does not.
pub async fn link_is(client: &Client, peer: &str, state: &str) -> LinkStatus {
    eventually(&format!("a link to {peer} that is {state}"), async || {
        let status = client.admin().status().await.map_err(|error| error.to_string())?;
        let links = status.links;
        let is_so = |link: &LinkStatus| link.peer == peer && link.state == state;
        links.iter().find(|link| is_so(link)).cloned().ok_or(format!("{links:?}"))
    })
    .await
}
