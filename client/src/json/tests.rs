use bytes::Bytes;
use proptest::prelude::*;
use takt_protocol::event::{Attribute, DedupKeys, Event, Value};
use takt_protocol::words::{OrderKey, Timestamp};

use super::{DecodeError, EncodeError, decode, decode_batch, encode, encode_line};

fn read(json: &str) -> Result<Event, DecodeError> {
    decode(&Bytes::copy_from_slice(json.as_bytes()))
}

/// An event of which only `rest` is not the same in each test.
fn with(rest: &str) -> Result<Event, DecodeError> {
    read(&format!(r#"{{"specversion":"1.0","source":"//a/mes","type":"t","id":"1"{rest}}}"#))
}

fn plain() -> Event {
    Event {
        id: "1".to_owned(),
        source: "//a/mes".to_owned(),
        kind: "t".to_owned(),
        ..Event::default()
    }
}

#[test]
fn json_data_keeps_its_very_bytes() {
    let event = with(r#", "data": { "qty" : 1.50, "b":[ 1,2 ]} "#).unwrap();
    assert_eq!(event.data, r#"{ "qty" : 1.50, "b":[ 1,2 ]}"#);
    assert_eq!(with(r#","data":null"#).unwrap().data, "null");
    assert_eq!(with(r#","data":12345678901234567890.0"#).unwrap().data, "12345678901234567890.0");
}

#[test]
fn json_that_would_not_come_back_goes_as_base64() {
    for data in [" 1", "{", "1 2", "\u{feff}1", "1\n"] {
        let event = Event { data: data.into(), ..plain() };
        let json = encode(&event).unwrap();
        assert!(String::from_utf8_lossy(&json).contains("data_base64"), "{data:?}");
        assert_eq!(decode(&json.into()).unwrap(), event);
    }
}

#[test]
fn text_is_a_string_and_all_else_is_base64() {
    let xml = with(r#","datacontenttype":"application/x+XML; charset=utf-8","data":"<a>\n</a>""#);
    assert_eq!(xml.unwrap().data, "<a>\n</a>");
    let bytes = with(r#","datacontenttype":"image/png","data_base64":"AP8=""#).unwrap();
    assert_eq!(&bytes.data[..], [0, 255]);
    let json = with(r#","datacontenttype":"application/vnd.a+json","data":"a""#).unwrap();
    assert_eq!(json.data, "\"a\"");
}

#[test]
fn an_event_with_everything() {
    let event = with(
        r#","time":"2026-11-22T07:15:00.1234567+01:00","partitionkey":"PO-1","subject":"s",
        "sequence":null,"n":-5,"backfill":true,"taktdedupkey":"k","taktdedupkey2":"l""#,
    )
    .unwrap();
    assert_eq!(event.time, Some(Timestamp::from_micros(1_795_328_100_123_456)));
    assert_eq!(event.order_key, Some(OrderKey::new("PO-1").unwrap()));
    assert_eq!(event.dedup, DedupKeys::Two("k".into(), "l".into()));
    let attributes = [
        Attribute::text("subject", "s"),
        Attribute { name: "n".to_owned(), value: Value::Integer(-5) },
        Attribute { name: "backfill".to_owned(), value: Value::Boolean(true) },
    ];
    assert_eq!(event.attributes, attributes);
    let json = String::from_utf8(encode(&event).unwrap()).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"specversion":"1.0","id":"1","source":"//a/mes","type":"t","#,
            r#""time":"2026-11-22T06:15:00.123456Z","partitionkey":"PO-1","taktdedupkey":"k","#,
            r#""taktdedupkey2":"l","subject":"s","n":-5,"backfill":true}"#
        )
    );
}

#[test]
fn a_time_before_1970_is_cut_downwards() {
    let event = with(r#","time":"1969-12-31T23:59:59.9999999Z""#).unwrap();
    assert_eq!(event.time, Some(Timestamp::from_micros(-1)));
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (read("[]"), "no CloudEvent in JSON"),
        (read(r#"{"source":"a"}"#), "specversion is missing"),
        (read(r#"{"specversion":"0.3"}"#), "specversion is \"0.3\""),
        (read(r#"{"specversion":"1.0","type":"t"}"#), "the attribute source is required"),
        (with(r#","id":"2""#), "id stands twice"),
        (with(r#","data":1,"data":2"#), "data stands twice"),
        (with(r#","x":1,"x":2"#), "x stands twice"),
        (with(r#","data":1,"data_base64":"AA==""#), "not both"),
        (with(r#","subject":1.5"#), "subject must be a string"),
        (with(r#","n":3000000000"#), "n must be a string"),
        (with(r#","o":{}"#), "o must be a string"),
        (with(r#","time":"yesterday""#), "RFC 3339"),
        (with(r#","time":"2026-11-22T07:15:00""#), "RFC 3339"),
        (with(r#","partitionkey":7"#), "partitionkey must be a string"),
        (with(r#","partitionkey":"""#), "the order key is empty"),
        (with(r#","taktdedupkey2":"a""#), "taktdedupkey2 needs taktdedupkey"),
        (with(r#","data_base64":"A""#), "data_base64 is not base64"),
        (with(r#","datacontenttype":"text/plain","data":{}"#), "data must be a string"),
        (with(r#","orderId":"a""#), "no attribute name"),
    ];
    for (result, expected) in cases {
        let said = result.expect_err(expected).to_string();
        assert!(said.contains(expected), "{said:?} should say {expected:?}");
    }
}

#[test]
fn an_array_names_the_event_that_is_wrong() {
    let good = r#"{"specversion":"1.0","source":"a","type":"t"}"#;
    let two = decode_batch(&Bytes::from(format!("[{good},{good}]"))).unwrap();
    assert_eq!(two.len(), 2);
    let error = decode_batch(&Bytes::from(format!("[{good},{{}}]"))).unwrap_err();
    assert!(error.to_string().starts_with("event 1 of the array: specversion"));
}

#[test]
fn a_line_is_a_line() {
    let event = Event { data: "{\n\"a\":\r\n1}".into(), ..plain() };
    let line = encode_line(&event).unwrap();
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    assert_eq!(decode(&line.into()).unwrap().data, "{ \"a\":  1}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let far = Event { time: Some(Timestamp::from_micros(i64::MAX)), ..plain() };
    assert_eq!(encode(&far), Err(EncodeError::Time { micros: i64::MAX }));
    let own = Event { attributes: vec![Attribute::text("taktdedupkey", "a")], ..plain() };
    assert_eq!(encode(&own), Err(EncodeError::Reserved { name: "taktdedupkey".to_owned() }));
}

fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(Bytes::from),
        any::<String>().prop_map(Bytes::from),
        any::<String>().prop_map(|text| serde_json::to_vec(&text).unwrap().into()),
        any::<(i64, f64, bool)>().prop_map(|(a, b, c)| {
            let value = serde_json::json!({ "a": a, "b": [b, c, null] });
            serde_json::to_vec_pretty(&value).unwrap().into()
        }),
    ]
}

fn dedup() -> impl Strategy<Value = DedupKeys> {
    let key = || proptest::collection::vec(any::<u8>(), 1..20).prop_map(Bytes::from);
    prop_oneof![
        Just(DedupKeys::SourceAndId),
        key().prop_map(DedupKeys::Key),
        (key(), key()).prop_map(|(one, two)| DedupKeys::Two(one, two)),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let value = prop_oneof![
        any::<String>().prop_map(Value::Text),
        any::<i32>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
    ];
    proptest::collection::btree_map("x[a-z0-9]{0,8}", value, 0..6)
        .prop_map(|map| map.into_iter().map(|(name, value)| Attribute { name, value }).collect())
}

fn event() -> impl Strategy<Value = Event> {
    let content_type = prop_oneof![
        Just(None),
        Just(Some("application/json".to_owned())),
        Just(Some("text/csv; charset=utf-8".to_owned())),
        Just(Some("application/octet-stream".to_owned())),
    ];
    let time = proptest::option::of(-60_000_000_000_000_000..250_000_000_000_000_000_i64);
    let keys = (".{0,20}", ".{1,20}", ".{1,20}", proptest::option::of(".{1,20}"));
    (keys, time, dedup(), content_type, data(), attributes()).prop_map(
        |((id, source, kind, order_key), time, dedup, content_type, data, attributes)| Event {
            id,
            source,
            kind,
            time: time.map(Timestamp::from_micros),
            order_key: order_key.map(|key| OrderKey::new(&key).unwrap()),
            dedup,
            content_type,
            data,
            attributes,
        },
    )
}

proptest! {
    #[test]
    fn an_event_comes_back_as_it_was(event in event()) {
        event.check().unwrap();
        let json = encode(&event).unwrap();
        let back = decode(&json.into());
        prop_assert_eq!(back.unwrap(), event);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        drop(decode(&bytes.into()));
    }
}
