//! A network below QUIC: a relay of datagrams on loopback that loses, doubles and reorders them, and
//! that can be cut.
//!
//! The demonstration's line ([`takt_broker::demo::wan::Wan`]) is thin or cut and otherwise good;
//! this one is bad in all the ways in which UDP may be, by a seed. What it did is counted, so that a
//! test can tell that it has happened.

mod way;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

pub use way::{Counts, Noise};

use way::{Conditions, Way};

/// The largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From who has dialled to the node.
    ToNode,
    /// Back.
    FromNode,
}

impl Direction {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::ToNode, Self::FromNode];
}

/// A relay to one node; each address that dials it has a line of its own. It ends when it is
/// dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    roads: Arc<Roads>,
    relay: JoinHandle<()>,
}

/// What all lines share, for each direction.
#[derive(Debug, Default)]
struct Roads {
    to_node: Mutex<Road>,
    from_node: Mutex<Road>,
}

#[derive(Debug, Default)]
struct Road {
    conditions: Conditions,
    counts: Counts,
}

impl Roads {
    fn lock(&self, direction: Direction) -> MutexGuard<'_, Road> {
        let road = match direction {
            Direction::ToNode => &self.to_node,
            Direction::FromNode => &self.from_node,
        };
        road.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, direction: Direction, way: &mut Way, datagram: Bytes) {
        let road = &mut *self.lock(direction);
        way.take(Instant::now(), datagram, road.conditions, &mut road.counts);
    }

    fn leave(&self, direction: Direction, way: &mut Way) -> Vec<Bytes> {
        let road = &mut *self.lock(direction);
        way.leave(Instant::now(), road.conditions, &mut road.counts)
    }
}

impl Proxy {
    /// Starts a relay to `node`, without noise.
    ///
    /// # Errors
    /// What the system says when it gives no socket.
    pub async fn start(node: SocketAddr, seed: u64) -> io::Result<Self> {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = near.local_addr()?;
        let roads = Arc::new(Roads::default());
        let relay = tokio::spawn(relay(near, node, seed, Arc::clone(&roads)));
        Ok(Self { address, roads, relay })
    }

    /// Where to dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what happens to datagrams of a direction from now on.
    pub fn set(&self, direction: Direction, noise: Noise) {
        self.roads.lock(direction).conditions.noise = noise;
    }

    /// Lets nothing through in a direction any more; what is on its way is gone.
    pub fn cut(&self, direction: Direction) {
        self.roads.lock(direction).conditions.cut = true;
    }

    /// Lets datagrams through again, with the noise that was set.
    pub fn mend(&self, direction: Direction) {
        self.roads.lock(direction).conditions.cut = false;
    }

    /// What has happened in a direction, on all lines.
    pub fn counts(&self, direction: Direction) -> Counts {
        self.roads.lock(direction).counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Sorts what comes from those who dial into their lines, which end with it.
async fn relay(near: Arc<UdpSocket>, node: SocketAddr, seed: u64, roads: Arc<Roads>) {
    let mut lines: BTreeMap<SocketAddr, mpsc::UnboundedSender<Bytes>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is about a datagram that was sent before: as good as lost.
        let Ok((len, address)) = near.recv_from(&mut buffer).await else { continue };
        let seed = seed.wrapping_add(lines.len() as u64).rotate_left(16);
        let sent = lines.entry(address).or_insert_with(|| {
            let (sent, received) = mpsc::unbounded_channel();
            let dialler = Dialler { near: Arc::clone(&near), address, received };
            tasks.spawn(carry(dialler, node, seed, Arc::clone(&roads)));
            sent
        });
        sent.send(Bytes::copy_from_slice(&buffer[..len])).expect("its line lives");
    }
}

/// The near end of a line.
struct Dialler {
    near: Arc<UdpSocket>,
    address: SocketAddr,
    received: mpsc::UnboundedReceiver<Bytes>,
}

/// One line: carries datagrams both ways between one who has dialled and the node.
async fn carry(mut dialler: Dialler, node: SocketAddr, seed: u64, roads: Arc<Roads>) {
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("the system has a port");
    far.connect(node).await.expect("loopback has a way to the node");
    let (mut there, mut back) = (Way::new(seed), Way::new(!seed));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let due = [there.next_due(), back.next_due()].into_iter().flatten().min();
        tokio::select! {
            received = dialler.received.recv() => {
                let Some(datagram) = received else { return };
                roads.take(Direction::ToNode, &mut there, datagram);
            }
            // While the node is down its port answers with an error.
            received = far.recv(&mut buffer) => if let Ok(len) = received {
                let datagram = Bytes::copy_from_slice(&buffer[..len]);
                roads.take(Direction::FromNode, &mut back, datagram);
            },
            () = until(due) => {}
        }
        // An error of a send says that the other end is closed just now: as good as lost.
        for datagram in roads.leave(Direction::ToNode, &mut there) {
            let _ = far.send(&datagram).await;
        }
        for datagram in roads.leave(Direction::FromNode, &mut back) {
            let _ = dialler.near.send_to(&datagram, dialler.address).await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::within;

    async fn socket() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
    }

    async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 16];
        let (len, from) = within("a datagram", socket.recv_from(&mut buffer)).await.unwrap();
        (buffer[..len].to_vec(), from)
    }

    #[tokio::test]
    async fn who_dials_gets_his_own_answers_while_the_way_back_is_open() {
        let node = socket().await;
        let proxy = Proxy::start(node.local_addr().unwrap(), 1).await.unwrap();
        let (one, other) = (socket().await, socket().await);
        one.send_to(b"one", proxy.address()).await.unwrap();
        let (received, to_one) = receive(&node).await;
        assert_eq!(received, b"one");
        other.send_to(b"other", proxy.address()).await.unwrap();
        let (received, to_other) = receive(&node).await;
        assert_eq!(received, b"other");
        node.send_to(b"for the other", to_other).await.unwrap();
        node.send_to(b"for one", to_one).await.unwrap();
        assert_eq!(receive(&one).await.0, b"for one");
        assert_eq!(receive(&other).await.0, b"for the other");

        proxy.cut(Direction::FromNode);
        node.send_to(b"lost", to_one).await.unwrap();
        crate::eventually("a cut", async || {
            let cut = proxy.counts(Direction::FromNode).cut;
            if cut == 1 { Ok(()) } else { Err(cut) }
        })
        .await;
        one.send_to(b"there", proxy.address()).await.unwrap();
        assert_eq!(receive(&node).await.0, b"there");
        proxy.mend(Direction::FromNode);
        node.send_to(b"back", to_one).await.unwrap();
        assert_eq!(receive(&one).await.0, b"back");
    }
}
