//! What uses the nodes: uplinks, adapters, consumers, and peers that send rubbish.

use bytes::Bytes;
use takt_broker::logic::uplink::{End, UplinkEvent, UplinkSession};
use takt_protocol::wire::{FrameKind, OutFrame};
use takt_protocol::words::PartitionId;

use super::{Happening, User, World, pause};
use crate::sim::adapter::Turn;
use crate::sim::agenda::SECOND;
use crate::sim::faults::Lie;
use crate::sim::net::{ConnId, Host, NetNews};

/// How many frames imitators choose from.
const SAMPLES_MAX: usize = 64;

impl World {
    /// A plant dials its hub.
    pub(super) fn dial(&mut self, plant: usize, boot: u64) {
        if !self.is_up(plant, boot) || self.nodes[plant].uplink_conn.is_some() {
            return;
        }
        let conn = self.connect(User::Uplink(plant), Host::Node(plant), self.plan.plants);
        self.nodes[plant].uplink_conn = Some(conn);
        if self.nodes[plant].original.is_some() {
            self.impostors.insert(conn);
        }
    }

    pub(super) fn hear_uplink(&mut self, plant: usize, conn: ConnId, news: NetNews) {
        if self.nodes[plant].uplink_conn != Some(conn) {
            return self.net.close_loudly(self.agenda.now(), conn, 0);
        }
        let instant = self.instant();
        let Some(up) = &mut self.nodes[plant].up else {
            self.nodes[plant].uplink_conn = None;
            return self.net.close_loudly(self.agenda.now(), conn, 0);
        };
        match news {
            NetNews::Opened => {
                let mut session = UplinkSession::new(up.writer.view().clone(), None);
                session.on_connected(instant);
                up.uplink = Some(session);
                up.uplink_dirty = true;
            }
            NetNews::Lost => self.uplink_ended(plant, &End::Lost("the connection is lost".into())),
            NetNews::Accepted | NetNews::Readable | NetNews::Writable => up.uplink_dirty = true,
        }
        self.drive_node(plant);
    }

    pub(super) fn drive_uplink(&mut self, plant: usize) {
        let (now, instant) = (self.agenda.now(), self.instant());
        let lacks = self.impostor_lacks(plant);
        let node = &mut self.nodes[plant];
        let Some(conn) = node.uplink_conn else { return };
        let Some(up) = &mut node.up else { return };
        let Some(session) = &mut up.uplink else { return };
        loop {
            let frame = self.net.take(now, conn, 0);
            let mut more = frame.is_some();
            if let Some(frame) = frame {
                session.handle_frame(instant, frame);
            }
            while let Some(event) = session.poll_event() {
                node.backoff.on_event(&event);
                let ends = match event {
                    UplinkEvent::Up(ends) => {
                        if let Some(partition) = &lacks {
                            let what =
                                format!("a restored plant goes on though it lacks {partition}");
                            self.history.violated("I7", what);
                        }
                        ends
                    }
                    UplinkEvent::Acked(ends) => ends,
                };
                for (slot, end) in &ends {
                    let partition = up.writer.view().partition(*slot).expect("it is sent");
                    self.history.acknowledge_at_hub(&partition.id, *end);
                }
                up.writer.hold_for_uplink(Some(ends));
            }
            while !self.net.has_queued(conn, 0)
                && let Some(frame) = session.poll_transmit()
            {
                self.net.send(now, conn, 0, frame);
                more = true;
            }
            if session.ended().is_some() {
                break;
            }
            if !more
                && !self.net.has_queued(conn, 0)
                && let Some(read) = session.poll_read()
            {
                session.on_read(read.run(up.writer.view()));
                more = true;
            }
            if !more {
                break;
            }
        }
        if let Some(end) = session.ended().cloned() {
            self.uplink_ended(plant, &end);
        }
    }

    fn uplink_ended(&mut self, plant: usize, end: &End) {
        let now = self.agenda.now();
        let fraction = self.dice.below(1_000) as f64 / 1_000.0;
        if let End::Diverged(detail) = end {
            if self.nodes[plant].original.is_none() {
                self.history
                    .violated("I7", format!("plant {plant} and the hub have diverged: {detail}"));
            }
            self.lie_comes_out(plant, Lie::Diverged);
        }
        self.say(|| format!("the uplink of plant {plant} has ended: {end:?}"));
        let node = &mut self.nodes[plant];
        if let Some(conn) = node.uplink_conn.take() {
            self.net.close_loudly(now, conn, 0);
        }
        let wait = node.backoff.pause(end, fraction);
        let boot = node.boot;
        if let Some(up) = &mut node.up {
            up.uplink = None;
            up.writer.hold_for_uplink(None);
            let wait = u64::try_from(wait.as_micros()).expect("not that long");
            self.agenda.after(wait, Happening::Dial { node: plant, boot });
        }
    }

