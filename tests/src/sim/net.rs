//! The network: packets that are lost, doubled, late and overtaken, and the reliable streams that
//! both ends see above them, as QUIC makes them. A stream's frames arrive in order and once, or the
//! stream is lost, of which each end learns on its own: by a reset, or because it has heard nothing
//! for too long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use takt_protocol::wire::{Frame, FrameDecoder, OutFrame};

use super::agenda::{At, MS, SECOND};
use crate::events::Dice;

/// How long an end waits before it takes its peer for dead.
const IDLE_MAX: u64 = 15 * SECOND;
/// How often ends prove that they live.
pub const KEEP_ALIVE: u64 = 5 * SECOND;
/// How long an end waits for its last frames to be read.
const END_DEADLINE: u64 = 2 * SECOND;
/// Bytes that a sender may have on their way or unread.
const WINDOW_BYTES: usize = 256 << 10;

/// A place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A node, by number.
    Node(usize),
    /// What uses a node from another machine of its plant.
    Near(usize),
}

/// A connection, by number; numbers are never used again.
pub type ConnId = u64;

/// Which end: the one that opened the connection is 0.
pub type End = usize;

/// What the network plans for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetEvent {
    /// The opening of a connection reaches its other end, or is tried again.
    Open { conn: ConnId, tries: u32 },
    /// The opener hears that it is open.
    Opened { conn: ConnId, tries: u32 },
    /// A packet is sent once more.
    Again { conn: ConnId, from: End, number: u64, tries: u32 },
    /// A packet arrives.
    Arrive { conn: ConnId, to: End, number: u64 },
    /// A sender hears that there is room again.
    Room { conn: ConnId, from: End },
    /// An end hears that the other one is gone.
    Reset { conn: ConnId, to: End },
    /// Both ends prove that they live.
    KeepAlive { conn: ConnId },
    /// An end has waited long enough for its last frames to be read.
    Ended { conn: ConnId, end: End },
}

/// What an end notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetNews {
    /// Somebody has opened a connection to it.
    Accepted,
    /// The connection that it opened stands.
    Opened,
    /// There are frames to take.
    Readable,
    /// What was queued is on its way.
    Writable,
    /// The connection is lost.
    Lost,
}

/// How bad the network is between two hosts.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// The shortest way of a packet, in microseconds.
    pub delay: u64,
    /// How much longer it may take, in microseconds.
    pub jitter: u64,
    /// Of 1,000 packets so many are lost.
    pub loss: u64,
    /// Of 1,000 packets so many come twice.
    pub double: u64,
}

#[derive(Debug)]
struct Side {
    host: Host,
    open: bool,
    /// The other end's answer has come: it may send.
    ready: bool,
    heard: At,
    /// What it sends.
    next: u64,
    waiting: VecDeque<OutFrame>,
    on_way: BTreeMap<u64, OutFrame>,
    unread: usize,
    /// What it gets.
    expected: u64,
    early: BTreeSet<u64>,
    decoder: FrameDecoder,
    frames: VecDeque<(Frame, usize)>,
    /// Bytes arrived that were no frame.
    broken: bool,
    /// It only sends what is left.
    ending: bool,
}

impl Side {
    fn new(host: Host, now: At) -> Self {
        Self {
            host,
            open: true,
            ready: false,
            heard: now,
            next: 0,
            waiting: VecDeque::new(),
            on_way: BTreeMap::new(),
            unread: 0,
            expected: 0,
            early: BTreeSet::new(),
            decoder: FrameDecoder::new(),
            frames: VecDeque::new(),
            broken: false,
            ending: false,
        }
    }
}

/// All connections.
#[derive(Debug)]
pub struct Net {
    conns: BTreeMap<ConnId, [Side; 2]>,
    next: ConnId,
    blocked: BTreeSet<(Host, Host)>,
    /// Nodes that nobody of their plant reaches.
    isolated: BTreeSet<usize>,
    lan: Weather,
    wan: Weather,
    dice: Dice,
    plans: Vec<(At, NetEvent)>,
    news: VecDeque<(ConnId, End, NetNews)>,
    /// Packets that were lost, doubled or overtook another.
    pub mishaps: u64,
}

impl Net {
    /// Without connections.
    pub fn new(lan: Weather, wan: Weather, dice: Dice) -> Self {
        Self {
            conns: BTreeMap::new(),
            next: 0,
            blocked: BTreeSet::new(),
            isolated: BTreeSet::new(),
            lan,
            wan,
            dice,
            plans: Vec::new(),
            news: VecDeque::new(),
            mishaps: 0,
        }
    }

