//! The play itself: nodes and adapters run, and things happen to them.

use std::collections::BTreeMap;
use std::time::Duration;

use takt_client::Receipt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::adapter::{Adapter, Pace};
use super::compare::compare;
use super::error::DemoError;
use super::log::{Log, PLANTS};
use super::nodes::Nodes;
use super::plan::{Act, LENGTH, SENT_AGAIN, acts, busiest_hour, corrected};
use super::read::read_topic;
use super::report::Report;
use super::show::{Show, Sign, Standing};
use crate::cli::output::count;

/// How many events a plant has to take when it is killed.
const BURST: usize = 240;
/// How often a kill is tried until it meets events under way.
const KILL_ATTEMPTS: usize = 5;
/// Receipts that were on their way when a plant died come within this.
const LAST_RECEIPTS: Duration = Duration::from_millis(50);
/// A plant that has answered for nothing of a burst until then is killed nevertheless.
const FIRST_RECEIPT: Duration = Duration::from_millis(20);
/// What a thin line lets through, in bytes per second.
const THIN: u64 = 40_000;
/// The hub is killed only with so many events to come.
const BACKLOG_MIN: u64 = 20;
/// How long things may take that are to come to pass by themselves.
const LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked at how everything stands.
const LOOK: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(10);

pub struct Play<'a> {
    log: &'a Log,
    nodes: &'a mut Nodes,
    show: &'a mut Show,
    adapters: Vec<Adapter>,
    report: Report,
    /// The least so far.
    unacked: Option<u64>,
    backlog: Option<u64>,
}

impl<'a> Play<'a> {
    pub fn new(log: &'a Log, nodes: &'a mut Nodes, show: &'a mut Show) -> Self {
        let report = Report::default();
        Self { log, nodes, show, adapters: Vec::new(), report, unacked: None, backlog: None }
    }

