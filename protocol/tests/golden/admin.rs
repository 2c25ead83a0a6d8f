//! Every request of an administrator and every answer, each field with a value of its own.

use std::collections::BTreeMap;

use takt_protocol::session::admin::{AdminAnswer, AdminAsk};
use takt_protocol::wire::{ControlBody, proto};

use super::{control, full_event};

fn ask(id: u64, ask: AdminAsk) -> Vec<u8> {
    control(ControlBody::AdminRequest(proto::AdminRequest { id, body: Some(ask) }))
}

fn answer(id: u64, answer: AdminAnswer) -> Vec<u8> {
    let response = proto::AdminResponse { id, body: Some(answer) };
    control(ControlBody::AdminResponse(Box::new(response)))
}

pub fn settings() -> proto::TopicSettings {
    proto::TopicSettings {
        partitions: 2,
        dedup: true,
        horizon_s: 34_560_000,
        on_conflict: proto::OnConflict::Revise.into(),
        retention_ms: 301,
        retention_bytes: 302,
        lane: 4,
        compact: false,
    }
}

fn address() -> proto::ConflictAddress {
    proto::ConflictAddress {
        topic: "production".into(),
        origin: "lyon".into(),
        partition: 1,
        batch_number: 300,
        index: 4,
    }
}

fn positions() -> proto::PartitionPositions {
    let position = proto::PartitionPosition { origin: "lyon".into(), number: 3, offset: 300 };
    proto::PartitionPositions { positions: vec![position] }
}

fn set_cursor(remove: bool, to: proto::set_cursor::To) -> AdminAsk {
    AdminAsk::SetCursor(proto::SetCursor {
        name: "erp".into(),
        topic: "production".into(),
        hold: (!remove).then_some(true),
        remove,
        to: Some(to),
    })
}

fn topic_info() -> proto::TopicInfo {
    proto::TopicInfo {
        name: "production".into(),
        settings: Some(settings()),
        partitions: vec![proto::PartitionInfo {
            origin: "lyon".into(),
            number: 1,
            start_offset: 300,
            end_offset: 301,
            batches: 302,
            bytes: 303,
        }],
        keys: 304,
    }
}

fn cursor_info() -> proto::CursorInfo {
    proto::CursorInfo {
        name: "erp".into(),
        topic: "production".into(),
        hold: true,
        positions: vec![proto::CursorPosition {
            origin: "lyon".into(),
            number: 3,
            offset: 300,
            end_offset: 301,
        }],
    }
}

fn conflict() -> proto::ConflictSummary {
    proto::ConflictSummary {
        address: Some(address()),
        first_partition: 5,
        first_offset: 301,
        append_time_us: -2,
        producer_id: "p#m".into(),
        source: "//acme".into(),
        id: "i".into(),
        r#type: "t".into(),
        order_key: "PO-4711".into(),
        digest: vec![7; 16].into(),
    }
}

fn event(id: &str) -> proto::EventMessage {
    proto::EventMessage { id: id.into(), data: vec![b'd'].into(), ..proto::EventMessage::default() }
}

fn order() -> proto::OrderHistory {
    proto::OrderHistory {
        records: vec![proto::OrderRecord {
            origin: "lyon".into(),
            partition: 1,
            offset: 300,
            order_sequence: 9,
            append_time_us: 2,
            producer_id: "p#m".into(),
            event: Some(full_event().into()),
        }],
        more: true,
    }
}

