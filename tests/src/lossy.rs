//! A plant and its hub where every datagram goes through a bad network: between the producer and the
//! plant, between the plant and the hub, and between the hub and its consumer.

use takt_client::{Client, ClientOptions, Consumer, Producer};

use crate::check::link_is;
use crate::eventually;
use crate::process::Process;
use crate::site::{HUB, Site, TOPIC};
use crate::udp::{Direction, Noise, Proxy};

/// The plant of the site.
pub const PLANT: &str = "munich";

/// How many of a hundred datagrams come twice, beside the loss.
const DOUBLED: u64 = 5;
/// How many are held back, and how many are late.
const REORDERED: u64 = 5;
/// Records of a batch: one arrives as a whole, and at 30 % a large one takes half a minute.
const BATCH_RECORDS: usize = 50;

/// Running nodes, and the lines between them.
#[derive(Debug)]
pub struct LossySite {
    /// Where they run. Its own clients reach them without loss, to look at them.
    pub site: Site,
    /// From the producer to the plant.
    pub shop: Proxy,
    /// From the plant to the hub.
    pub wan: Proxy,
    /// From the consumer to the hub.
    pub office: Proxy,
    plant: Process,
    hub: Process,
}

impl LossySite {
    /// Starts both nodes and waits until they are linked. `lost` of a hundred datagrams are lost, on
    /// each line and each way, some come twice and some out of order.
    ///
    /// # Panics
    /// If a node does not start, or the link does not come up.
    pub async fn start(lost: u64, seed: u64) -> Self {
        let mut site = Site::new(&[PLANT]);
        let shop = line(&site, PLANT, lost, seed).await;
        let wan = line(&site, HUB, lost, seed ^ 1).await;
        let office = line(&site, HUB, lost, seed ^ 2).await;
        site.set(PLANT, "upstream.address", &wan.address().to_string());
        let (hub, plant) = (site.start(HUB).await, site.start(PLANT).await);
        link_is(&site.operator(PLANT).await, HUB, "up").await;
        let at_hub = site.client(HUB).await;
        eventually("the topic at the hub", async || at_hub.admin().topic_info(TOPIC).await).await;
        Self { site, shop, wan, office, plant, hub }
    }

    /// A producer at the plant, which reaches it through the bad network.
    ///
    /// # Panics
    /// If the name does not hold.
    pub fn producer(&self, name: &str) -> Producer {
        let client = self.client(PLANT, &self.shop);
        let producer = client.producer(TOPIC).name(name).batch_records(BATCH_RECORDS);
        producer.build().expect("a name that holds")
    }

    /// A consumer at the hub, from the topic's start, which reaches it through the bad network.
    ///
    /// # Panics
    /// If there is no such topic.
    pub fn consumer(&self) -> Consumer {
        self.client(HUB, &self.office).consumer(TOPIC).build().expect("a name that holds")
    }

    /// The three lines, with their names.
    pub fn lines(&self) -> [(&'static str, &Proxy); 3] {
        [("shop", &self.shop), ("wan", &self.wan), ("office", &self.office)]
    }

    /// Stops both nodes.
    ///
    /// # Panics
    /// If one does not end well.
    pub async fn stop(self) {
        assert!(self.plant.stop().await.success() && self.hub.stop().await.success());
    }

    /// It is not connected yet: one attempt alone may well be lost.
    fn client(&self, node: &str, line: &Proxy) -> Client {
        let address = line.address().to_string();
        let options = ClientOptions { address, ..self.site.client_options(node) };
        Client::lazy(options).expect("its certificates hold")
    }
}

/// The noise of a line that loses so many of a hundred datagrams.
pub const fn noise(lost: u64) -> Noise {
    Noise { lost, doubled: DOUBLED, held: REORDERED, late: REORDERED }
}

async fn line(site: &Site, node: &str, lost: u64, seed: u64) -> Proxy {
    let line = Proxy::start(site.address(node), seed).await.expect("loopback has a port");
    for direction in Direction::BOTH {
        line.set(direction, noise(lost));
    }
    line
}