    /// Plays the log, reads the hub back and compares.
    pub async fn run(mut self) -> Result<Report, DemoError> {
        self.start().await?;
        let acts = acts();
        let first = acts.first().map_or(LENGTH, |(at, _)| *at);
        let mut begin = Instant::now();
        let pace = watch::Sender::new(Pace { begin, until: first });
        for (plant, name) in PLANTS.into_iter().enumerate() {
            let context = self.nodes.plants[plant].client().to_owned();
            self.adapters.push(Adapter::start(
                name,
                context,
                self.log.plants[plant].clone(),
                pace.subscribe(),
            )?);
        }
        self.say(Sign::Up, "the adapters play the log");
        for (number, (at, act)) in acts.iter().copied().enumerate() {
            self.idle_until(begin + at).await?;
            // What comes late delays the log, so that there is traffic whenever something happens.
            begin += begin.elapsed().saturating_sub(at);
            let until = acts.get(number + 1).map_or(LENGTH, |(at, _)| *at);
            pace.send_replace(Pace { begin, until });
            match act {
                Act::RestartAdapter { plant } => self.restart_adapter(plant).await?,
                Act::KillPlant { plant } => self.kill_plant(plant).await?,
                Act::CutAndKillHub { plants, cut } => self.cut_and_kill_hub(plants, cut).await?,
                Act::SendHourAgain { plant } => self.send_hour_again(plant).await?,
                Act::Correct { plant } => self.correct(plant).await?,
            }
        }
        self.idle_until(begin + LENGTH).await?;
        self.finish().await?;
        self.compare().await?;
        for node in self.nodes.plants.iter_mut().chain([&mut self.nodes.hub]) {
            node.stop().await?;
        }
        self.report.unacked_at_kill = self.unacked.unwrap_or(0);
        self.report.backlog_at_kill = self.backlog.unwrap_or(0);
        self.report.elapsed_ms = u64::try_from(self.show.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(self.report)
    }

    async fn start(&mut self) -> Result<(), DemoError> {
        for node in [&mut self.nodes.hub].into_iter().chain(&mut self.nodes.plants) {
            let ready = node.start().await?;
            self.show.line(Sign::Up, &format!("{ready} serves"));
        }
        Ok(())
    }

    fn say(&mut self, sign: Sign, text: &str) {
        self.show.line(sign, text);
    }

    /// Lets things run until then.
    async fn idle_until(&mut self, until: Instant) -> Result<(), DemoError> {
        while Instant::now() < until {
            self.look().await?;
            sleep_until(until.min(Instant::now() + LOOK)).await;
        }
        Ok(())
    }

    /// Shows how everything stands.
    async fn look(&mut self) -> Result<(), DemoError> {
        let mut standing = Standing::default();
        for (adapter, plant) in self.adapters.iter().zip(&mut standing.plants) {
            adapter.check()?;
            let counts = adapter.counts();
            *plant = (counts.sent, counts.unacked());
        }
        standing.hub = self.nodes.hub.ends().await.map(|ends| ends.values().sum());
        self.show.standing(&standing);
        Ok(())
    }

    async fn restart_adapter(&mut self, plant: usize) -> Result<(), DemoError> {
        let name = PLANTS[plant];
        let adapter = &self.adapters[plant];
        let sent = usize::try_from(adapter.counts().sent).unwrap_or(usize::MAX);
        adapter.burst(SENT_AGAIN.saturating_sub(sent)).await?;
        let again = adapter.restart(SENT_AGAIN).await?;
        self.say(
            Sign::Again,
            &format!("the adapter of {name} restarts and sends its last {again} events again"),
        );
        Ok(())
    }

    async fn kill_plant(&mut self, plant: usize) -> Result<(), DemoError> {
        let name = PLANTS[plant];
        for _ in 0..KILL_ATTEMPTS {
            let adapter = &self.adapters[plant];
            let answered = adapter.counts().answered();
            let burst = adapter.burst(BURST).await?;
            // At work: with the first receipt, and before the last.
            adapter.tally().wait(FIRST_RECEIPT, |now| now.answered() > answered).await;
            self.nodes.plants[plant].kill().await?;
            sleep(LAST_RECEIPTS).await;
            let adapter = &self.adapters[plant];
            adapter.check()?;
            let unacked = adapter.counts().unacked();
            let words = format!(
                "{name} is killed within a burst of {burst}: {unacked} events without a receipt"
            );
            self.say(Sign::Down, &words);
            let ready = self.nodes.plants[plant].start().await?;
            self.say(Sign::Up, &format!("{ready} serves again"));
            let adapter = &self.adapters[plant];
            if !adapter.tally().wait(LIMIT, |now| now.unacked() < BURST as u64 / 4).await {
                let what = format!("{name} has not answered for its burst");
                return Err(DemoError::Stuck { what, waited: LIMIT });
            }
            if unacked > 0 {
                self.report.kills += 1;
                self.unacked = Some(self.unacked.map_or(unacked, |least| least.min(unacked)));
                return Ok(());
            }
            self.say(Sign::Note, "that kill does not count; once more");
        }
        Ok(())
    }

    async fn cut_and_kill_hub(
        &mut self,
        plants: &'static [usize],
        cut: Duration,
    ) -> Result<(), DemoError> {
        let names = plants.iter().map(|plant| PLANTS[*plant]).collect::<Vec<_>>().join(" and ");
        for _ in 0..KILL_ATTEMPTS {
            for plant in plants {
                self.nodes.lines[*plant].cut();
                self.report.wan_cuts += 1;
            }
            self.say(Sign::Down, &format!("the WAN of {names} is cut for {} s", cut.as_secs()));
            self.idle_until(Instant::now() + cut).await?;
            let begin = self.hub_ends(plants).await?;
            for plant in plants {
                self.nodes.lines[*plant].limit(THIN);
                self.nodes.lines[*plant].mend();
            }
            let behind = self.behind(plants, &begin).await?;
            let words = format!("the WAN of {names} is back, but thin; {behind} events behind");
            self.say(Sign::Up, &words);
            if behind >= BACKLOG_MIN && self.kill_hub_at_work(plants, &begin, behind / 4).await? {
                return Ok(());
            }
            self.mend_lines();
            self.say(Sign::Note, "the hub has next to nothing to take; once more");
        }
        Ok(())
    }

    /// Waits until the hub has taken `some` of what the plants hold, and kills it if there is enough
    /// to come. The lines are whole afterwards.
    async fn kill_hub_at_work(
        &mut self,
        plants: &[usize],
        begin: &BTreeMap<String, u64>,
        some: u64,
    ) -> Result<bool, DemoError> {
        let deadline = Instant::now() + LIMIT;
        while plants_taken(plants, begin, &self.hub_ends(plants).await?) < some.max(1) {
            if Instant::now() > deadline {
                let what = "the hub has taken nothing of the backlog".to_owned();
                return Err(DemoError::Stuck { what, waited: LIMIT });
            }
            sleep(POLL).await;
        }
        // What the plants hold before the kill is at least what they hold at the kill.
        let held = self.plant_ends(plants).await?;
        let behind = missing(&held, &self.hub_ends(plants).await?);
        if behind < BACKLOG_MIN {
            return Ok(false);
        }
        self.nodes.hub.kill().await?;
        // Nothing passes until the hub was asked what it had on its disk when it died.
        for line in &self.nodes.lines {
            line.cut();
        }
        self.say(Sign::Down, "the hub is killed while it takes the backlog");
        let ready = self.nodes.hub.start().await?;
        let found = self.hub_ends(plants).await?;
        let backlog = missing(&held, &found);
        self.mend_lines();
        let words = format!("{ready} serves again; {backlog} events were not yet mirrored");
        self.say(Sign::Up, &words);
        if backlog == 0 {
            return Ok(false);
        }
        self.report.kills += 1;
        self.backlog = Some(self.backlog.map_or(backlog, |least| least.min(backlog)));
        Ok(true)
    }

    fn mend_lines(&self) {
        for line in &self.nodes.lines {
            line.limit(0);
            line.mend();
        }
    }

    async fn send_hour_again(&mut self, plant: usize) -> Result<(), DemoError> {
        let name = PLANTS[plant];
        let adapter = &self.adapters[plant];
        // Receipts come in order, so that many reports have theirs.
        let done = adapter.counts().lines_done;
        let hour = busiest_hour(&self.log.plants[plant][..done]);
        let events: Vec<_> = hour.iter().map(|line| line.event.clone()).collect();
        let sent = events.len();
        let receipts = adapter.send(events).await?;
        adapter.tally().update(|counts| counts.resent += sent as u64);
        let repeats =
            receipts.iter().filter(|one| matches!(one, Receipt::Duplicate { .. })).count();
        let words = format!(
            "a whole hour of the log, {sent} events, goes to {name} again: {repeats} answered as \
             duplicates"
        );
        self.say(Sign::Again, &words);
        Ok(())
    }

    async fn correct(&mut self, plant: usize) -> Result<(), DemoError> {
        let name = PLANTS[plant];
        let adapter = &self.adapters[plant];
        let done = adapter.counts().lines_done;
        let lines = self.log.plants[plant][..done].iter();
        let Some(event) = lines.rev().find_map(|line| corrected(&line.event)) else {
            let why = "no report of the log has pieces to correct".to_owned();
            return Err(DemoError::Adapter { plant: name, why });
        };
        let order = event.order_key.as_ref().map_or_else(String::new, ToString::to_string);
        let answer = match adapter.send(vec![event]).await?.first() {
            Some(Receipt::Conflict { with }) => {
                format!("set aside as a conflict with offset {}", with.offset)
            }
            other => format!("answered with {other:?}"),
        };
        let words = format!("a corrected report of {order} under its old id at {name}: {answer}");
        self.say(Sign::Again, &words);
        Ok(())
    }

    /// Waits until the adapters have all receipts and the hub has all events.
    async fn finish(&mut self) -> Result<(), DemoError> {
        let deadline = Instant::now() + LIMIT;
        let all = [0, 1];
        loop {
            self.look().await?;
            let sent = self.adapters.iter().zip(&self.log.plants).all(|(adapter, lines)| {
                let counts = adapter.counts();
                counts.lines_done == lines.len() && counts.unacked() == 0
            });
            if sent && self.is_mirrored(&all).await {
                break;
            }
            if Instant::now() > deadline {
                let what = if sent { "the hub is behind" } else { "events have no receipt" };
                return Err(DemoError::Stuck { what: what.to_owned(), waited: LIMIT });
            }
            sleep(LOOK).await;
        }
        self.say(
            Sign::Note,
            "every event has its receipt, and the plants have nothing left to send",
        );
        Ok(())
    }

    async fn is_mirrored(&self, plants: &[usize]) -> bool {
        let Some(hub) = self.nodes.hub.ends().await else { return false };
        for plant in plants {
            let node = &self.nodes.plants[*plant];
            let Some(own) = node.ends().await else { return false };
            let name = PLANTS[*plant];
            if own.get(name) != hub.get(name) || !node.has_mirrored_all().await {
                return false;
            }
        }
        true
    }

    /// Reads everything back from the hub and compares it with the file.
    async fn compare(&mut self) -> Result<(), DemoError> {
        let ends = self.hub_ends(&[]).await?;
        let at_plants = self.plant_ends(&[0, 1]).await?;
        let operator = self.nodes.hub.operator().expect("the hub runs");
        let seen = read_topic(operator, ends.values().sum()).await?;
        let found = compare(&self.log.facts(), &seen);
        for words in &found.words {
            self.show.line(Sign::Down, words);
        }
        if found.is_equal() {
            let words =
                format!("{} events at the hub are the file's, order by order", count(found.at_hub));
            self.say(Sign::Note, &words);
        }
        self.report.take(&found);
        self.report.at_plants = at_plants.values().sum();
        for adapter in &self.adapters {
            let counts = adapter.counts();
            self.report.sent += counts.sent;
            self.report.resent += counts.resent;
            self.report.duplicates += counts.duplicates;
            self.report.conflicts += counts.conflicts;
        }
        Ok(())
    }

    /// How many events of the plants the hub does not have.
    async fn behind(
        &self,
        plants: &[usize],
        hub: &BTreeMap<String, u64>,
    ) -> Result<u64, DemoError> {
        Ok(missing(&self.plant_ends(plants).await?, hub))
    }

    /// What the hub holds of each origin. It must run, and must have the topic of `plants`.
    async fn hub_ends(&self, plants: &[usize]) -> Result<BTreeMap<String, u64>, DemoError> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(ends) = self.nodes.hub.ends().await
                && plants.iter().all(|plant| ends.contains_key(PLANTS[*plant]))
            {
                return Ok(ends);
            }
            self.wait(deadline, "the hub does not say what it holds").await?;
        }
    }

    /// What the plants hold of their own.
    async fn plant_ends(&self, plants: &[usize]) -> Result<BTreeMap<String, u64>, DemoError> {
        let deadline = Instant::now() + LIMIT;
        let mut all = BTreeMap::new();
        for plant in plants {
            let name = PLANTS[*plant];
            let end = loop {
                let ends = self.nodes.plants[*plant].ends().await;
                if let Some(end) = ends.and_then(|ends| ends.get(name).copied()) {
                    break end;
                }
                self.wait(deadline, "a plant does not say what it holds").await?;
            };
            all.insert(name.to_owned(), end);
        }
        Ok(all)
    }

    async fn wait(&self, deadline: Instant, what: &str) -> Result<(), DemoError> {
        for adapter in &self.adapters {
            adapter.check()?;
        }
        if Instant::now() > deadline {
            return Err(DemoError::Stuck { what: what.to_owned(), waited: LIMIT });
        }
        sleep(POLL).await;
        Ok(())
    }
}

/// How many events `hub` has less than `held`, over all origins of `held`.
fn missing(held: &BTreeMap<String, u64>, hub: &BTreeMap<String, u64>) -> u64 {
    let missing =
        |(origin, end): (&String, &u64)| end.saturating_sub(hub.get(origin).copied().unwrap_or(0));
    held.iter().map(missing).sum()
}

/// How many events of `plants` the hub has taken between two looks at it.
fn plants_taken(
    plants: &[usize],
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> u64 {
    let end = |ends: &BTreeMap<String, u64>, plant: usize| ends.get(PLANTS[plant]).copied();
    let taken = |plant: &usize| Some(end(after, *plant)?.saturating_sub(end(before, *plant)?));
    plants.iter().filter_map(taken).sum()
}