    /// An adapter makes some events, in bursts.
    pub(super) fn make(&mut self, number: usize) {
        let spread = self.plan.time * super::MAKE_PERCENT / 100;
        let burst = 1 + self.dice.below(2 * self.plan.batch_max as u64 + 20);
        let per_burst = self.plan.batch_max as u64 + 11;
        let all = if self.healed { u64::MAX } else { burst };
        let count = usize::try_from(all).expect("64 bits");
        self.adapters[number].make(&self.plan, &mut self.history, count);
        let mean = (spread * per_burst / self.plan.events as u64).max(1);
        let wait = self.dice.below(2 * mean);
        if self.adapters[number].makes_more() {
            self.agenda.after(wait, Happening::Make { adapter: number });
        }
        self.drive_adapter(number, false);
    }

    pub(super) fn adapter_begins(&mut self, number: usize) {
        if self.adapters[number].life.is_none() {
            self.adapters[number].begin(&self.history);
            self.drive_adapter(number, false);
        }
    }

    pub(super) fn hear_adapter(
        &mut self,
        number: usize,
        conn: ConnId,
        news: NetNews,
        zombie: bool,
    ) {
        let (now, instant) = (self.agenda.now(), self.instant());
        let adapter = &mut self.adapters[number];
        let life = if zombie { &mut adapter.zombie } else { &mut adapter.life };
        let Some(life) = life.as_mut().filter(|life| life.conn == Some(conn)) else {
            return self.net.close_loudly(now, conn, 0);
        };
        match news {
            NetNews::Opened => life.session.on_connected(instant),
            NetNews::Lost => {
                life.session.on_disconnected(instant);
                (life.conn, life.is_open) = (None, false);
                if zombie {
                    // It would take the name over again: that is another story.
                    adapter.zombie = None;
                    return;
                }
            }
            NetNews::Accepted | NetNews::Readable | NetNews::Writable => {}
        }
        self.drive_adapter(number, zombie);
    }

    /// Does all that an adapter's life can do now.
    pub(super) fn drive_adapter(&mut self, number: usize, zombie: bool) {
        let (now, instant) = (self.agenda.now(), self.instant());
        loop {
            let adapter = &mut self.adapters[number];
            if zombie && !adapter.zombie_is_awake {
                return;
            }
            let life = if zombie { &mut adapter.zombie } else { &mut adapter.life };
            let Some(life) = life else { return };
            let Some(conn) = life.conn else {
                if !zombie {
                    self.connect_adapter(number);
                }
                return;
            };
            life.session.handle_timeout(instant);
            let mut more = false;
            let mut leave = false;
            if let Some(frame) = self.net.take(now, conn, 0) {
                more = true;
                if let Err(error) = life.session.handle_frame(instant, frame) {
                    let what = format!("adapter {number}: the node broke the protocol: {error}");
                    self.history.violated("I9", what);
                    leave = true;
                }
            }
            let turn = adapter.turn(&mut self.history, now, zombie);
            adapter.submit(&self.plan, &mut self.history, now, zombie);
            let life = if zombie { &mut adapter.zombie } else { &mut adapter.life };
            let life = life.as_mut().expect("it is alive");
            while !leave && let Some(frame) = life.session.poll_transmit() {
                if self.samples.len() < SAMPLES_MAX {
                    self.samples.push(frame.clone());
                }
                self.net.send(now, conn, 0, frame);
                more = true;
            }
            if turn == Turn::Over {
                self.net.close_loudly(now, conn, 0);
                if zombie {
                    adapter.zombie = None;
                } else {
                    adapter.life = None;
                    self.agenda.after(SECOND, Happening::AdapterBegins { adapter: number });
                }
                return;
            }
            if leave || turn == Turn::Leave {
                self.net.close_loudly(now, conn, 0);
                life.session.on_disconnected(instant);
                (life.conn, life.is_open) = (None, false);
                if zombie {
                    adapter.zombie = None;
                    return;
                }
                continue;
            }
            if !more {
                break;
            }
        }
        if let Some(at) = self.adapters[number].timeout(zombie) {
            let at = self.at_of(at).max(now + 1);
            self.agenda.at(at, Happening::Adapter { adapter: number, zombie });
        }
    }

    /// Opens a connection now, or plans to.
    fn connect_adapter(&mut self, number: usize) {
        let now = self.agenda.now();
        let node = self.adapters[number].node;
        let life = self.adapters[number].life.as_mut().expect("it is alive");
        if now >= life.retry_at {
            life.attempts += 1;
            life.retry_at = now + pause(&mut self.dice, life.attempts);
            let conn = self.connect(User::Adapter(number), Host::Near(number), node);
            self.adapters[number].life.as_mut().expect("it is alive").conn = Some(conn);
        } else {
            self.agenda.at(life.retry_at, Happening::Adapter { adapter: number, zombie: false });
        }
    }

