use bytes::Bytes;
use takt_protocol::wire::{FrameKind, OutFrame};

use super::{FrameStream, PipeClosed, TransportError, pipe};
use crate::tls::{Identity, TrustDomain};

fn frame(body: &[u8]) -> OutFrame {
    OutFrame::new(FrameKind::Publish, &[], [Bytes::copy_from_slice(body)]).unwrap()
}

async fn pair() -> (FrameStream, FrameStream) {
    let identity = Identity::operator(&TrustDomain::default(), "ada").unwrap();
    let (connector, mut listener) = pipe(identity);
    let near = connector.open().await.unwrap();
    (near, listener.accept().await.unwrap())
}

#[tokio::test]
async fn what_is_sent_arrives_and_then_the_end() {
    let (mut near, mut far) = pair().await;
    near.send.send(frame(b"one")).await.unwrap();
    near.send.send(frame(&[7; 5_000])).await.unwrap();
    near.send.finish();
    assert_eq!(&far.recv.recv().await.unwrap().unwrap().body.to_bytes()[..], b"one");
    assert_eq!(far.recv.recv().await.unwrap().unwrap().body.len(), 5_000);
    assert!(far.recv.recv().await.unwrap().is_none());
    assert!(matches!(near.send.send(frame(b"late")).await, Err(TransportError::Lost { .. })));
}

#[tokio::test]
async fn an_end_within_a_frame_is_a_cut() {
    let (mut near, mut far) = pair().await;
    let mut whole = frame(b"one");
    whole.parts.truncate(1);
    near.send.send(whole).await.unwrap();
    drop(near);
    assert_eq!(far.recv.recv().await.unwrap_err(), TransportError::Cut);
    assert!(matches!(far.send.send(frame(b"a")).await, Err(TransportError::Lost { .. })));
}

#[tokio::test]
async fn a_flush_that_was_dropped_goes_on_where_it_was() {
    let (mut near, mut far) = pair().await;
    for i in 0..200_u8 {
        near.send.queue(frame(&[i; 300]));
    }
    tokio::select! {
        biased;
        _ = near.send.flush() => panic!("the pipe holds fewer slices than that"),
        () = tokio::task::yield_now() => {}
    }
    assert!(near.send.has_queued());
    let reading = tokio::spawn(async move {
        for i in 0..200_u8 {
            assert_eq!(far.recv.recv().await.unwrap().unwrap().body.to_bytes(), vec![i; 300]);
        }
    });
    near.send.flush().await.unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_gone_is_said_to_be() {
    let identity = Identity::operator(&TrustDomain::default(), "ada").unwrap();
    let (connector, listener) = pipe(identity);
    drop(listener);
    assert_eq!(connector.open().await.unwrap_err(), PipeClosed);
}