    /// Changes the weather of the ways between nodes.
    pub fn set_wan(&mut self, weather: Weather) {
        self.wan = weather;
    }

    /// Changes the weather within plants.
    pub fn set_lan(&mut self, weather: Weather) {
        self.lan = weather;
    }

    /// Lets nothing pass from one host to another, or lets it pass again.
    pub fn block(&mut self, from: Host, to: Host, blocked: bool) {
        if blocked {
            self.blocked.insert((from, to));
        } else {
            self.blocked.remove(&(from, to));
        }
    }

    /// Lets nobody of its plant reach a node, or lets them again. Other nodes do.
    pub fn isolate(&mut self, node: usize, isolated: bool) {
        if isolated {
            self.isolated.insert(node);
        } else {
            self.isolated.remove(&node);
        }
    }

    /// Begins to open a connection.
    pub fn open(&mut self, now: At, from: Host, to: Host) -> ConnId {
        let conn = self.next;
        self.next += 1;
        self.conns.insert(conn, [Side::new(from, now), Side::new(to, now)]);
        self.plans.push((now, NetEvent::Open { conn, tries: 0 }));
        self.plans.push((now + KEEP_ALIVE, NetEvent::KeepAlive { conn }));
        conn
    }

    /// Gives up an end. The other one learns it when it says something.
    pub fn close(&mut self, conn: ConnId, end: End) {
        let Some(sides) = self.conns.get_mut(&conn) else { return };
        sides[end].open = false;
        if !sides[1 - end].open {
            self.conns.remove(&conn);
        }
    }

    /// Gives up an end and says so to the other one, as far as the network lets it pass.
    pub fn close_loudly(&mut self, now: At, conn: ConnId, end: End) {
        self.reset(now, conn, end);
        self.close(conn, end);
    }

    /// Sends what is left, as far as the other end reads it in time, and then gives up the end.
    pub fn finish(&mut self, now: At, conn: ConnId, end: End) {
        let Some(sides) = self.conns.get_mut(&conn) else { return };
        sides[end].ending = true;
        self.plans.push((now + END_DEADLINE, NetEvent::Ended { conn, end }));
        self.end_if_all_is_said(now, conn, end);
    }

    fn end_if_all_is_said(&mut self, now: At, conn: ConnId, end: End) {
        let all_said = |sides: &[Side; 2]| {
            let side = &sides[end];
            side.open && side.ending && side.on_way.is_empty() && side.waiting.is_empty()
        };
        if self.conns.get(&conn).is_some_and(all_said) {
            self.close_loudly(now, conn, end);
        }
    }

    /// Whether the end is open.
    pub fn is_open(&self, conn: ConnId, end: End) -> bool {
        self.conns.get(&conn).is_some_and(|sides| sides[end].open)
    }

    /// Some open connection, the `n`-th modulo their number.
    pub fn pick(&self, n: u64) -> Option<ConnId> {
        let count = self.conns.len() as u64;
        (count > 0).then(|| *self.conns.keys().nth((n % count) as usize).expect("below the count"))
    }

    /// Sends a frame, or queues it while there is no room.
    pub fn send(&mut self, now: At, conn: ConnId, from: End, frame: OutFrame) {
        let Some(sides) = self.conns.get_mut(&conn) else { return };
        if sides[from].open {
            sides[from].waiting.push_back(frame);
            self.flush(now, conn, from);
        }
    }

    /// Whether frames wait for room.
    pub fn has_queued(&self, conn: ConnId, end: End) -> bool {
        self.conns.get(&conn).is_some_and(|sides| !sides[end].waiting.is_empty())
    }

    /// The next frame that has arrived.
    pub fn take(&mut self, now: At, conn: ConnId, end: End) -> Option<Frame> {
        let sides = self.conns.get_mut(&conn)?;
        let (frame, len) = sides[end].frames.pop_front()?;
        let sender = &mut sides[1 - end];
        sender.unread -= len;
        if !sender.waiting.is_empty() {
            let delay = self.delay(conn);
            self.plans.push((now + delay, NetEvent::Room { conn, from: 1 - end }));
        }
        Some(frame)
    }

    /// Whether what arrived stopped being frames.
    pub fn is_broken(&self, conn: ConnId, end: End) -> bool {
        self.conns.get(&conn).is_some_and(|sides| sides[end].broken)
    }

