//! How much a QUIC connection may hold and how long it may be silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// A connection without any packet for this long is dead.
const IDLE: Duration = Duration::from_secs(30);
/// The dialing side says something at least this often. A node that was restarted answers to that
/// only, where the dialing side has nothing else to say: so long may a producer that waits for a
/// receipt take to notice.
const KEEP_ALIVE_LOCAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_LINK: Duration = Duration::from_secs(10);
/// The smallest datagram that QUIC allows, where each path begins.
const MTU_BYTES_MIN: u16 = 1_200;
/// The largest datagram that is tried: it fits Ethernet with room for a tunnel.
const MTU_BYTES_MAX: u16 = 1_452;
/// The same where both ends are on one machine: a datagram costs much, however short it is. Ten of
/// them, which are sent at once, must fit the longest one of UDP.
pub(super) const MTU_BYTES_LOOPBACK: u16 = 6_400;

const MIB: u32 = 1 << 20;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Producers, consumers and operators of one node, close to it. Windows are small, so that
    /// 100 slow readers cost a node less than 64 MiB.
    LocalClient,
    /// A plant and the hub, over a WAN: windows hold 16 MiB (100 Mbit/s at 1.3 s), and a server
    /// lets its peer change its address, as behind NAT.
    Link,
}

/// Which end of the connection is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialing,
    Listening,
}

impl Transport {
    /// Bidirectional streams that the peer may have open.
    fn streams_max(self) -> u8 {
        match self {
            Self::LocalClient => 32,
            Self::Link => 16,
        }
    }

    /// Bytes that the peer may send ahead on one stream, and on the connection.
    fn receive_windows(self) -> (u32, u32) {
        match self {
            Self::LocalClient => (MIB, 8 * MIB),
            Self::Link => (16 * MIB, 16 * MIB),
        }
    }

    /// Bytes that this side keeps until the peer has acknowledged them. A listening node keeps
    /// little for each, at the hub too: its readers may be many and slow, and what it says on a
    /// link is acknowledgements.
    fn send_window(self, side: Side) -> u32 {
        match (self, side) {
            (Self::LocalClient, Side::Listening) => MIB / 2,
            (Self::Link, Side::Listening) => MIB,
            (Self::LocalClient, Side::Dialing) => 8 * MIB,
            (Self::Link, Side::Dialing) => 16 * MIB,
        }
    }

    /// How often the dialing side says something.
    fn keep_alive(self) -> Duration {
        match self {
            Self::LocalClient => KEEP_ALIVE_LOCAL,
            Self::Link => KEEP_ALIVE_LINK,
        }
    }

    /// Whether a server accepts that its peer's address changes.
    pub(super) fn migration(self) -> bool {
        match self {
            Self::LocalClient => false,
            Self::Link => true,
        }
    }

    /// The configuration of a connection that is dialled to anywhere.
    pub(super) fn dialing(self) -> Arc<TransportConfig> {
        self.config(Side::Dialing, MTU_BYTES_MAX)
    }

    /// The configuration of a connection that is dialled to `peer`.
    pub fn towards(self, peer: SocketAddr) -> Arc<TransportConfig> {
        if peer.ip().is_loopback() {
            self.config(Side::Dialing, MTU_BYTES_LOOPBACK)
        } else {
            self.dialing()
        }
    }

    /// The configuration of all connections of a listening side. Their peers say how much they
    /// take: those on the same machine more.
    pub(super) fn listening(self) -> Arc<TransportConfig> {
        self.config(Side::Listening, MTU_BYTES_LOOPBACK)
    }

    fn config(self, side: Side, mtu_bytes_max: u16) -> Arc<TransportConfig> {
        let (stream, connection) = self.receive_windows();
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(mtu_bytes_max);
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(VarInt::from(self.streams_max()))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(stream))
            .receive_window(VarInt::from_u32(connection))
            .send_window(u64::from(self.send_window(side)))
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(Some(idle()))
            .keep_alive_interval((side == Side::Dialing).then_some(self.keep_alive()))
            .min_mtu(MTU_BYTES_MIN)
            .initial_mtu(MTU_BYTES_MIN)
            .mtu_discovery_config(Some(discovery));
        Arc::new(config)
    }
}

fn idle() -> IdleTimeout {
    IdleTimeout::try_from(IDLE).expect("30 s is far below the largest idle timeout")
}

const _: () = assert!(MTU_BYTES_LOOPBACK as usize * 10 < 65_507, "ten datagrams fit the longest");
const _: () = assert!(KEEP_ALIVE_LINK.as_secs() * 2 < IDLE.as_secs(), "two may be lost");
