//! A node that ends says so, also where it has failed and answers nothing more.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use quinn::ConnectionError;
use takt_broker::node::Node;
use takt_client::ErrorCode;
use takt_tests::check::link_is;
use takt_tests::raw::{Answer, RawConnection};
use takt_tests::site::{HUB, Site};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_hears_that_the_node_ends() {
    let site = Site::new(&["munich"]);
    let node = Node::open(site.options("munich")).await.unwrap();
    let peer = RawConnection::dial(site.client_options("munich")).await.unwrap();
    // The handshake ends at the client before it ends at the node, which cannot say why it goes before.
    let mut stream = peer.stream().await.unwrap();
    stream.write(&[0; 4]).await;
    assert!(matches!(stream.next().await, Answer::Error(ErrorCode::Protocol, _)));
    node.hang_up().await;
    let ConnectionError::ApplicationClosed(close) = peer.closed().await else {
        panic!("it has to find out")
    };
    assert_eq!(close.error_code.into_inner(), u64::from(ErrorCode::Stopping.number()));
    node.close().await.unwrap();
}

/// A hub that has to find out takes half a minute for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_hears_that_its_plant_ends() {
    let site = Site::new(&["munich"]);
    let hub = Node::open(site.options(HUB)).await.unwrap();
    // Its process ends at once behind it: nothing says it later.
    let plant = site.start("munich").await;
    let at_hub = hub.client();
    link_is(&at_hub, "munich", "up").await;
    assert!(plant.stop().await.success());
    let heard = timeout(Duration::from_secs(10), link_is(&at_hub, "munich", "down")).await;
    assert!(heard.is_ok(), "the hub has to find out");
    hub.close().await.unwrap();
}
