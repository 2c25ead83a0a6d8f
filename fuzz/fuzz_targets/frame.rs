//! A peer's bytes as a stream, cut at a place of its choice: every session's server half and the
//! bodies of all frames take or refuse them.
#![no_main]

use std::time::Instant;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::mirror::{MirrorTarget, MirrorTargetEvent};
use takt_protocol::session::producer::{
    ProducerOpened, ProducerRequest, ProducerServer, ServerLimits,
};
use takt_protocol::session::subscriber::{SubscriberOpened, SubscriberRequest, SubscriberServer};
use takt_protocol::session::{Refusal, admin::AdminServer};
use takt_protocol::wire::{
    Frame, FrameDecoder, decode_control, take_batches, take_deliver, take_mirror, take_receipts,
};
use takt_protocol::words::{Epoch, Sequence};

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let stream = Bytes::copy_from_slice(stream);
    let cut = usize::from(*cut) * stream.len() / 256;
    let (mut whole, mut parts) = (FrameDecoder::new(), FrameDecoder::new());
    whole.push(stream.clone());
    let first = frames(&mut whole);
    parts.push(stream.slice(..cut));
    let mut second = frames(&mut parts);
    parts.push(stream.slice(cut..));
    second.extend(frames(&mut parts));
    assert_eq!(first.len(), second.len(), "a cut changes nothing");
    for frame in &first {
        let _ = decode_control(frame.clone());
        let _ = take_batches(frame.body.clone());
        let _ = take_deliver(frame.body.clone());
        let _ = take_mirror(frame.body.clone());
        for receipt in take_receipts(&frame.body).unwrap_or_default() {
            assert_eq!(receipt.receipts().count(), receipt.records);
        }
    }
    sessions(&second);
});

fn frames(decoder: &mut FrameDecoder) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.next().ok().flatten()).collect()
}

fn sessions(frames: &[Frame]) {
    let now = Instant::now();
    let mut producer = ProducerServer::new("spiffe://t/p".into(), ServerLimits::default());
    let mut subscriber = SubscriberServer::new();
    let mut mirror = MirrorTarget::new(1 << 20);
    let mut admin = AdminServer::new();
    for frame in frames {
        let _ = producer.handle_frame(now, frame.clone());
        while let Some(request) = producer.poll_event() {
            match request {
                ProducerRequest::Open { producer: id, .. } => {
                    producer.on_opened(Ok(ProducerOpened {
                        producer: id,
                        epoch: Epoch::new(1),
                        last_sequence: Sequence::new(0),
                        partitions: 1,
                        kept: Vec::new(),
                    }));
                }
                ProducerRequest::Submit { ticket, batch } => {
                    let first = batch.header().first_sequence;
                    let refusal = Refusal::resend(ErrorCode::Full, "full", first);
                    producer.on_judged(ticket, Err(refusal));
                }
            }
        }
        let _ = subscriber.handle_frame(now, frame.clone());
        while let Some(request) = subscriber.poll_event() {
            match request {
                SubscriberRequest::Open(_) => subscriber.on_opened(Ok(SubscriberOpened {
                    topic_partitions: 1,
                    partitions: Vec::new(),
                })),
                SubscriberRequest::Commit { token, .. } => subscriber.on_committed(token, Ok(())),
            }
        }
        let _ = mirror.handle_frame(now, frame.clone());
        while let Some(event) = mirror.poll_event() {
            match event {
                MirrorTargetEvent::Open { .. } => mirror.on_opened(Ok(Vec::new())),
                MirrorTargetEvent::Batch { ticket, batch, .. } => {
                    mirror.on_stored(ticket, Ok(batch.header().batch_number.advance(1)));
                }
                MirrorTargetEvent::Started(_) | MirrorTargetEvent::Diverged(_) => {}
            }
        }
        let _ = admin.handle_frame(now, frame.clone());
        while let Some((id, _)) = admin.poll_event() {
            admin.on_answered(id, Err(Refusal::new(ErrorCode::NotFound, "nothing")));
        }
        while producer.poll_transmit().is_some() {}
        while subscriber.poll_transmit().is_some() {}
        while mirror.poll_transmit().is_some() {}
        while admin.poll_transmit().is_some() {}
    }
}