    /// What the network wants to be called for, and when.
    pub fn poll_plan(&mut self) -> Option<(At, NetEvent)> {
        self.plans.pop()
    }

    /// What an end has noticed. One that only waits for its end notices nothing.
    pub fn poll_news(&mut self) -> Option<(ConnId, End, NetNews)> {
        loop {
            let (conn, end, news) = self.news.pop_front()?;
            if self.conns.get(&conn).is_none_or(|sides| !sides[end].ending) {
                return Some((conn, end, news));
            }
        }
    }

    /// The time of a plan has come.
    pub fn handle(&mut self, now: At, event: NetEvent) {
        match event {
            NetEvent::Open { conn, tries } => self.on_open(now, conn, tries),
            NetEvent::Opened { conn, tries } => self.on_opened(now, conn, tries),
            NetEvent::Again { conn, from, number, tries } => {
                self.transmit(now, conn, from, number, tries);
            }
            NetEvent::Arrive { conn, to, number } => self.arrive(now, conn, to, number),
            NetEvent::Room { conn, from } => {
                if self.conns.get(&conn).is_some_and(|sides| sides[from].open) {
                    self.flush(now, conn, from);
                    if !self.has_queued(conn, from) {
                        self.news.push_back((conn, from, NetNews::Writable));
                    }
                }
            }
            NetEvent::Reset { conn, to } => self.lose(conn, to),
            NetEvent::KeepAlive { conn } => self.keep_alive(now, conn),
            NetEvent::Ended { conn, end } => {
                if self.is_open(conn, end) {
                    self.close_loudly(now, conn, end);
                }
            }
        }
    }

    /// Cuts a connection: both ends lose it now.
    pub fn cut(&mut self, conn: ConnId) {
        self.lose(conn, 0);
        self.lose(conn, 1);
    }

    fn lose(&mut self, conn: ConnId, end: End) {
        if self.is_open(conn, end) {
            self.news.push_back((conn, end, NetNews::Lost));
            self.close(conn, end);
        }
    }

    fn weather(&self, conn: ConnId) -> Weather {
        match &self.conns[&conn] {
            [Side { host: Host::Node(_), .. }, Side { host: Host::Node(_), .. }] => self.wan,
            _ => self.lan,
        }
    }

    fn delay(&mut self, conn: ConnId) -> u64 {
        let weather = self.weather(conn);
        weather.delay + self.dice.below(weather.jitter + 1)
    }

    fn passes(&mut self, conn: ConnId, from: End) -> bool {
        let sides = &self.conns[&conn];
        let way = (sides[from].host, sides[1 - from].host);
        if self.blocked.contains(&way) || self.is_isolated(way) {
            return false;
        }
        let weather = self.weather(conn);
        weather.loss == 0 || self.dice.below(1_000) >= weather.loss
    }

    fn is_isolated(&self, way: (Host, Host)) -> bool {
        match way {
            (Host::Near(_), Host::Node(node)) | (Host::Node(node), Host::Near(_)) => {
                self.isolated.contains(&node)
            }
            (Host::Node(_), Host::Node(_)) | (Host::Near(_), Host::Near(_)) => false,
        }
    }

    /// How long a sender waits for an answer.
    fn patience(&self, conn: ConnId, tries: u32) -> u64 {
        let weather = self.weather(conn);
        (2 * (weather.delay + weather.jitter) + 10 * MS) << tries.min(5)
    }

    fn on_open(&mut self, now: At, conn: ConnId, tries: u32) {
        if !self.is_open(conn, 0) {
            self.conns.remove(&conn);
            return;
        }
        if now > self.conns[&conn][0].heard + IDLE_MAX {
            return self.lose_both(conn);
        }
        if self.passes(conn, 0) {
            self.news.push_back((conn, 1, NetNews::Accepted));
            let delay = 2 * self.delay(conn);
            self.plans.push((now + delay, NetEvent::Opened { conn, tries: 0 }));
        } else {
            self.mishaps += 1;
            let patience = self.patience(conn, tries);
            self.plans.push((now + patience, NetEvent::Open { conn, tries: tries + 1 }));
        }
    }

    fn lose_both(&mut self, conn: ConnId) {
        self.lose(conn, 0);
        self.lose(conn, 1);
    }

