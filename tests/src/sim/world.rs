//! The world: everything in one thread, driven by one agenda, from one seed.

mod clients;
mod crash;
mod forger;
mod lie;
mod serve;
mod weather;

use std::time::{Duration, Instant};

use takt_client::tls::{Identity, TrustDomain};
use takt_protocol::words::TopicName;

use super::adapter::Adapter;
use super::agenda::{Agenda, At, MS, SECOND};
use super::consumer::Consumer;
use super::faults::{Branch, Dropping, Fault, Lie, Tally};
use super::history::History;
use super::net::{ConnId, End, Host, Net, NetEvent, NetNews};
use super::node::SimNode;
use super::plan::{Plan, topic_name};
use crate::events::Dice;
use forger::Forger;

/// How long the world may take to come to rest once nothing goes wrong any more.
const DRAIN_MAX: u64 = 10 * 60 * SECOND;
/// How much of the time adapters make events; the rest is for the tail of what they made.
const MAKE_PERCENT: u64 = 85;

/// What is planned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happening {
    Net(NetEvent),
    /// The writer of a node wants to be called.
    Writer {
        node: usize,
        boot: u64,
    },
    /// A session of a node wants to be called.
    Session {
        node: usize,
        boot: u64,
        conn: ConnId,
    },
    /// The disk is done with a commit.
    Commit {
        node: usize,
        boot: u64,
    },
    /// A background job is done.
    Job {
        node: usize,
        boot: u64,
    },
    /// A process begins.
    Start {
        node: usize,
    },
    /// A plant dials its hub.
    Dial {
        node: usize,
        boot: u64,
    },
    /// An adapter makes events.
    Make {
        adapter: usize,
    },
    /// An adapter's session wants to be called, or it connects again.
    Adapter {
        adapter: usize,
        zombie: bool,
    },
    /// An adapter begins a life.
    AdapterBegins {
        adapter: usize,
    },
    /// A paused life goes on.
    ZombieWakes {
        adapter: usize,
    },
    /// A consumer connects again.
    Consumer {
        consumer: usize,
    },
    /// A consumer begins a life.
    ConsumerBegins {
        consumer: usize,
    },
    /// The plan's next fault.
    Fault {
        number: usize,
    },
    /// Something that was broken for a while is mended.
    Mend(Mend),
    /// Faults end.
    Heal,
    /// Whether the world has come to rest.
    Look,
}

/// What lasts for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mend {
    Reads {
        node: usize,
    },
    Capacity {
        node: usize,
    },
    Sync {
        node: usize,
    },
    Clock {
        node: usize,
    },
    Rot {
        node: usize,
    },
    /// A plant goes on from a copy of its disk.
    Swap {
        node: usize,
    },
    /// And from its own disk again.
    SwapBack {
        node: usize,
    },
    /// The power of a plant goes whose disk has lied.
    Lie {
        node: usize,
    },
    Way {
        from: Host,
        to: Host,
    },
    Noise,
}

/// Who uses an end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// A session of a node: end 1.
    Served(usize),
    /// A plant's uplink.
    Uplink(usize),
    Adapter(usize),
    Zombie(usize),
    Consumer(usize),
    /// Sends a sequence again with other content; by its producer's number.
    Forger(usize),
    Hostile,
}

/// The world.
pub struct World {
    pub(super) plan: Plan,
    pub(super) history: History,
    pub(super) nodes: Vec<SimNode>,
    pub(super) fired: Tally<Fault>,
    pub(super) branches: Tally<Branch>,
    pub(super) lies: Tally<Lie>,
    pub(super) drops: Tally<Dropping>,
    pub(super) drained: bool,
    /// What the nodes served at the end.
    pub(super) served: super::check::Served,
    agenda: Agenda<Happening>,
    net: Net,
    adapters: Vec<Adapter>,
    consumers: Vec<Consumer>,
    forgers: std::collections::BTreeMap<usize, Forger>,
    topics: Vec<TopicName>,
    /// Who opened each connection, and to which node.
    users: std::collections::BTreeMap<ConnId, (User, usize)>,
    /// Uplinks of plants that ran on a copy of their disk when they dialled. What such a one has
    /// said may still be on its way when the plant has its own disk again.
    impostors: std::collections::BTreeSet<ConnId>,
    /// Frames that were sent lately, for peers that imitate.
    samples: Vec<takt_protocol::wire::OutFrame>,
    domain: TrustDomain,
    dice: Dice,
    base: Instant,
    trace: u64,
    healed: bool,
    stopping: bool,
    /// Prints what happens.
    pub(super) verbose: bool,
}

