//! The wide area network between a plant and its hub: a relay of UDP packets on loopback that can
//! be cut and made thin.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Packets that wait in a thin line before the next are dropped.
const QUEUE_PACKETS: usize = 128;
/// The largest UDP packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// A line from a local address to a hub.
#[derive(Debug)]
pub struct Wan {
    address: SocketAddr,
    line: Arc<Line>,
    relay: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Line {
    cut: AtomicBool,
    /// Bytes per second in each direction; 0 is without limit.
    bytes_per_s: AtomicU64,
}

impl Wan {
    /// Starts a line that ends at `hub`.
    ///
    /// # Errors
    /// What the system says when it gives no socket.
    pub async fn start(hub: SocketAddr) -> io::Result<Self> {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = near.local_addr()?;
        let line = Arc::new(Line::default());
        let relay = tokio::spawn(relay(near, hub, Arc::clone(&line)));
        Ok(Self { address, line, relay })
    }

    /// Where a plant dials.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through any more.
    pub fn cut(&self) {
        self.line.cut.store(true, Ordering::Relaxed);
    }

    /// Lets packets through again.
    pub fn mend(&self) {
        self.line.cut.store(false, Ordering::Relaxed);
    }

    /// Limits each direction to so many bytes a second; 0 takes the limit away.
    pub fn limit(&self, bytes_per_s: u64) {
        self.line.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Every address that sends to the near side gets a socket of its own on the far side.
async fn relay(near: Arc<UdpSocket>, hub: SocketAddr, line: Arc<Line>) {
    let mut lanes: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        let Ok((len, plant)) = near.recv_from(&mut packet).await else { continue };
        let lane = match lanes.entry(plant) {
            Entry::Occupied(lane) => lane.into_mut(),
            Entry::Vacant(vacant) => match lane(&near, plant, hub, &line).await {
                Ok(lane) => vacant.insert(lane),
                Err(error) => {
                    tracing::warn!(%error, "no socket for a line; its packet is dropped");
                    continue;
                }
            },
        };
        // A full queue drops the packet, as a router would.
        let _ = lane.try_send(Bytes::copy_from_slice(&packet[..len]));
    }
}

async fn lane(
    near: &Arc<UdpSocket>,
    plant: SocketAddr,
    hub: SocketAddr,
    line: &Arc<Line>,
) -> io::Result<mpsc::Sender<Bytes>> {
    let far = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    far.connect(hub).await?;
    let (up, up_queue) = mpsc::channel(QUEUE_PACKETS);
    let (down, down_queue) = mpsc::channel(QUEUE_PACKETS);
    let sender = Arc::clone(&far);
    tokio::spawn(pace(up_queue, Arc::clone(line), move |packet| {
        let far = Arc::clone(&sender);
        async move { far.send(&packet).await }
    }));
    let near = Arc::clone(near);
    tokio::spawn(pace(down_queue, Arc::clone(line), move |packet| {
        let near = Arc::clone(&near);
        async move { near.send_to(&packet, plant).await }
    }));
    tokio::spawn(async move {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        while !down.is_closed() {
            // While the hub is down its port answers with an error; the line outlives that.
            match far.recv(&mut packet).await {
                Ok(len) => drop(down.try_send(Bytes::copy_from_slice(&packet[..len]))),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    Ok(up)
}

/// Sends what is queued at the line's pace; what reaches a cut line is gone.
async fn pace<F>(mut queue: mpsc::Receiver<Bytes>, line: Arc<Line>, send: impl Fn(Bytes) -> F)
where
    F: Future<Output = io::Result<usize>>,
{
    let mut free_at = Instant::now();
    while let Some(packet) = queue.recv().await {
        let limit = line.bytes_per_s.load(Ordering::Relaxed);
        if let Some(micros) = (packet.len() as u64 * 1_000_000).checked_div(limit) {
            free_at = free_at.max(Instant::now()) + Duration::from_micros(micros);
            tokio::time::sleep_until(free_at).await;
        }
        if !line.cut.load(Ordering::Relaxed) {
            // An error says that the hub's port is closed just now: as good as a lost packet.
            let _ = send(packet).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_pass_both_ways_until_the_line_is_cut() {
        let hub = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let wan = Wan::start(hub.local_addr().unwrap()).await.unwrap();
        let plant = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut packet = [0; 16];
        plant.send_to(b"up", wan.address()).await.unwrap();
        let (len, from) = hub.recv_from(&mut packet).await.unwrap();
        assert_eq!(&packet[..len], b"up");
        wan.cut();
        plant.send_to(b"lost", wan.address()).await.unwrap();
        wan.limit(1_000_000);
        hub.send_to(b"lost too", from).await.unwrap();
        // The packets behind the cut come first if the cut ones were let through.
        tokio::time::sleep(Duration::from_millis(50)).await;
        wan.mend();
        plant.send_to(b"again", wan.address()).await.unwrap();
        hub.send_to(b"down", from).await.unwrap();
        let (len, _) = hub.recv_from(&mut packet).await.unwrap();
        assert_eq!(&packet[..len], b"again");
        let (len, _) = plant.recv_from(&mut packet).await.unwrap();
        assert_eq!(&packet[..len], b"down");
    }
}
