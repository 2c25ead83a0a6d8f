//! What is on the wire and on disk, byte for byte. A change here breaks every node and every
//! client that exists: it needs a new version, not a new literal.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

#[macro_use]
mod variants;
mod admin;
#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use takt_protocol::batch::{BatchBuilder, Compression, Place, Verdict};
use takt_protocol::codes::ErrorCode;
use takt_protocol::event::{Attribute, DedupKeys, Event, Value};
use takt_protocol::hashing::{DigestFields, DigestHasher, route};
use takt_protocol::session::admin::AdminAsk;
use takt_protocol::session::mirror::{
    ChainPoint, MirrorEnd, MirrorOrigin, MirrorTarget, MirrorTargetEvent, MirrorTopic,
};
use takt_protocol::session::producer::{ProducerClient, ProducerConfig};
use takt_protocol::session::subscriber::{Start, SubscriberClient, Subscription};
use takt_protocol::session::{Refusal, refusal_frame};
use takt_protocol::wire::proto::subscribe::Start as Begin;
use takt_protocol::wire::{
    BatchReceipt, ControlBody, FrameDecoder, MirrorHead, OutFrame, decode_control, deliver_frame,
    encode_control, mirror_frame, proto, publish_frame, receipts_frame,
};
use takt_protocol::words::{
    BatchNumber, CursorName, JournalId, NodeName, Offset, OrderKey, OrderSequence, PartitionChain,
    PartitionId, PartitionNumber, Sequence, Timestamp, TopicName,
};

use common::{Partition, start, visible};

fn full_event() -> Event {
    Event {
        dedup: DedupKeys::Two(Bytes::from("k1"), Bytes::from("k2")),
        content_type: Some("application/json".into()),
        attributes: vec![
            Attribute::text("subject", "op-10"),
            Attribute { name: "sequence".into(), value: Value::Integer(-2) },
            Attribute { name: "backfill".into(), value: Value::Boolean(true) },
            Attribute { name: "own".into(), value: Value::Binary(Bytes::from_static(&[0, 255])) },
        ],
        ..common::event("1")
    }
}

fn batch(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    builder.push(&full_event()).unwrap();
    let data = Bytes::from("0123456789".repeat(6));
    builder.push(&Event { order_key: None, time: None, data, ..common::event("2") }).unwrap();
    builder.finish(PartitionNumber::new(0), Sequence::new(5)).unwrap()
}

fn receipt() -> BatchReceipt {
    BatchReceipt {
        first_sequence: Sequence::new(300),
        records: 2,
        partition: PartitionNumber::new(1),
        base_offset: Offset::new(7),
        append_time: Timestamp::from_micros(1_700_000_000_000_000),
        verdicts: visible(2, 9).into(),
    }
}

fn verdicts() -> Vec<u8> {
    let place = Place { partition: PartitionNumber::new(2), offset: Offset::new(300) };
    let sequence = OrderSequence::new(200);
    let order_sequence = Some(sequence);
    let mut out = Vec::new();
    for verdict in [
        Verdict::Visible { order_sequence: None, restarted: false },
        Verdict::Visible { order_sequence, restarted: false },
        Verdict::Visible { order_sequence, restarted: true },
        Verdict::Duplicate { of: place, order_sequence: None },
        Verdict::Duplicate { of: place, order_sequence },
        Verdict::Conflict { with: place, listed: true },
        Verdict::Conflict { with: place, listed: false },
        Verdict::PreconditionFailed { at: sequence },
    ] {
        verdict.encode(&mut out);
    }
    out
}

fn digest(fields: DigestFields<'_>, data: &[u8]) -> Vec<u8> {
    DigestHasher::default().digest(&fields, [data]).as_bytes().to_vec()
}

fn routes() -> Vec<u8> {
    let number = |key: &str, of: u16| route(Some(&OrderKey::new(key).unwrap()), of).get();
    ["PO-4711", "PO-4712", "a", "Straße 7"]
        .iter()
        .flat_map(|key| [number(key, 1), number(key, 7), number(key, 64), number(key, 1_024)])
        .chain([route(None, 64).get()])
        .flat_map(u16::to_be_bytes)
        .collect()
}

fn sent(mut next: impl FnMut() -> Option<OutFrame>) -> Vec<u8> {
    std::iter::from_fn(&mut next).flat_map(|frame| frame.to_bytes().to_vec()).collect()
}

fn control(body: ControlBody) -> Vec<u8> {
    encode_control(body).unwrap().to_bytes().to_vec()
}