fn status() -> proto::Status {
    proto::Status {
        node: "munich".into(),
        role: "plant".into(),
        journal_id: vec![7; 16].into(),
        version: "0.1.0".into(),
        uptime_ms: 300,
        position_start: 301,
        position_durable: 302,
        position_end: 303,
        disk_bytes: 304,
        disk_free_bytes: 305,
        keys: 306,
        keys_max: 307,
        full: true,
        links: vec![proto::LinkStatus {
            peer: "hub".into(),
            state: "open".into(),
            detail: "d".into(),
            backlog_records: 308,
            backlog_batches: 309,
            last_ack_us: -3,
        }],
        counters: BTreeMap::from([("bad_batches".into(), 310), ("commits".into(), 311)]),
    }
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    use proto::set_cursor::To;
    let name = || "production".to_owned();
    let create = proto::CreateTopic { name: name(), settings: Some(settings()) };
    let compact = proto::TopicSettings { partitions: 1, compact: true, ..Default::default() };
    let create_compacted = proto::CreateTopic { name: name(), settings: Some(compact) };
    let retention = proto::SetRetention {
        name: name(),
        retention_ms: Some(301),
        retention_bytes: Some(302),
        compact: None,
    };
    let compaction =
        proto::SetRetention { name: name(), compact: Some(true), ..proto::SetRetention::default() };
    let get_order = proto::GetOrder {
        topic: name(),
        key: "PO-4711".into(),
        origin: "lyon".into(),
        after: 300,
        max: 7,
        behind_offset: None,
    };
    let behind = proto::GetOrder { after: 0, behind_offset: Some(299), ..get_order.clone() };
    let conflicts = proto::ListConflicts { topic: name(), after: Some(address()), max: 7 };
    vec![
        ("create a topic", ask(301, AdminAsk::CreateTopic(create))),
        ("list topics", ask(302, AdminAsk::ListTopics(proto::ListTopics {}))),
        ("show a topic", ask(303, AdminAsk::TopicInfo(proto::GetTopic { name: name() }))),
        ("show an order", ask(304, AdminAsk::Order(get_order))),
        ("show an order behind an offset", ask(304, AdminAsk::Order(behind))),
        ("list cursors", ask(305, AdminAsk::ListCursors(proto::ListCursors { topic: name() }))),
        ("cursor to the start", ask(306, set_cursor(false, To::Earliest(proto::Unit {})))),
        ("remove a cursor", ask(307, set_cursor(true, To::Latest(proto::Unit {})))),
        ("cursor to a time", ask(308, set_cursor(false, To::TimeUs(-2)))),
        ("cursor to offsets", ask(309, set_cursor(false, To::Offsets(positions())))),
        ("list conflicts", ask(310, AdminAsk::ListConflicts(conflicts))),
        ("show a conflict", ask(311, AdminAsk::ShowConflict(address()))),
        ("show the status", ask(312, AdminAsk::Status(proto::GetStatus {}))),
        ("set a topic's retention", ask(313, AdminAsk::SetRetention(retention))),
        ("make a compacted topic", ask(315, AdminAsk::CreateTopic(create_compacted))),
        ("set a topic's compaction", ask(314, AdminAsk::SetRetention(compaction))),
    ]
}

fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let error = proto::Error {
        code: 14,
        detail: "d".into(),
        expected_sequence: Some(300),
        batch_sequence: Some(301),
    };
    let topics = proto::TopicList { topics: vec![topic_info()] };
    let cursors = proto::CursorList { cursors: vec![cursor_info()] };
    let conflicts = proto::ConflictList { conflicts: vec![conflict()], more: true };
    let detail = proto::ConflictDetail {
        summary: Some(conflict()),
        event: Some(event("a")),
        first: Some(event("b")),
        first_digest: vec![9; 16].into(),
    };
    vec![
        ("refused", answer(301, AdminAnswer::Error(error))),
        ("topic created", answer(302, AdminAnswer::TopicCreated(topic_info()))),
        ("topics", answer(303, AdminAnswer::Topics(topics))),
        ("topic", answer(304, AdminAnswer::Topic(topic_info()))),
        ("order", answer(305, AdminAnswer::Order(order()))),
        ("cursors", answer(306, AdminAnswer::Cursors(cursors))),
        ("cursor set", answer(307, AdminAnswer::CursorSet(cursor_info()))),
        ("conflicts", answer(308, AdminAnswer::Conflicts(conflicts))),
        ("conflict", answer(309, AdminAnswer::Conflict(Box::new(detail)))),
        ("status", answer(310, AdminAnswer::Status(status()))),
        ("retention set", answer(311, AdminAnswer::RetentionSet(topic_info()))),
    ]
}

/// All of them, by name.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    requests().into_iter().chain(answers()).collect()
}

