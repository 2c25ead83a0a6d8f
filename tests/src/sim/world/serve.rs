//! The nodes at work: writers, sessions, uplinks.

use std::time::Duration;

use takt_broker::access::Place;
use takt_broker::logic::writer::WriterOutput;
use takt_broker::logic::{
    Context, MirrorSession, ProducerSession, SessionEvent, SubscriberSession,
};
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::{StreamKind, accept, refusal_frame};
use takt_protocol::words::NodeName;
use takt_storage::entry::TopicSettings;
use takt_storage::store::Operation;

use super::{Happening, World};
use crate::sim::agenda::MS;
use crate::sim::faults::Fault;
use crate::sim::history::Dropped;
use crate::sim::net::{ConnId, NetNews};
use crate::sim::node::{Served, Ticket};

/// Bytes that a session may have taken but not answered.
const SESSION_BYTES: usize = 1 << 20;

impl World {
    /// Makes the topics of a node that has begun, and dials.
    pub(super) fn set_up(&mut self, node: usize) {
        let boot = self.nodes[node].boot;
        let is_hub = node == self.plan.plants;
        if !is_hub {
            let limits = self.plan.limits.clone().into_iter().zip(self.plan.compact.clone());
            for (name, (limits, compact)) in self.topics.clone().into_iter().zip(limits) {
                let partitions = self.plan.partitions;
                let age_ms = limits.age.map_or(0, |age| age.as_millis());
                let settings = TopicSettings {
                    partitions,
                    horizon_s: self.plan.horizon_s,
                    retention_ms: u64::try_from(age_ms).expect("some minutes"),
                    retention_bytes: limits.bytes,
                    compact,
                    ..TopicSettings::default()
                };
                let operation = Operation::CreateTopic { name, settings };
                let up = self.nodes[node].up.as_mut().expect("it has just begun");
                up.writer.submit(operation, Ticket::Nobody);
            }
            self.agenda.after(10 * MS, Happening::Dial { node, boot });
        }
        self.drive_node(node);
    }

    /// Does all that a node can do now.
    pub(super) fn drive_node(&mut self, number: usize) {
        loop {
            self.drive_writer(number);
            let node = &mut self.nodes[number];
            let Some(up) = &mut node.up else { return };
            if let Some(conn) = up.dirty.pop_first() {
                self.drive_session(number, conn);
            } else if std::mem::take(&mut up.uplink_dirty) {
                self.drive_uplink(number);
            } else {
                break;
            }
        }
        self.plan_writer(number);
    }

    fn drive_writer(&mut self, number: usize) {
        let (now, instant) = (self.agenda.now(), self.instant());
        let node = &mut self.nodes[number];
        let (wall, boot) = (node.wall(now), node.boot);
        node.kept.shown(wall);
        loop {
            let Some(up) = &mut node.up else { return };
            let Some(output) = up.writer.poll_output(instant, wall) else { break };
            match output {
                WriterOutput::Answer(Ticket::Session(conn, request), answer) => {
                    if let Some(Served { session: Some(session), .. }) = up.sessions.get_mut(&conn)
                    {
                        session.on_answer(request, Ok(answer));
                        up.dirty.insert(conn);
                    }
                }
                WriterOutput::Answer(Ticket::Nobody, _) => {}
                WriterOutput::Durable { .. } => {
                    for (conn, served) in &up.sessions {
                        if served.session.as_ref().is_some_and(|session| session.awaits_commits()) {
                            up.dirty.insert(*conn);
                        }
                    }
                    if let Some(uplink) = &mut up.uplink {
                        uplink.on_durable();
                        up.uplink_dirty = true;
                    }
                }
                WriterOutput::Commit { pending, .. } => {
                    assert!(up.commit.replace(pending).is_none(), "one commit is out at a time");
                    let time = node.sync_time();
                    self.agenda.after(time, Happening::Commit { node: number, boot });
                }
                WriterOutput::Job(job) => {
                    assert!(up.job.replace(job).is_none(), "one job is out at a time");
                    let time = MS + node.below(20 * MS);
                    self.agenda.after(time, Happening::Job { node: number, boot });
                }
            }
        }
        let end = node.up.as_ref().and_then(|up| up.writer.end()).map(|end| match end {
            Ok(()) => None,
            Err(failure) => Some(failure.to_string()),
        });
        match end {
            Some(None) => self.node_stopped(number),
            Some(Some(reason)) => self.node_failed(number, &reason),
            None => {}
        }
    }