fn subscribe(start: Begin) -> Vec<u8> {
    control(ControlBody::Subscribe(proto::Subscribe {
        topic: "production".into(),
        cursor: "erp".into(),
        hold: Some(true),
        credit_bytes: 300,
        origin: "lyon".into(),
        start: Some(start),
    }))
}

fn producer_opens() -> Vec<u8> {
    let mut client = ProducerClient::new(ProducerConfig {
        topic: TopicName::new("production").unwrap(),
        name: "mes-7".into(),
        transient: true,
        in_flight_bytes_max: 1,
    });
    client.on_connected(start());
    sent(|| client.poll_transmit())
}

fn subscriber_opens() -> Vec<u8> {
    let topic = TopicName::new("production").unwrap();
    let origin = NodeName::new("lyon").unwrap();
    let number = PartitionNumber::new(3);
    let partition = PartitionId { origin: origin.clone(), topic: topic.clone(), number };
    let mut client = SubscriberClient::new(Subscription {
        topic,
        start: Start::Offsets(vec![(partition, Offset::new(300))]),
        cursor: Some(CursorName::new("erp").unwrap()),
        hold: Some(true),
        credit_bytes: 1 << 20,
        origin: Some(origin),
    });
    client.on_connected(start());
    sent(|| client.poll_transmit())
}

fn mirror_talks() -> (Vec<u8>, Vec<u8>) {
    let now = start();
    let settings = proto::TopicSettings {
        partitions: 1,
        dedup: true,
        horizon_s: 34_560_000,
        on_conflict: proto::OnConflict::Refuse.into(),
        retention_ms: 1,
        retention_bytes: 2,
        lane: 3,
        compact: false,
    };
    let topic = MirrorTopic { name: TopicName::new("production").unwrap(), settings };
    let journal = JournalId::new([7; 16]);
    let mut origin = MirrorOrigin::new(NodeName::new("munich").unwrap(), journal, vec![topic]);
    let mut target = MirrorTarget::new(1 << 20);
    origin.on_connected(now);
    let opens = sent(|| origin.poll_transmit());
    let mut decoder = FrameDecoder::new();
    decoder.push(opens.clone().into());
    decoder.next().unwrap().unwrap();
    target.handle_frame(now, decoder.next().unwrap().unwrap()).unwrap();
    assert!(matches!(target.poll_event(), Some(MirrorTargetEvent::Open { .. })));
    let next_batch = BatchNumber::new(300);
    let end = Some(ChainPoint { journal, next_batch, chain: PartitionChain::new([9; 16]) });
    target.on_opened(Ok(vec![MirrorEnd { topic: 0, partition: PartitionNumber::new(0), end }]));
    (opens, sent(|| target.poll_transmit()))
}

