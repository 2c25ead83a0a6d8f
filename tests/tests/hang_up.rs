//! A node that ends says so, also where it has failed and answers nothing more.
#![allow(clippy::unwrap_used, reason = "a test")]

use quinn::ConnectionError;
use takt_broker::node::Node;
use takt_client::ErrorCode;
use takt_tests::raw::RawConnection;
use takt_tests::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_hears_that_the_node_ends() {
    let site = Site::new(&["munich"]);
    let node = Node::open(site.options("munich")).await.unwrap();
    let peer = RawConnection::dial(site.client_options("munich")).await.unwrap();
    node.hang_up().await;
    let ConnectionError::ApplicationClosed(close) = peer.closed().await else {
        panic!("it has to find out")
    };
    assert_eq!(close.error_code.into_inner(), u64::from(ErrorCode::Stopping.number()));
    node.close().await.unwrap();
}