pub const GOLDEN: &[(&str, &str)] = &[
    (
        "create a topic",
        "2a00000001e2032608ad0252210a0a70726f64756374696f6e1213080210011880b0bd10200328ad0230 \
         ae023804",
    ),
    ("list topics", "0900000001e2030508ae025a00"),
    ("show a topic", "1500000001e2031108af02620c0a0a70726f64756374696f6e"),
    (
        "show an order",
        "2900000001e2032508b0026a200a0a70726f64756374696f6e1207504f2d343731311a046c796f6e20ac \
         022807",
    ),
    (
        "show an order behind an offset",
        "2900000001e2032508b0026a200a0a70726f64756374696f6e1207504f2d343731311a046c796f6e2807 \
         30ab02",
    ),
    ("list cursors", "1500000001e2031108b102720c0a0a70726f64756374696f6e"),
    ("cursor to the start", "1e00000001e2031a08b2027a150a03657270120a70726f64756374696f6e18012a00"),
    ("remove a cursor", "1e00000001e2031a08b3027a150a03657270120a70726f64756374696f6e20013200"),
    ("cursor to a time", "1e00000001e2031a08b4027a150a03657270120a70726f64756374696f6e18013803"),
    (
        "cursor to offsets",
        "2b00000001e2032708b5027a220a03657270120a70726f64756374696f6e1801420d0a0b0a046c796f6e \
         100318ac02",
    ),
    (
        "list conflicts",
        "3300000001e2032f08b6028201290a0a70726f64756374696f6e12190a0a70726f64756374696f6e1204 \
         6c796f6e180120ac0228041807",
    ),
    (
        "show a conflict",
        "2300000001e2031f08b7028a01190a0a70726f64756374696f6e12046c796f6e180120ac022804",
    ),
    ("show the status", "0a00000001e2030608b802920100"),
    ("set a topic's retention", "1c00000001e2031808b9029a01120a0a70726f64756374696f6e10ad0218ae02"),
    ("make a compacted topic", "1b00000001e2031708bb0252120a0a70726f64756374696f6e120408014001"),
    ("set a topic's compaction", "1800000001e2031408ba029a010e0a0a70726f64756374696f6e2001"),
    ("refused", "1400000001ea031008ad02120b080e12016418ac0220ad02"),
    (
        "topic created",
        "4300000001ea033f08ae02523a0a0a70726f64756374696f6e1213080210011880b0bd10200328ad0230 \
         ae0238041a140a046c796f6e100118ac0220ad0228ae0230af0220b002",
    ),
    (
        "topics",
        "4500000001ea034108af025a3c0a3a0a0a70726f64756374696f6e1213080210011880b0bd10200328ad \
         0230ae0238041a140a046c796f6e100118ac0220ad0228ae0230af0220b002",
    ),
    (
        "topic",
        "4300000001ea033f08b002623a0a0a70726f64756374696f6e1213080210011880b0bd10200328ad0230 \
         ae0238041a140a046c796f6e100118ac0220ad0228ae0230af0220b002",
    ),
    (
        "order",
        "c700000001ea03c20108b1026abc010ab7010a046c796f6e100118ac0220092804320370236d3aa0010a \
         0131120e2f2f61636d652f706c616e7430371a1a6d66672e6f7065726174696f6e2e636f6e6669726d65 \
         642e7631208080f281838985062a07504f2d3437313132026b3132026b323a106170706c69636174696f \
         6e2f6a736f6e420a7b226964223a2231227d4a100a077375626a65637412056f702d31304a0c0a087365 \
         7175656e636518034a0c0a086261636b66696c6c20014a090a036f776e2a0200ff1001",
    ),
    (
        "cursors",
        "2e00000001ea032a08b20272250a230a03657270120a70726f64756374696f6e1801220e0a046c796f6e \
         100318ac0220ad02",
    ),
    (
        "cursor set",
        "2c00000001ea032808b3027a230a03657270120a70726f64756374696f6e1801220e0a046c796f6e1003 \
         18ac0220ad02",
    ),
    (
        "conflicts",
        "5e00000001ea035a08b4028201540a500a190a0a70726f64756374696f6e12046c796f6e180120ac0228 \
         04100518ad0220032a0370236d32062f2f61636d653a01694201744a07504f2d34373131521007070707 \
         0707070707070707070707071001",
    ),
    (
        "conflict",
        "7e00000001ea037a08b5028a01740a500a190a0a70726f64756374696f6e12046c796f6e180120ac0228 \
         04100518ad0220032a0370236d32062f2f61636d653a01694201744a07504f2d34373131521007070707 \
         07070707070707070707070712060a01614201641a060a01624201642210090909090909090909090909 \
         09090909",
    ),
    (
        "status",
        "8500000001ea03800108b60292017a0a066d756e6963681205706c616e741a1007070707070707070707 \
         0707070707072205302e312e3028ac0230ad0238ae0240af0248b00250b10258b20260b302680172160a \
         0368756212046f70656e1a016420b40228b50230057a100a0b6261645f6261746368657310b6027a0c0a \
         07636f6d6d69747310b702",
    ),
    (
        "retention set",
        "4400000001ea034008b7029a013a0a0a70726f64756374696f6e1213080210011880b0bd10200328ad02          30ae0238041a140a046c796f6e100118ac0220ad0228ae0230af0220b002",
    ),
];