/// Everything, by name.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    let plain = batch(Compression::None);
    let mut partition = Partition::default();
    let first = partition.store(&plain);
    let second = partition.store(&common::batch(7, 1));
    let pieces = || second.pieces().cloned();
    let mut encoded = Vec::new();
    receipt().encode(&mut encoded);
    let head = MirrorHead { topic: 258, partition: PartitionNumber::new(3) };
    let full = Refusal::resend(ErrorCode::Full, "no room", Sequence::new(300));
    let position = proto::PartitionPosition { origin: "lyon".into(), number: 3, offset: 300 };
    let slot = proto::SlotPosition { slot: 1, position: Some(position.clone()) };
    let kept = proto::KeptReceipt { receipt: encoded.clone().into(), crc: 0x0102_0304 };
    let ack = proto::PartitionAck { topic: 1, partition: 2, batch_end: 300 };
    let none = DigestFields { order_key: None, kind: b"t", content_type: None, time: None };
    let some = DigestFields {
        order_key: Some(b"PO-4711"),
        kind: b"mfg.operation.confirmed.v1",
        content_type: Some(b"application/json"),
        time: Some(Timestamp::from_micros(-1)),
    };
    let (mirror_open, mirror_opened) = mirror_talks();
    let compacted = |batch: &takt_protocol::batch::StoredBatch| {
        let builder = &mut BatchBuilder::default();
        batch.compact(builder, |found| found.index == 0).unwrap().unwrap()
    };
    let stored = |stored: &takt_protocol::batch::StoredBatch| {
        stored.pieces().flatten().copied().collect::<Vec<u8>>()
    };
    vec![
        ("batch", plain.to_vec()),
        ("verdicts", verdicts()),
        ("stored batch", stored(&first)),
        ("stored batch behind it", stored(&second)),
        ("compacted batch", compacted(&first).to_vec()),
        ("digest, least", digest(none, b"")),
        ("digest, all", digest(some, b"{}")),
        ("routes", routes()),
        ("receipt", encoded.clone()),
        ("publish", publish_frame([common::batch(7, 1)]).unwrap().to_bytes().to_vec()),
        ("receipts", receipts_frame(&encoded).unwrap().to_bytes().to_vec()),
        ("deliver", deliver_frame(258, pieces()).unwrap().to_bytes().to_vec()),
        ("mirror", mirror_frame(head, pieces()).unwrap().to_bytes().to_vec()),
        ("producer opens", producer_opens()),
        ("subscriber opens", subscriber_opens()),
        ("mirror opens", mirror_open),
        ("mirror opened", mirror_opened),
        ("error", refusal_frame(full).to_bytes().to_vec()),
        ("credit", control(ControlBody::Credit(proto::Credit { bytes: 300 }))),
        (
            "producer opened",
            control(ControlBody::ProducerOpened(proto::ProducerOpened {
                producer_id: "p#m".into(),
                epoch: 3,
                last_sequence: 300,
                partitions: 4,
                kept: vec![kept],
                more: true,
            })),
        ),
        (
            "subscribed",
            control(ControlBody::Subscribed(proto::Subscribed {
                topic_partitions: 4,
                partitions: vec![slot.clone()],
                more: true,
            })),
        ),
        (
            "partition added",
            control(ControlBody::PartitionAdded(proto::PartitionAdded { partition: Some(slot) })),
        ),
        (
            "commit",
            control(ControlBody::CommitCursor(proto::CommitCursor {
                token: 5,
                positions: vec![position],
            })),
        ),
        (
            "committed",
            control(ControlBody::CursorCommitted(proto::CursorCommitted { token: 5, error: None })),
        ),
        ("trimmed", control(ControlBody::Trimmed(proto::Trimmed { slot: 1, offset: 300 }))),
        (
            "mirror start",
            control(ControlBody::MirrorStart(proto::MirrorStart { starts: vec![], more: false })),
        ),
        (
            "mirror ack",
            control(ControlBody::MirrorAck(proto::MirrorAck {
                acks: vec![ack],
                hub_journal_id: Bytes::new(),
                hub_position: 6,
                hub_chain: Bytes::new(),
            })),
        ),
        ("diverged", control(ControlBody::Diverged(proto::Diverged { detail: "d".into() }))),
        (
            "mirror start, all",
            control(ControlBody::MirrorStart(proto::MirrorStart {
                starts: vec![proto::MirrorEnd {
                    topic: 1,
                    partition: 2,
                    end: Some(proto::ChainPoint {
                        journal_id: vec![7; 16].into(),
                        next_batch: 300,
                        chain: vec![9; 16].into(),
                    }),
                }],
                more: true,
            })),
        ),
        (
            "mirror ack, all",
            control(ControlBody::MirrorAck(proto::MirrorAck {
                acks: vec![ack],
                hub_journal_id: vec![7; 16].into(),
                hub_position: 6,
                hub_chain: vec![9; 16].into(),
            })),
        ),
        (
            "mirror opened, all",
            control(ControlBody::MirrorOpened(proto::MirrorOpened {
                ends: vec![proto::MirrorEnd { topic: 1, partition: 2, end: None }],
                credit_bytes: 300,
                more: true,
            })),
        ),
        (
            "mirror open, all",
            control(ControlBody::MirrorOpen(proto::MirrorOpen {
                origin: "lyon".into(),
                journal_id: vec![7; 16].into(),
                topics: vec![proto::MirrorTopic {
                    name: "production".into(),
                    settings: Some(admin::settings()),
                }],
                more: true,
            })),
        ),
        (
            "committed, all",
            control(ControlBody::CursorCommitted(proto::CursorCommitted {
                token: 5,
                error: Some(proto::Error {
                    code: 14,
                    detail: "d".into(),
                    expected_sequence: Some(300),
                    batch_sequence: Some(301),
                }),
            })),
        ),
        ("from the start", subscribe(Begin::Earliest(proto::Unit {}))),
        ("from the end", subscribe(Begin::Latest(proto::Unit {}))),
        ("from a time", subscribe(Begin::TimeUs(-2))),
        ("from the cursor", subscribe(Begin::AtCursor(proto::Unit {}))),
    ]
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn bytes_of(golden: &str) -> Bytes {
    let digits: Vec<u8> = golden.bytes().filter(|digit| *digit != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect::<Vec<u8>>().into()
}

#[test]
fn every_form_is_what_it_was() {
    for (all, goldens) in [(all(), GOLDEN), (admin::all(), admin::GOLDEN)] {
        for ((name, bytes), (golden_name, golden)) in all.iter().zip(goldens) {
            assert_eq!(name, golden_name);
            assert_eq!(hex(bytes), golden.replace(' ', ""), "{name}");
        }
        assert_eq!(all.len(), goldens.len());
    }
}

variants!(bodies of takt_protocol::wire::ControlBody:
    Hello Error Credit OpenProducer ProducerOpened Subscribe Subscribed PartitionAdded CommitCursor
    CursorCommitted Trimmed MirrorOpen MirrorOpened MirrorStart MirrorAck Diverged AdminRequest
    AdminResponse);
variants!(asks of takt_protocol::session::admin::AdminAsk:
    CreateTopic ListTopics TopicInfo Order ListCursors SetCursor ListConflicts ShowConflict Status
    SetRetention);
variants!(answers of takt_protocol::session::admin::AdminAnswer:
    Error TopicCreated Topics Topic Order Cursors CursorSet Conflicts Conflict Status
    RetentionSet);
variants!(starts of takt_protocol::wire::proto::subscribe::Start:
    Earliest Latest TimeUs Offsets AtCursor);
variants!(moves of takt_protocol::wire::proto::set_cursor::To: Earliest Latest TimeUs Offsets);

/// A message that is new has no bytes here, and one that is not listed above does not compile.
#[test]
fn every_control_message_is_among_them() {
    let rows = GOLDEN.iter().chain(admin::GOLDEN);
    let frames = rows.flat_map(|(_, golden)| {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes_of(golden));
        // What is no frame is a batch or a part of one.
        std::iter::from_fn(move || decoder.next().ok().flatten()).collect::<Vec<_>>()
    });
    let mut seen: [BTreeSet<&str>; 5] = Default::default();
    for body in frames.filter_map(|frame| decode_control(frame).ok()) {
        seen[0].insert(bodies::name(&body));
        match body {
            ControlBody::AdminRequest(request) => {
                let ask = request.body.unwrap();
                seen[1].insert(asks::name(&ask));
                if let AdminAsk::SetCursor(set) = ask {
                    seen[4].insert(moves::name(&set.to.unwrap()));
                }
            }
            ControlBody::AdminResponse(response) => {
                seen[2].insert(answers::name(&response.body.unwrap()));
            }
            ControlBody::Subscribe(subscribe) => {
                seen[3].insert(starts::name(&subscribe.start.unwrap()));
            }
            _ => {}
        }
    }
    let all = [bodies::ALL, asks::ALL, answers::ALL, starts::ALL, moves::ALL];
    for (seen, all) in seen.iter().zip(all) {
        assert_eq!(*seen, all.iter().copied().collect());
    }
}

