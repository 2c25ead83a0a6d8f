//! A node that lives on behind a power cut: what it acknowledged is still answered for.

use takt_protocol::batch::Verdict;
use takt_protocol::words::Sequence;
use takt_reader::{Unpacked, read_unpacked};
use takt_storage::disk::sim::SimDisk;
use takt_storage::store::{Answer, Operation, StoreOptions};

use super::book::Page;
use super::player::{Player, TOPICS, producer, topic_name};
use super::{Violation, ensure, files};
use crate::compare;
use crate::events::{Dice, event};

/// Lets the producer come back: it goes on where it must, its last receipts are given out word for
/// word, a repeat is no second event, and new events are stored.
pub(super) fn check(
    image: &SimDisk,
    options: &StoreOptions,
    page: Page<'_>,
    dice: &mut Dice,
) -> Result<(), Violation> {
    let halted = |halt: super::Halt| Violation::new("I9", format!("it does not live on: {halt}"));
    let mut player = Player::open(image, options.clone(), dice.next_u64()).map_err(halted)?;
    for name in TOPICS {
        let acknowledged: Vec<_> = page.receipts().filter(|(sent, _)| sent.topic == name).collect();
        let Some((last, receipt)) = acknowledged.last() else { continue };
        let (producer, topic) = (producer(), topic_name(name));
        let open = Operation::OpenProducer { producer, topic, transient: false };
        let Answer::ProducerOpened(opened) = player.ask(open).map_err(halted)? else {
            return Err(Violation::new("I1", format!("the producer is not known in {name}")));
        };
        let again = player.send(name, opened.epoch, last).map_err(halted)?;
        ensure(again == Answer::Receipt((*receipt).clone()), "I1", || {
            format!("{name}: the receipt of {} has become {again:?}", last.first)
        })?;
        // The oldest event that was acknowledged, and one that was never sent.
        let (first, _) = acknowledged[0];
        let mut sent = first.clone();
        sent.first = opened.last_sequence.advance(1).get();
        sent.events.truncate(1);
        sent.events.push(event("//acme/later", 1, "order-0", 0));
        let answer = player.send(name, opened.epoch, &sent).map_err(halted)?;
        let Answer::Receipt(found) = &answer else {
            return Err(Violation::new("I9", format!("{name}: {answer:?}")));
        };
        let verdicts: Vec<Verdict> = found.receipts().map(|found| found.verdict).collect();
        ensure(!verdicts[0].is_visible(), "I2", || {
            format!("{name}: {} is an event a second time", sent.events[0].id)
        })?;
        ensure(verdicts[1].is_visible(), "I9", || format!("{name}: {verdicts:?}"))?;
        ensure(found.first_sequence > Sequence::new(0), "I9", || format!("{answer:?}"))?;
    }
    let Some(store) = player.store() else { return Ok(()) };
    let after = files(image);
    let unpacked = Unpacked::of(&after);
    let contents = read_unpacked(&after, &unpacked)
        .map_err(|error| Violation::new("I5", format!("after living on: {error}")))?;
    compare::same(&contents, store.view()).map_err(|what| Violation::new("I5", what))
}