    fn plan_writer(&mut self, number: usize) {
        let (now, instant) = (self.agenda.now(), self.instant());
        let node = &mut self.nodes[number];
        let Some(up) = &mut node.up else { return };
        let wait = up.writer.poll_timeout(instant).max(Duration::from_micros(100));
        let at = now + u64::try_from(wait.as_micros()).expect("not that long");
        if up.wake_at <= now || at < up.wake_at {
            up.wake_at = at;
            self.agenda.at(at, Happening::Writer { node: number, boot: node.boot });
        }
    }

    pub(super) fn hear_served(&mut self, number: usize, conn: ConnId, news: NetNews) {
        let Some(up) = &mut self.nodes[number].up else {
            // The process is gone; its host says so.
            self.net.close(conn, 1);
            return;
        };
        match news {
            NetNews::Accepted if up.stopping => self.net.close(conn, 1),
            NetNews::Accepted => {
                let served = Served { session: None, origin: None, wake_at: None };
                up.sessions.entry(conn).or_insert(served);
            }
            NetNews::Lost => self.lose_session(number, conn),
            NetNews::Opened | NetNews::Readable | NetNews::Writable => {
                // A connection of a process that is gone reaches nobody.
                if up.sessions.contains_key(&conn) {
                    up.dirty.insert(conn);
                } else {
                    self.net.close_loudly(self.agenda.now(), conn, 1);
                }
            }
        }
        self.drive_node(number);
    }

    /// Lets a session do what it can. It is taken out of its node meanwhile.
    fn drive_session(&mut self, number: usize, conn: ConnId) {
        let up = self.nodes[number].up.as_mut();
        let Some(mut served) = up.and_then(|up| up.sessions.remove(&conn)) else { return };
        let over = match self.greet(number, conn, &mut served) {
            Greeting::None => return self.put_back(number, conn, served),
            Greeting::Refused => true,
            Greeting::Done => {
                let mut over = false;
                while !over && self.turn_session(number, conn, &mut served, &mut over) {}
                over
            }
        };
        if over {
            self.close_session(number, conn, served);
        } else {
            self.put_back(number, conn, served);
        }
    }

    fn put_back(&mut self, number: usize, conn: ConnId, mut served: Served) {
        let timeout = served.session.as_ref().and_then(|session| session.poll_timeout());
        if let Some(at) = timeout.map(|at| self.at_of(at))
            && served.wake_at != Some(at)
        {
            served.wake_at = Some(at);
            let boot = self.nodes[number].boot;
            self.agenda.at(at, Happening::Session { node: number, boot, conn });
        }
        let up = self.nodes[number].up.as_mut().expect("a session of a node that is up");
        up.sessions.insert(conn, served);
    }

    /// The first frame says what a stream is for.
    fn greet(&mut self, number: usize, conn: ConnId, served: &mut Served) -> Greeting {
        if served.session.is_some() {
            return Greeting::Done;
        }
        let now = self.agenda.now();
        if self.net.is_broken(conn, 1) {
            return Greeting::Refused;
        }
        let Some(frame) = self.net.take(now, conn, 1) else { return Greeting::None };
        let context = self.context(number, conn);
        served.session = Some(match accept(frame) {
            Ok(StreamKind::Producer) => Box::new(ProducerSession::new(context)),
            Ok(StreamKind::Subscriber) => Box::new(SubscriberSession::new(context)),
            Ok(StreamKind::Mirror) => Box::new(MirrorSession::new(context)),
            Ok(StreamKind::Admin) => return Greeting::Refused,
            Err(error) => {
                self.net.send(now, conn, 1, refusal_frame(error.refusal()));
                return Greeting::Refused;
            }
        });
        Greeting::Done
    }