    fn on_opened(&mut self, now: At, conn: ConnId, tries: u32) {
        if !self.is_open(conn, 0) {
            return;
        }
        if !self.is_open(conn, 1) {
            return self.lose(conn, 0);
        }
        if now > self.conns[&conn][0].heard + IDLE_MAX {
            return self.lose(conn, 0);
        }
        if self.passes(conn, 1) {
            let sides = self.conns.get_mut(&conn).expect("it is open");
            for side in sides {
                side.ready = true;
                side.heard = now;
            }
            self.news.push_back((conn, 0, NetNews::Opened));
            self.flush(now, conn, 0);
            self.flush(now, conn, 1);
        } else {
            let patience = self.patience(conn, tries);
            self.plans.push((now + patience, NetEvent::Opened { conn, tries: tries + 1 }));
        }
    }

    fn flush(&mut self, now: At, conn: ConnId, from: End) {
        loop {
            let sides = self.conns.get_mut(&conn).expect("the caller has looked");
            let side = &mut sides[from];
            if !side.ready || side.unread >= WINDOW_BYTES {
                return;
            }
            let Some(frame) = side.waiting.pop_front() else { return };
            side.unread += frame.len();
            let number = side.next;
            side.next += 1;
            side.on_way.insert(number, frame);
            self.transmit(now, conn, from, number, 0);
        }
    }

    fn transmit(&mut self, now: At, conn: ConnId, from: End, number: u64, tries: u32) {
        let Some(sides) = self.conns.get(&conn) else { return };
        if !sides[from].open || !sides[from].on_way.contains_key(&number) {
            return;
        }
        if self.passes(conn, from) {
            let delay = self.delay(conn);
            let to = 1 - from;
            self.plans.push((now + delay, NetEvent::Arrive { conn, to, number }));
            let weather = self.weather(conn);
            if weather.double > 0 && self.dice.below(1_000) < weather.double {
                self.mishaps += 1;
                let late = 3 * self.delay(conn);
                self.plans.push((now + late, NetEvent::Arrive { conn, to, number }));
            }
        } else {
            self.mishaps += 1;
            let patience = self.patience(conn, tries);
            let tries = tries + 1;
            self.plans.push((now + patience, NetEvent::Again { conn, from, number, tries }));
        }
    }

    fn arrive(&mut self, now: At, conn: ConnId, to: End, number: u64) {
        let Some(sides) = self.conns.get_mut(&conn) else { return };
        let [zero, one] = sides;
        let (receiver, sender) = if to == 0 { (zero, one) } else { (one, zero) };
        if !receiver.open {
            return self.reset(now, conn, to);
        }
        receiver.heard = now;
        if number < receiver.expected || !receiver.early.insert(number) {
            return;
        }
        if number > receiver.expected {
            self.mishaps += 1;
        }
        let mut readable = false;
        while receiver.early.remove(&receiver.expected) {
            let frame = sender.on_way.remove(&receiver.expected).expect("it is on its way");
            receiver.expected += 1;
            let mut len = frame.len();
            for part in frame.parts {
                receiver.decoder.push(part);
            }
            loop {
                match receiver.decoder.next() {
                    Ok(Some(frame)) => {
                        receiver.frames.push_back((frame, std::mem::take(&mut len)));
                        readable = true;
                    }
                    Ok(None) => break,
                    Err(_) => {
                        readable |= !receiver.broken;
                        receiver.broken = true;
                        break;
                    }
                }
            }
            sender.unread -= len;
        }
        if readable {
            self.news.push_back((conn, to, NetNews::Readable));
        }
        self.end_if_all_is_said(now, conn, 1 - to);
    }

    fn reset(&mut self, now: At, conn: ConnId, from: End) {
        if self.conns.contains_key(&conn) && self.passes(conn, from) {
            let delay = self.delay(conn);
            self.plans.push((now + delay, NetEvent::Reset { conn, to: 1 - from }));
        }
    }

    fn keep_alive(&mut self, now: At, conn: ConnId) {
        if !self.conns.contains_key(&conn) {
            return;
        }
        for from in [0, 1] {
            let sides = &self.conns[&conn];
            if sides[from].open && sides[from].ready && self.passes(conn, from) {
                let sides = self.conns.get_mut(&conn).expect("it was there");
                if sides[1 - from].open {
                    sides[1 - from].heard = now;
                } else {
                    self.reset(now, conn, 1 - from);
                }
            }
        }
        for end in [0, 1] {
            let silent = |sides: &[Side; 2]| now > sides[end].heard + IDLE_MAX;
            if self.conns.get(&conn).is_some_and(silent) {
                self.lose(conn, end);
            }
        }
        if self.conns.contains_key(&conn) {
            self.plans.push((now + KEEP_ALIVE, NetEvent::KeepAlive { conn }));
        }
    }
}
