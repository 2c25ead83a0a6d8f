//! Frames: what goes over a producer's stream, laid out and cut out of it again.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{EventSource, RECORDS};
use takt_protocol::batch::{BatchBuilder, Compression, Verdict};
use takt_protocol::wire::{
    BatchReceipt, Frame, FrameDecoder, OutFrame, publish_frame, receipts_frame, take_batches,
    take_receipts,
};
use takt_protocol::words::{Offset, OrderSequence, PartitionNumber, Sequence, Timestamp};

/// What a packet brings of a stream, in bytes, about.
const PACKET_BYTES: usize = 1_400;

/// A frame as it arrives.
fn packets(frame: &OutFrame) -> Vec<Bytes> {
    let bytes = frame.to_bytes();
    let starts = (0..bytes.len()).step_by(PACKET_BYTES);
    starts.map(|at| bytes.slice(at..bytes.len().min(at + PACKET_BYTES))).collect()
}

fn cut(decoder: &mut FrameDecoder, packets: Vec<Bytes>) -> Frame {
    let mut whole = None;
    for packet in packets {
        decoder.push(packet);
        whole = decoder.next().expect("a good frame");
    }
    whole.expect("all of it is there")
}

fn receipt() -> BatchReceipt {
    let mut verdicts = Vec::new();
    for number in 1..=RECORDS as u64 {
        let order_sequence = Some(OrderSequence::new(number));
        Verdict::Visible { order_sequence, restarted: false }.encode(&mut verdicts);
    }
    BatchReceipt {
        first_sequence: Sequence::new(1),
        records: RECORDS,
        partition: PartitionNumber::new(0),
        base_offset: Offset::new(1_000_000),
        append_time: Timestamp::from_micros(1_760_000_000_000_000),
        verdicts: verdicts.into(),
    }
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame, batch of 1,000 events of 256 B");
    group.throughput(Throughput::Elements(RECORDS as u64));

    let mut builder = BatchBuilder::new(Compression::None);
    let batch = EventSource::default().batch(&mut builder, Sequence::new(1));
    let publish = || publish_frame([batch.clone()]).expect("a batch fits a frame");
    group.bench_function("publish, lay out", |b| b.iter(publish));
    let arriving = packets(&publish());
    let mut decoder = FrameDecoder::new();
    group.bench_function("publish, cut and take", |b| {
        b.iter_batched(
            || arriving.clone(),
            |packets| take_batches(cut(&mut decoder, packets).body).expect("a good batch"),
            BatchSize::SmallInput,
        );
    });

    let receipt = receipt();
    let mut encoded = Vec::new();
    let mut receipts = || {
        encoded.clear();
        receipt.encode(&mut encoded);
        receipts_frame(&encoded).expect("a receipt fits a frame")
    };
    group.bench_function("receipts, lay out", |b| b.iter(&mut receipts));
    let arriving = packets(&receipts());
    group.bench_function("receipts, cut, take and read", |b| {
        b.iter_batched(
            || arriving.clone(),
            |packets| {
                let taken = take_receipts(&cut(&mut decoder, packets).body);
                let taken = taken.expect("a good receipt");
                let receipts = taken.iter().flat_map(BatchReceipt::receipts);
                receipts.filter(|receipt| receipt.place.is_some()).count()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
