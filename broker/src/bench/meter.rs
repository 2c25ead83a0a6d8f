//! What a stretch of a measurement takes of the machine.

use std::time::Duration;

use takt_client::Client;

use super::BenchError;
use super::report::per;
use super::target::Target;

/// Where a stretch begins.
#[derive(Debug)]
pub(super) struct Meter {
    disk: DiskUse,
    client: Duration,
    broker: Option<Duration>,
}

/// What it took.
#[derive(Debug)]
pub(super) struct Spent {
    /// At the disk seam of the node, files and directory.
    pub syncs: u64,
    pub disk_bytes_written: u64,
    /// Of this process; with an embedded node that is all of it.
    pub client_cpu_s: f64,
    /// Of the node's process, where it is another one.
    pub broker_cpu_s: Option<f64>,
}

impl Meter {
    pub async fn start(target: &Target) -> Result<Self, BenchError> {
        let disk = DiskUse::read(&target.client).await?;
        let (client, broker) = target.cpu()?;
        Ok(Self { disk, client, broker })
    }

    pub async fn stop(self, target: &Target) -> Result<Spent, BenchError> {
        let (client, broker) = target.cpu()?;
        let disk = DiskUse::read(&target.client).await?;
        let broker = broker.zip(self.broker).map(|(after, before)| after.saturating_sub(before));
        Ok(Spent {
            syncs: disk.syncs - self.disk.syncs,
            disk_bytes_written: disk.bytes_written - self.disk.bytes_written,
            client_cpu_s: cpu_s(client.saturating_sub(self.client)),
            broker_cpu_s: broker.map(cpu_s),
        })
    }
}

#[derive(Debug)]
struct DiskUse {
    syncs: u64,
    bytes_written: u64,
}

impl DiskUse {
    async fn read(client: &Client) -> Result<Self, BenchError> {
        let counters = client.admin().status().await?.counters;
        let counter = |name: &str| counters.get(name).copied().unwrap_or(0);
        Ok(Self { syncs: counter("syncs"), bytes_written: counter("disk_bytes_written") })
    }
}

/// In seconds, without digits that were not measured.
fn cpu_s(time: Duration) -> f64 {
    per(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), 1_000.0)
}