    /// A life that was paused goes on, and has something new to say.
    pub(super) fn zombie_wakes(&mut self, number: usize) {
        self.adapters[number].zombie_is_awake = true;
        self.adapters[number].tempt_zombie(&self.plan, &mut self.history);
        self.drive_adapter(number, true);
    }

    pub(super) fn consumer_begins(&mut self, number: usize) {
        if self.consumers[number].session.is_none() {
            self.consumers[number].begin();
            self.consumer_time(number);
        }
    }

    /// A consumer connects, or connects again.
    pub(super) fn consumer_time(&mut self, number: usize) {
        let consumer = &mut self.consumers[number];
        if consumer.session.is_some() && consumer.conn.is_none() {
            consumer.attempts += 1;
            let node = consumer.node;
            let host = Host::Near(1_000 + number);
            let conn = self.connect(User::Consumer(number), host, node);
            self.consumers[number].conn = Some(conn);
        }
    }

    pub(super) fn hear_consumer(&mut self, number: usize, conn: ConnId, news: NetNews) {
        let (now, instant) = (self.agenda.now(), self.instant());
        let consumer = &mut self.consumers[number];
        if consumer.conn != Some(conn) || consumer.session.is_none() {
            return self.net.close_loudly(now, conn, 0);
        }
        let session = consumer.session.as_mut().expect("it was looked at");
        match news {
            NetNews::Opened => session.on_connected(instant),
            NetNews::Lost => return self.leave_consumer(number),
            NetNews::Accepted | NetNews::Readable | NetNews::Writable => {}
        }
        let mut turn = Turn::Goes;
        while turn == Turn::Goes {
            let consumer = &mut self.consumers[number];
            let session = consumer.session.as_mut().expect("it is alive");
            let mut more = false;
            if let Some(frame) = self.net.take(now, conn, 0) {
                more = true;
                if let Err(error) = session.handle_frame(instant, frame) {
                    let what = format!("consumer {number}: the node broke the protocol: {error}");
                    self.history.violated("I7", what);
                    turn = Turn::Leave;
                    continue;
                }
            }
            let up = self.nodes[consumer.node].up.as_ref();
            let start = |partition: &PartitionId| {
                let held = up?.writer.view().all_partitions();
                held.into_iter().find(|held| held.id == *partition).map(|held| held.start)
            };
            turn = consumer.turn(&mut self.history, now, &start);
            let session = consumer.session.as_mut().expect("it is alive");
            while turn == Turn::Goes
                && let Some(frame) = session.poll_transmit()
            {
                self.net.send(now, conn, 0, frame);
                more = true;
            }
            if !more {
                return;
            }
        }
        self.net.close_loudly(now, conn, 0);
        if turn == Turn::Over {
            // A final refusal, such as of a topic that is not there yet.
            self.consumers[number].die();
            self.consumers[number].conn = None;
            self.agenda.after(2 * SECOND, Happening::ConsumerBegins { consumer: number });
        } else {
            self.leave_consumer(number);
        }
    }

    fn leave_consumer(&mut self, number: usize) {
        let instant = self.instant();
        let consumer = &mut self.consumers[number];
        consumer.conn = None;
        if let Some(session) = &mut consumer.session {
            session.on_disconnected(instant);
            let wait = pause(&mut self.dice, consumer.attempts);
            self.agenda.after(wait, Happening::Consumer { consumer: number });
        }
    }

    /// A peer that sends rubbish: bytes that are nothing, and frames of others with one byte
    /// changed.
    pub(super) fn hear_hostile(&mut self, conn: ConnId, news: NetNews) {
        let now = self.agenda.now();
        match news {
            NetNews::Opened => {
                for _ in 0..=self.dice.below(4) {
                    let frame = self.rubbish();
                    self.net.send(now, conn, 0, frame);
                }
            }
            NetNews::Readable => while self.net.take(now, conn, 0).is_some() {},
            NetNews::Lost | NetNews::Accepted | NetNews::Writable => {}
        }
    }

    fn rubbish(&mut self) -> OutFrame {
        let dice = &mut self.dice;
        let mut changed = dice.below(8) != 0;
        let mut bytes = if self.samples.is_empty() || dice.below(4) == 0 {
            (0..dice.below(200)).map(|_| dice.next_u64().to_le_bytes()[0]).collect::<Vec<u8>>()
        } else {
            let at = dice.below(self.samples.len() as u64);
            let sample = self.samples[usize::try_from(at).expect("an index")].to_bytes().to_vec();
            // A batch of another, word for word, would be one that it may publish.
            changed |= sample.get(4) == Some(&FrameKind::Publish.number());
            sample
        };
        if !bytes.is_empty() && changed {
            let at = usize::try_from(dice.below(bytes.len() as u64)).expect("an index");
            bytes[at] ^= 1 << dice.below(8);
        }
        let mut frame = OutFrame::new(FrameKind::Control, &[], []).expect("an empty frame");
        frame.parts = vec![Bytes::from(bytes)];
        frame
    }
}