    fn context(&self, number: usize, conn: ConnId) -> Context {
        let node = &self.nodes[number];
        let is_hub = number == self.plan.plants;
        let place = if is_hub { Place::Hub } else { Place::Plant(node.name.to_string()) };
        let up = node.up.as_ref().expect("a session of a node that is up");
        Context {
            place,
            peer: self.peer(conn),
            view: up.writer.view().clone(),
            session_bytes_max: SESSION_BYTES,
        }
    }

    /// One round: a frame in, requests and frames out, a read. Whether there may be more.
    fn turn_session(
        &mut self,
        number: usize,
        conn: ConnId,
        served: &mut Served,
        over: &mut bool,
    ) -> bool {
        let (now, instant) = (self.agenda.now(), self.instant());
        let session = served.session.as_mut().expect("it was greeted");
        let mut more = false;
        if session.wants_frames(self.net.has_queued(conn, 1)) {
            if let Some(frame) = self.net.take(now, conn, 1) {
                *over |= session.handle_frame(instant, frame).is_err();
                more = true;
            } else {
                *over |= self.net.is_broken(conn, 1);
            }
        }
        let up = self.nodes[number].up.as_mut().expect("a session of a node that is up");
        while let Some(request) = session.poll_request() {
            let ticket = request.number.map_or(Ticket::Nobody, |n| Ticket::Session(conn, n));
            up.writer.submit(request.operation, ticket);
        }
        while let Some(event) = session.poll_event() {
            self.note_event(number, conn, event, &mut served.origin);
        }
        let mut sent = false;
        while (*over || !self.net.has_queued(conn, 1))
            && let Some(frame) = session.poll_transmit()
        {
            sent = true;
            self.net.send(now, conn, 1, frame);
        }
        *over |= session.is_closed();
        if !*over
            && !sent
            && !self.net.has_queued(conn, 1)
            && let Some(read) = session.poll_read()
        {
            let up = self.nodes[number].up.as_ref().expect("it is up");
            session.on_read(read.run(up.writer.view()));
            more = true;
        }
        more || sent
    }

    fn note_event(
        &mut self,
        number: usize,
        conn: ConnId,
        event: SessionEvent,
        link: &mut Option<NodeName>,
    ) {
        match event {
            SessionEvent::LinkOpened(origin) => {
                // One live link for each origin: this one ends the one before.
                let up = self.nodes[number].up.as_mut().expect("it is up");
                for (other, served) in &mut up.sessions {
                    if *other != conn && served.origin.as_ref() == Some(&origin) {
                        served.session.as_mut().expect("it has a link").on_replaced();
                        up.dirty.insert(*other);
                    }
                }
                *link = Some(origin);
            }
            SessionEvent::LinkRefused(refusal)
                if refusal.code == ErrorCode::Diverged && !self.impostors.contains(&conn) =>
            {
                self.history.violated("I7", format!("a link has diverged: {refusal}"));
            }
            SessionEvent::ReadFailed { detail, .. } => {
                self.say(|| format!("a read failed: {detail}"));
                if let Some(turned) = &mut self.nodes[number].turned {
                    turned.reported = true;
                }
            }
            SessionEvent::Denied(action) => {
                self.history.violated("I8", format!("{action:?} was denied to a peer that may"));
            }
            SessionEvent::LinkRefused(refusal) => {
                self.say(|| format!("a link was refused: {refusal}"));
            }
            SessionEvent::BadBatch { .. }
            | SessionEvent::LinkUp(_)
            | SessionEvent::LinkAcked(_)
            | SessionEvent::LinkClosed(_) => {}
        }
    }

    /// The stream is over, from this side.
    fn close_session(&mut self, number: usize, conn: ConnId, mut served: Served) {
        if let Some(session) = &mut served.session {
            let last = session.end(false);
            let up = self.nodes[number].up.as_mut().expect("a session of a node that is up");
            if let Some(operation) = last {
                up.writer.submit(operation, Ticket::Nobody);
            }
        }
        // What was said last is read before the end is noticed.
        let now = self.agenda.now();
        self.net.finish(now, conn, 1);
    }