impl World {
    /// The world of a plan, before anything has happened.
    ///
    /// # Panics
    /// Never: the names hold.
    pub fn new(plan: Plan, base: Instant) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0x5eed);
        let domain = TrustDomain::new("takt.local").expect("a domain");
        let topics: Vec<_> = (0..plan.topics).map(topic_name).collect();
        let nodes: Vec<_> = (0..=plan.plants).map(|number| SimNode::new(&plan, number)).collect();
        let mut history = History::default();
        history.forgets = plan.forgets();
        let mut adapters = Vec::new();
        for number in 0..plan.plants * plan.adapters {
            let (node, topic) = (number % plan.plants, number / plan.plants % plan.topics);
            let adapter = Adapter::new(&plan, number, node, topic, topics[topic].clone());
            let peer = client_identity(&domain, &plan, node, "app");
            history.producers.push(adapter.producer_id(&peer.to_string()));
            history.sends.push(Vec::new());
            adapters.push(adapter);
        }
        let mut consumers = Vec::new();
        for number in 0..plan.consumers * (plan.plants + 1) {
            let node = number % (plan.plants + 1);
            let topic = topics[number % plan.topics].clone();
            let hold = dice.below(2) == 0;
            let every = [1, 50, 500][usize::try_from(dice.below(3)).expect("below 3")];
            consumers.push(Consumer::new(node, format!("cursor-{number}"), topic, hold, every));
        }
        let net = Net::new(plan.lan, plan.wan, Dice::new(plan.seed ^ 0xfeed));
        let mut world = Self {
            history,
            nodes,
            fired: Tally::default(),
            branches: Tally::default(),
            lies: Tally::default(),
            drops: Tally::default(),
            drained: false,
            served: super::check::Served::new(),
            agenda: Agenda::new(),
            net,
            adapters,
            consumers,
            forgers: std::collections::BTreeMap::new(),
            topics,
            users: std::collections::BTreeMap::new(),
            impostors: std::collections::BTreeSet::new(),
            samples: Vec::new(),
            domain,
            dice,
            base,
            trace: 0xcbf2_9ce4_8422_2325,
            healed: false,
            stopping: false,
            verbose: false,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.agenda.at(0, Happening::Start { node });
        }
        for adapter in 0..self.adapters.len() {
            self.agenda.at(SECOND, Happening::AdapterBegins { adapter });
            let begin = SECOND + self.dice.below(SECOND);
            self.agenda.at(begin, Happening::Make { adapter });
        }
        for consumer in 0..self.consumers.len() {
            // After the plants' links have made their topics at the hub.
            let begin = 5 * SECOND + self.dice.below(10 * SECOND);
            self.agenda.at(begin, Happening::ConsumerBegins { consumer });
        }
        for number in 0..self.plan.faults.len() {
            self.agenda.at(self.plan.faults[number].0, Happening::Fault { number });
        }
        self.agenda.at(self.plan.time, Happening::Heal);
    }

    /// Lets everything happen: faults, then none, until the world is at rest or has had its time.
    pub fn run(&mut self) {
        while !self.drained && self.history.violations.is_empty() {
            if self.agenda.now() > self.plan.time + DRAIN_MAX {
                let what = self.unrest();
                self.history.violated("I9", format!("no rest after all faults ended: {what}"));
                return;
            }
            let Some(what) = self.agenda.next() else { return };
            self.happen(what);
            self.settle_net();
        }
    }

    /// Now, in microseconds since the world began.
    pub fn now(&self) -> At {
        self.agenda.now()
    }

    /// Equal for equal runs.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Who a client of a node is.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.agenda.now())
    }

    fn at_of(&self, instant: Instant) -> At {
        let since = instant.saturating_duration_since(self.base);
        u64::try_from(since.as_micros()).unwrap_or(At::MAX)
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>13.6}  {}", self.agenda.now() as f64 / SECOND as f64, what());
        }
    }

    fn happen(&mut self, what: Happening) {
        self.note(self.agenda.now());
        match what {
            Happening::Net(event) => self.net.handle(self.agenda.now(), event),
            Happening::Writer { node, boot } => {
                if self.is_up(node, boot) {
                    self.drive_node(node);
                }
            }
            Happening::Session { node, boot, conn } => self.session_time(node, boot, conn),
            Happening::Commit { node, boot } => {
                if self.is_up(node, boot) {
                    self.finish_commit(node);
                }
            }
            Happening::Job { node, boot } => {
                if self.is_up(node, boot) {
                    self.finish_job(node);
                }
            }
            Happening::Start { node } => self.start_node(node),
            Happening::Dial { node, boot } => self.dial(node, boot),
            Happening::Make { adapter } => self.make(adapter),
            Happening::Adapter { adapter, zombie } => self.drive_adapter(adapter, zombie),
            Happening::AdapterBegins { adapter } => self.adapter_begins(adapter),
            Happening::ZombieWakes { adapter } => self.zombie_wakes(adapter),
            Happening::Consumer { consumer } => self.consumer_time(consumer),
            Happening::ConsumerBegins { consumer } => self.consumer_begins(consumer),
            Happening::Fault { number } => {
                let fault = self.plan.faults[number].1;
                self.strike(fault);
            }
            Happening::Mend(mend) => self.mend(mend),
            Happening::Heal => self.heal(),
            Happening::Look => self.look(),
        }
    }

    /// Plans what the network wants and passes on what it says, until it is quiet.
    fn settle_net(&mut self) {
        loop {
            while let Some((at, event)) = self.net.poll_plan() {
                self.agenda.at(at, Happening::Net(event));
            }
            let Some((conn, end, news)) = self.net.poll_news() else { return };
            self.hear(conn, end, news);
        }
    }

    fn hear(&mut self, conn: ConnId, end: End, news: NetNews) {
        self.note(conn << 8 | (end as u64) << 4 | news as u64);
        let Some((user, node)) = self.users.get(&conn).copied() else { return };
        let user = if end == 1 { User::Served(node) } else { user };
        match user {
            User::Served(node) => self.hear_served(node, conn, news),
            User::Uplink(node) => self.hear_uplink(node, conn, news),
            User::Adapter(adapter) => self.hear_adapter(adapter, conn, news, false),
            User::Zombie(adapter) => self.hear_adapter(adapter, conn, news, true),
            User::Consumer(consumer) => self.hear_consumer(consumer, conn, news),
            User::Forger(producer) => self.hear_forger(producer, conn, news),
            User::Hostile => self.hear_hostile(conn, news),
        }
    }

    fn connect(&mut self, user: User, from: Host, node: usize) -> ConnId {
        let conn = self.net.open(self.agenda.now(), from, Host::Node(node));
        self.users.insert(conn, (user, node));
        conn
    }

    /// Who the peer of a node's session is.
    fn peer(&self, conn: ConnId) -> Identity {
        let (user, node) = self.users[&conn];
        match user {
            User::Uplink(plant) => {
                let name = self.nodes[plant].name.as_str();
                Identity::plant_node(&self.domain, name, "node").expect("a name")
            }
            User::Hostile => client_identity(&self.domain, &self.plan, node, "rogue"),
            User::Served(_)
            | User::Adapter(_)
            | User::Zombie(_)
            | User::Forger(_)
            | User::Consumer(_) => client_identity(&self.domain, &self.plan, node, "app"),
        }
    }

    fn is_up(&self, node: usize, boot: u64) -> bool {
        self.nodes[node].boot == boot && self.nodes[node].up.is_some()
    }

    /// Whether everything that was made is answered, mirrored and read.
    fn look(&mut self) {
        if !self.stopping && self.unrest().is_empty() {
            self.say(|| "at rest".to_owned());
            self.drained = true;
            return;
        }
        self.agenda.after(SECOND, Happening::Look);
    }

    /// What still waits for what.
    fn unrest(&self) -> String {
        for node in &self.nodes {
            if node.up.is_none() {
                return format!("{} is not up", node.name);
            }
        }
        for adapter in &self.adapters {
            if !adapter.is_done() {
                return adapter.unrest();
            }
        }
        let ends = |node: &SimNode| {
            let up = node.up.as_ref().expect("all are up");
            up.writer.view().all_partitions()
        };
        let hub = ends(&self.nodes[self.plan.plants]);
        for node in &self.nodes[..self.plan.plants] {
            for own in ends(node) {
                let mirror = hub.iter().find(|mirror| mirror.id == own.id);
                if mirror.is_none_or(|mirror| mirror.end_batch != own.end_batch) {
                    let there = mirror.map(|mirror| mirror.end_batch);
                    return format!("{} ends at {}, {there:?} at the hub", own.id, own.end_batch);
                }
            }
        }
        for (number, consumer) in self.consumers.iter().enumerate() {
            for partition in ends(&self.nodes[consumer.node]) {
                if partition.id.topic == *consumer.topic()
                    && consumer.next(&partition.id) != Some(partition.end)
                {
                    let at = consumer.next(&partition.id);
                    return format!(
                        "consumer {number}: {} ends at {}, read {at:?}",
                        partition.id, partition.end
                    );
                }
            }
        }
        String::new()
    }

    /// Stops every node cleanly, as an operator would.
    pub fn stop_all(&mut self) {
        self.stopping = true;
        for number in 0..self.nodes.len() {
            self.nodes[number].restarts = false;
            if let Some(up) = &mut self.nodes[number].up {
                up.stopping = true;
                up.writer.stop();
                self.drive_node(number);
            }
        }
        let until = self.agenda.now() + 60 * SECOND;
        while self.agenda.now() < until && self.nodes.iter().any(|node| node.up.is_some()) {
            let Some(what) = self.agenda.next() else { break };
            self.happen(what);
            self.settle_net();
        }
        for node in &self.nodes {
            if node.up.is_some() {
                let what = format!("{} does not stop", node.name);
                self.history.violations.push(("I9", what));
            }
        }
    }
}

/// Who the clients of a node are.
fn client_identity(domain: &TrustDomain, plan: &Plan, node: usize, name: &str) -> Identity {
    let identity = if node == plan.plants {
        Identity::hub_client(domain, name)
    } else {
        Identity::plant_client(domain, &format!("plant-{node}"), name)
    };
    identity.expect("a name")
}

/// A pause before another attempt: longer each time, never the same.
fn pause(dice: &mut Dice, attempts: u32) -> u64 {
    let most = (50 * MS) << attempts.min(6);
    most / 2 + dice.below(most)
}