/// A compressor may find other bytes one day; those of today are read for ever.
#[test]
fn compressed_batches_are_read_for_ever() {
    for (golden, compression) in [(LZ4, Compression::Lz4), (ZSTD, Compression::Zstd)] {
        let bytes = bytes_of(golden);
        let read = common::read(&bytes);
        assert_eq!(read.header().compression, compression);
        read.check(1).unwrap();
        read.check_digests(1, &mut DigestHasher::default()).unwrap();
        let plain = common::read(&batch(Compression::None));
        assert_eq!(read.raw_payload().unwrap(), plain.raw_payload().unwrap());
    }
}

const LZ4: &str = "b7010100702be643e3000000930000004600000002000100030000000000000005000000000000000040 \
         1e18240a060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065726174696f \
         6e2e636f6e6669726d65642e7631106170706c69636174696f6e2f6a736f6e0f00010103000ae5734e0c \
         11d3ec95868fd52f5cfdc2b90131026b31026b321804056f702d31301104feffffff42010103036f776e \
         0200ff00000100003cfd389210c90b2693fa676f93541f1f8f0132ff057b226964223a2231227d303132 \
         333435363738390a001960343536373839";

const ZSTD: &str = "b7010200512b45dbe6000000930000004600000002000100030000000000000005000000000000000040 \
         1e18240a060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065726174696f \
         6e2e636f6e6669726d65642e7631106170706c69636174696f6e2f6a736f6e0f00010103000ae5734e0c \
         11d3ec95868fd52f5cfdc2b90131026b31026b321804056f702d31301104feffffff42010103036f776e \
         0200ff00000100003cfd389210c90b2693fa676f93541f1f8f013228b52ffd2046d50000a07b22696422 \
         3a2231227d3031323334353637383901006e5498";

