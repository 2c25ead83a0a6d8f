//! What an adapter makes: new events, repeats of older ones, other content under a known key, and
//! keys that are sent again and again with many contents.

use super::history::{Fate, History, Intent, IntentId};
use super::identity::Identity;
use super::plan::Plan;
use crate::events::Dice;

/// How far back an event is repeated, in events of the world.
const REACH: u64 = 2_000;
/// Keys with many contents, of one topic of a node.
const MANY_KEYS_MAX: usize = 20;
/// So many contents has such a key at most.
const CONTENTS_MAX: u64 = 20;

/// Makes an adapter's events.
#[derive(Debug)]
pub struct Maker {
    adapter: usize,
    node: usize,
    topic: usize,
    dice: Dice,
    /// For what not every world has: a world without it is the same as if there were none.
    more: Dice,
}

/// A key that is sent again and again, with one of many contents.
#[derive(Debug, Clone)]
pub struct Many {
    /// Its first event; the others have its order.
    first: IntentId,
    /// All that were sent with other contents.
    others: Vec<IntentId>,
    /// How many those may become.
    others_max: usize,
}

impl Maker {
    /// For adapter `adapter`, which publishes to `topic` of `node`.
    pub fn new(plan: &Plan, adapter: usize, node: usize, topic: usize) -> Self {
        let seed = plan.seed ^ (adapter as u64 + 1).wrapping_mul(0x51_7c_c1_b7);
        Self { adapter, node, topic, dice: Dice::new(seed), more: Dice::new(!seed) }
    }

    /// The next event.
    pub fn make(&mut self, plan: &Plan, history: &mut History) -> IntentId {
        if plan.many > 0 && self.more.below(1_000) < plan.many {
            return self.one_of_many(plan, history);
        }
        let luck = self.dice.below(1_000);
        let older = self.older(plan, history);
        let intent = match older {
            Some(older) if luck < plan.repeats => self.under_other_keys(plan, history, older),
            Some(older) if luck < plan.repeats + plan.conflicts => {
                let content = history.new_content(self.dice.below(plan.data_max) as u32);
                self.under_other_keys(plan, history, Intent { content, ..older })
            }
            _ => self.fresh(plan, history),
        };
        self.add(history, &intent)
    }

    fn add(&self, history: &mut History, intent: &Intent) -> IntentId {
        history.add(Intent {
            adapter: self.adapter,
            beside: false,
            sent: None,
            sent_last: None,
            fate: Fate::Unknown,
            ..intent.clone()
        })
    }

    fn fresh(&mut self, plan: &Plan, history: &mut History) -> Intent {
        let dice = &mut self.dice;
        let large = dice.below(1_000) < plan.large;
        let max = if large { plan.journal.commit_bytes_max as u64 / 4 } else { plan.data_max };
        let content = history.new_content(dice.below(max) as u32);
        let order = zipf(dice, plan.orders) as u32;
        let ordered = dice.below(1_000) >= plan.unordered;
        let keyed = dice.below(1_000) >= plan.unkeyed;
        // The same numbers at every plant: keys count per origin and topic.
        let identity = if keyed {
            let one = history.next_key(self.node, self.topic);
            if plan.two_keys > 0 && self.more.below(1_000) < plan.two_keys {
                Identity::Two(one, history.next_key(self.node, self.topic))
            } else {
                Identity::Id(one)
            }
        } else {
            Identity::None
        };
        Intent {
            node: self.node,
            topic: self.topic,
            adapter: self.adapter,
            identity,
            order: ordered.then_some(order),
            content,
            beside: false,
            sent: None,
            sent_last: None,
            fate: Fate::Unknown,
        }
    }

    /// Some older event of the same node and topic that has a key.
    fn older(&mut self, plan: &Plan, history: &History) -> Option<Intent> {
        if plan.repeats + plan.conflicts == 0 {
            return None;
        }
        older(&mut self.dice, history, (self.node, self.topic))
    }

    /// A key that the producer names need not come back in the same company: alone, with one that
    /// nobody has used, with one of another event, or the other way round.
    fn under_other_keys(&mut self, plan: &Plan, history: &mut History, intent: Intent) -> Intent {
        let (one, two) = match intent.identity {
            Identity::Two(one, two) => (one, two),
            Identity::Named(one) if plan.two_keys > 0 => (one, one),
            Identity::Named(_) | Identity::Id(_) | Identity::None => return intent,
        };
        let kept = if self.more.below(2) == 0 { one } else { two };
        let identity = match self.more.below(8) {
            0 | 1 => Identity::Named(kept),
            2 => Identity::Two(kept, history.next_key(self.node, self.topic)),
            3 => Identity::Two(history.next_key(self.node, self.topic), kept),
            4 | 5 => match self.named_elsewhere(history) {
                Some(other) if self.more.below(2) == 0 => Identity::Two(other, kept),
                Some(other) => Identity::Two(kept, other),
                None => Identity::Two(two, one),
            },
            6 => Identity::Two(two, one),
            _ => intent.identity,
        };
        Intent { identity, ..intent }
    }

    /// A named key of some older event.
    fn named_elsewhere(&mut self, history: &History) -> Option<u32> {
        match older(&mut self.more, history, (self.node, self.topic))?.identity {
            Identity::Named(one) | Identity::Two(one, _) => Some(one),
            Identity::Id(_) | Identity::None => None,
        }
    }

    /// A key with many contents: another content of it, or one that it had, however long ago.
    fn one_of_many(&mut self, plan: &Plan, history: &mut History) -> IntentId {
        let at = (self.node, self.topic);
        let known = history.many.get(&at).map_or(0, Vec::len);
        if known == 0 || known < MANY_KEYS_MAX && self.more.below(4) == 0 {
            let mut fresh = self.fresh(plan, history);
            if !fresh.identity.is_known() {
                fresh.identity = Identity::Id(history.next_key(self.node, self.topic));
            }
            let first = self.add(history, &fresh);
            let others_max = 1 + self.more.below(CONTENTS_MAX - 1) as usize;
            let many = Many { first, others: Vec::new(), others_max };
            history.many.entry(at).or_default().push(many);
            return first;
        }
        let number = self.more.below(known as u64) as usize;
        let many = &history.many[&at][number];
        let first = history.intents[many.first as usize].clone();
        let sent = many.others.len();
        if sent < many.others_max && self.more.below(2) == 0 {
            let content = history.new_content(self.more.below(plan.data_max) as u32);
            let other = self.under_other_keys(plan, history, Intent { content, ..first });
            let id = self.add(history, &other);
            let many = history.many.get_mut(&at).and_then(|all| all.get_mut(number));
            many.expect("it was looked at").others.push(id);
            return id;
        }
        let again = self.more.below(sent as u64 + 1) as usize;
        let again = many.others.get(again).copied().unwrap_or(many.first);
        let again = history.intents[again as usize].clone();
        let again = self.under_other_keys(plan, history, again);
        self.add(history, &again)
    }
}

/// Some event, of the last that were made, of this node and topic that has a key.
fn older(dice: &mut Dice, history: &History, at: (usize, usize)) -> Option<Intent> {
    let len = history.intents.len() as u64;
    if len == 0 {
        return None;
    }
    let reach = len.min(REACH);
    let number = len - 1 - dice.below(reach);
    let older = &history.intents[usize::try_from(number).expect("an index")];
    ((older.node, older.topic) == at && older.identity.is_known()).then(|| older.clone())
}

/// Low numbers come far more often than high ones.
fn zipf(dice: &mut Dice, count: u64) -> u64 {
    let spread = dice.below(count) + 1;
    dice.below(spread)
}
