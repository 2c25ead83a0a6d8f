//! How the world ended, as its files say.

use std::collections::BTreeMap;

use takt_reader::{Contents, Partition, Record};

/// All nodes; the plants first, in the order of their numbers, then the hub.
pub struct End<'a> {
    /// The plants' names.
    pub plants: Vec<String>,
    /// How many topics each plant has.
    pub topics: usize,
    /// For how long a plant tells a repeat at least, in microseconds.
    pub horizon_us: i64,
    /// What their files hold.
    pub nodes: Vec<Contents<'a>>,
}

impl<'a> End<'a> {
    /// The hub.
    ///
    /// # Panics
    /// If there is none.
    pub fn hub(&self) -> &Contents<'a> {
        self.nodes.last().expect("the hub is the last")
    }

    /// A partition as its origin holds it.
    pub fn own(&self, plant: usize, topic: usize, number: u16) -> Option<&Partition<'a>> {
        let topic = format!("topic-{topic}");
        self.nodes[plant].partition(&self.plants[plant], &topic, number)
    }

    /// A partition as the hub holds it: all of it, since the hub drops nothing.
    pub fn mirrored(&self, plant: usize, topic: usize, number: u16) -> Option<&Partition<'a>> {
        let topic = format!("topic-{topic}");
        self.hub().partition(&self.plants[plant], &topic, number)
    }

    /// Every mirrored partition of the hub with the number of its plant and topic.
    pub fn mirrors(&self) -> impl Iterator<Item = (usize, usize, &Partition<'a>)> {
        self.hub().partitions.iter().filter_map(|partition| {
            let plant = self.plants.iter().position(|name| name == partition.id.origin)?;
            let topic = partition.id.topic.strip_prefix("topic-")?.parse().ok()?;
            Some((plant, topic, partition))
        })
    }
}

/// The visible records of a partition, by offset.
pub fn visible<'p, 'a>(partition: &'p Partition<'a>) -> BTreeMap<u64, &'p Record<'a>> {
    partition.records.iter().filter_map(|record| Some((record.offset?, record))).collect()
}