    /// The stream is lost.
    fn lose_session(&mut self, number: usize, conn: ConnId) {
        let Some(up) = &mut self.nodes[number].up else { return };
        up.dirty.remove(&conn);
        if let Some(mut served) = up.sessions.remove(&conn)
            && let Some(operation) = served.session.as_mut().and_then(|session| session.end(false))
        {
            up.writer.submit(operation, Ticket::Nobody);
        }
    }

    pub(super) fn session_time(&mut self, number: usize, boot: u64, conn: ConnId) {
        if !self.is_up(number, boot) {
            return;
        }
        let instant = self.instant();
        let up = self.nodes[number].up.as_mut().expect("it is up");
        if let Some(Served { session: Some(session), wake_at, .. }) = up.sessions.get_mut(&conn) {
            *wake_at = None;
            session.handle_timeout(instant);
            up.dirty.insert(conn);
            self.drive_node(number);
        }
    }

    /// What was on its way to the disk is written and synced, unless that is to go wrong.
    pub(super) fn finish_commit(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if let Some(at) = node.ambush.iter().position(|fault| strikes_commits(*fault)) {
            let fault = node.ambush.swap_remove(at);
            return self.strike_commit(number, fault);
        }
        self.tell_commit(number);
    }

    /// The writer hears of its commit.
    pub(super) fn tell_commit(&mut self, number: usize) {
        let instant = self.instant();
        let up = self.nodes[number].up.as_mut().expect("it is up");
        let Some(commit) = up.commit.take() else { return };
        let was_astray = self.nodes[number].disk.is_astray();
        let result = commit.write_and_sync();
        let node = &mut self.nodes[number];
        node.has_witness |= was_astray && result.is_ok() && commit.len_bytes() > 0;
        node.last_commit = self.agenda.now();
        let up = node.up.as_mut().expect("it is up");
        up.writer.on_synced(commit, result, instant);
        self.see_drops(number);
        self.drive_node(number);
    }

    /// What a plant has dropped it was allowed to drop: the hub has it. That it was too much or too
    /// old is checked in the end, by what the hub holds.
    fn see_drops(&mut self, number: usize) {
        if number == self.plan.plants {
            return;
        }
        let now = self.agenda.now();
        for (dropped, why) in self.nodes[number].look_at_drops(now) {
            self.drops.count(why);
            let Dropped { partition, upto, .. } = &dropped;
            let there = self.history.at_hub.get(partition);
            if there.is_none_or(|there| there < upto) {
                let what = format!("{partition} was dropped up to {upto}, the hub has {there:?}");
                self.history.violated("I6", what);
            }
            self.history.drops.push(dropped);
        }
    }

    /// A background job is done, unless that is to go wrong.
    pub(super) fn finish_job(&mut self, number: usize) {
        let now = self.agenda.now();
        let node = &mut self.nodes[number];
        let wall = node.wall(now);
        let Some(job) = node.up.as_mut().and_then(|up| up.job.take()) else { return };
        if let Some(at) = node.ambush.iter().position(|fault| *fault == Fault::PowerCutInJob) {
            node.ambush.swap_remove(at);
            let at = node.disk.operations() + node.below(30);
            node.disk.cut_power_at(at);
            drop(job.run());
            return self.crash(number, Fault::PowerCutInJob, true);
        }
        let done = job.run();
        if let Some(error) = done.error() {
            self.say(|| format!("{}: a job failed: {error}", self.nodes[number].name));
        }
        if let Some(up) = &mut self.nodes[number].up {
            up.writer.on_job_done(done, wall);
        }
        self.drive_node(number);
    }
}

/// What the first frame came to.
enum Greeting {
    /// It has not come.
    None,
    /// It was no greeting, or for something that the simulation has not.
    Refused,
    Done,
}

/// Whether a fault waits for a commit.
fn strikes_commits(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::KillInCommit
            | Fault::PowerCutInCommit
            | Fault::PowerCutAfterSync
            | Fault::SyncFails
            | Fault::WriteFails
            | Fault::Misdirect
    )
}