const GOLDEN: &[(&str, &str)] = &[
    (
        "batch",
        "b70100003d3b51d009010000930000004600000002000100030000000000000005000000000000000040 \
         1e18240a060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065726174696f \
         6e2e636f6e6669726d65642e7631106170706c69636174696f6e2f6a736f6e0f00010103000ae5734e0c \
         11d3ec95868fd52f5cfdc2b90131026b31026b321804056f702d31301104feffffff42010103036f776e \
         0200ff00000100003cfd389210c90b2693fa676f93541f1f8f01327b226964223a2231227d3031323334 \
         353637383930313233343536373839303132333435363738393031323334353637383930313233343536 \
         37383930313233343536373839",
    ),
    ("verdicts", "0001c80102c8010302ac020402ac02c8010502ac020602ac0207c801"),
    (
        "stored batch",
        "7b0100007a00000009010000020002000000000000000000000000000000000000401e18240a0600eabe \
         385a3802aa5828441dae556e0c2901000000000000003d3b51d0000000002d7370696666653a2f2f7461 \
         6b742e6c6f63616c2f706c616e742f6d756e6963682f636c69656e742f6d6573236d01010102b7010000 \
         3d3b51d0090100009300000046000000020001000300000000000000050000000000000000401e18240a \
         060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065726174696f6e2e636f \
         6e6669726d65642e7631106170706c69636174696f6e2f6a736f6e0f00010103000ae5734e0c11d3ec95 \
         868fd52f5cfdc2b90131026b31026b321804056f702d31301104feffffff42010103036f776e0200ff00 \
         000100003cfd389210c90b2693fa676f93541f1f8f01327b226964223a2231227d303132333435363738 \
         393031323334353637383930313233343536373839303132333435363738393031323334353637383930 \
         313233343536373839",
    ),
    (
        "stored batch behind it",
        "7b0100007800000085000000010001000100000000000000020000000000000000401e18240a0600f4ec \
         8d92f2b9dd47ee65047d84cd60730100000000000000224536ca000000002d7370696666653a2f2f7461 \
         6b742e6c6f63616c2f706c616e742f6d756e6963682f636c69656e742f6d6573236d0103b70100002245 \
         36ca850000004b0000000a000000010001000200000000000000070000000000000000401e18240a0600 \
         07504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065726174696f6e2e636f6e66 \
         69726d65642e76310100010100000af7a1e5dfb142c88849cb4276c48ed06701377b226964223a223722 \
         7d",
    ),
    (
        "compacted batch",
        "7b0101007a000000b500000059e592127b0100007a00000009010000020002000000000000000000 \
         000000000000000000401e18240a0600eabe385a3802aa5828441dae556e0c290100000000000000 \
         3d3b51d0000000002d7370696666653a2f2f74616b742e6c6f63616c2f706c616e742f6d756e6963 \
         682f636c69656e742f6d6573236d0101010201b701000075f9e752b50000007b0000000a00000001 \
         0001000300000000000000050000000000000000401e18240a060007504f2d343731310e2f2f6163 \
         6d652f706c616e7430371a6d66672e6f7065726174696f6e2e636f6e6669726d65642e7631106170 \
         706c69636174696f6e2f6a736f6e0f00010103000ae5734e0c11d3ec95868fd52f5cfdc2b9013102 \
         6b31026b321804056f702d31301104feffffff42010103036f776e0200ff7b226964223a2231227d",
    ),
    ("digest, least", "dde6cb7f931118543924520b54410604"),
    ("digest, all", "7b65cfe899895e03f5a8aef1a2570025"),
    ("routes", "00000004002a002a000000040011001100000001001f021f00000003000d010d0000"),
    ("receipt", "ac020201078080f28183898506040109010a"),
    (
        "publish",
        "8600000002b7010000224536ca850000004b0000000a0000000100010002000000000000000700000000 \
         00000000401e18240a060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065 \
         726174696f6e2e636f6e6669726d65642e76310100010100000af7a1e5dfb142c88849cb4276c48ed067 \
         01377b226964223a2237227d",
    ),
    ("receipts", "1300000003ac020201078080f28183898506040109010a"),
    (
        "deliver",
        "0201000004020100007b0100007800000085000000010001000100000000000000020000000000000000 \
         401e18240a0600f4ec8d92f2b9dd47ee65047d84cd60730100000000000000224536ca000000002d7370 \
         696666653a2f2f74616b742e6c6f63616c2f706c616e742f6d756e6963682f636c69656e742f6d657323 \
         6d0103b7010000224536ca850000004b0000000a00000001000100020000000000000007000000000000 \
         0000401e18240a060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f70657261 \
         74696f6e2e636f6e6669726d65642e76310100010100000af7a1e5dfb142c88849cb4276c48ed0670137 \
         7b226964223a2237227d",
    ),
    (
        "mirror",
        "04010000050201030000007b010000780000008500000001000100010000000000000002000000000000 \
         0000401e18240a0600f4ec8d92f2b9dd47ee65047d84cd60730100000000000000224536ca000000002d \
         7370696666653a2f2f74616b742e6c6f63616c2f706c616e742f6d756e6963682f636c69656e742f6d65 \
         73236d0103b7010000224536ca850000004b0000000a0000000100010002000000000000000700000000 \
         00000000401e18240a060007504f2d343731310e2f2f61636d652f706c616e7430371a6d66672e6f7065 \
         726174696f6e2e636f6e6669726d65642e76310100010100000af7a1e5dfb142c88849cb4276c48ed067 \
         01377b226964223a2237227d",
    ),
    (
        "producer opens",
        "07000000010a0408011801180000000152150a0a70726f64756374696f6e12056d65732d371801",
    ),
    (
        "subscriber opens",
        "07000000010a04080118023000000001a2012c0a0a70726f64756374696f6e2a0d0a0b0a046c796f6e10 \
         0318ac023a0365727040014880804052046c796f6e",
    ),
    (
        "mirror opens",
        "07000000010a04080118033f00000001c2023b0a066d756e696368121007070707070707070707070707 \
         0707071a1f0a0a70726f64756374696f6e1211080110011880b0bd102002280130023803",
    ),
    (
        "mirror opened",
        "3300000001ca022f0a291a270a100707070707070707070707070707070710ac021a1009090909090909 \
         09090909090909090910808040",
    ),
    ("error", "1100000001120e082112076e6f20726f6f6d18ac02"),
    ("credit", "06000000011a0308ac02"),
    (
        "producer opened",
        "2c000000015a290a0370236d100318ac0220042a190a12ac020201078080f28183898506040109010a15 \
         040302013001",
    ),
    ("subscribed", "1900000001aa01150804120f0801120b0a046c796f6e100318ac021801"),
    ("partition added", "1500000001b201110a0f0801120b0a046c796f6e100318ac02"),
    ("commit", "1300000001ba010f0805120b0a046c796f6e100318ac02"),
    ("committed", "0600000001c201020805"),
    ("trimmed", "0900000001ca0105080110ac02"),
    ("mirror start", "0400000001d20200"),
    ("mirror ack", "0f00000001da020b0a070801100218ac021806"),
    ("diverged", "0700000001e202030a0164"),
    (
        "mirror start, all",
        "3500000001d202310a2d080110021a270a100707070707070707070707070707070710ac021a10090909 \
         090909090909090909090909091001",
    ),
    (
        "mirror ack, all",
        "3300000001da022f0a070801100218ac0212100707070707070707070707070707070718062210090909 \
         09090909090909090909090909",
    ),
    ("mirror opened, all", "0f00000001ca020b0a040801100210ac021801"),
    (
        "mirror open, all",
        "4100000001c2023d0a046c796f6e1210070707070707070707070707070707071a210a0a70726f647563 \
         74696f6e1213080210011880b0bd10200328ad0230ae0238042001",
    ),
    ("committed, all", "1300000001c2010f0805120b080e12016418ac0220ad02"),
    (
        "from the start",
        "2200000001a2011e0a0a70726f64756374696f6e12003a03657270400148ac0252046c796f6e",
    ),
    (
        "from the end",
        "2200000001a2011e0a0a70726f64756374696f6e1a003a03657270400148ac0252046c796f6e",
    ),
    ("from a time", "2200000001a2011e0a0a70726f64756374696f6e20033a03657270400148ac0252046c796f6e"),
    (
        "from the cursor",
        "2200000001a2011e0a0a70726f64756374696f6e32003a03657270400148ac0252046c796f6e",
    ),
];
