//! Requests of an administrator, and the first frame of every stream.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod common;

use bytes::Bytes;
use takt_protocol::codes::ErrorCode;
use takt_protocol::session::admin::{AdminAnswer, AdminAsk, AdminClient, AdminEvent, AdminServer};
use takt_protocol::session::{Refusal, SessionError, StreamKind, accept};
use takt_protocol::wire::{ControlBody, Frame, OutFrame, encode_control, proto};

use common::{Half, start};

fn frames(out: impl Iterator<Item = OutFrame>) -> Vec<Frame> {
    let mut half = Half::default();
    out.for_each(|frame| half.send(&frame));
    half.arrive(usize::MAX).unwrap()
}

fn one(body: ControlBody) -> Frame {
    frames([encode_control(body).unwrap()].into_iter()).remove(0)
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let (mut client, mut server) = (AdminClient::new(), AdminServer::new());
    let first = client.ask(AdminAsk::Status(proto::GetStatus {}));
    let second = client.ask(AdminAsk::ListTopics(proto::ListTopics {}));
    let mut up = frames(std::iter::from_fn(|| client.poll_transmit())).into_iter();
    assert_eq!(accept(up.next().unwrap()), Ok(StreamKind::Admin));
    up.for_each(|frame| server.handle_frame(start(), frame).unwrap());
    assert_eq!(server.poll_event().map(|(id, _)| id), Some(first));
    assert_eq!(server.poll_event().map(|(id, _)| id), Some(second));
    let topics = AdminAnswer::Topics(proto::TopicList::default());
    server.on_answered(second, Ok(topics.clone()));
    server.on_answered(second, Ok(topics.clone()));
    let refusal = Refusal::new(ErrorCode::Forbidden, "not yours");
    server.on_answered(first, Err(refusal.clone()));
    for frame in frames(std::iter::from_fn(|| server.poll_transmit())) {
        client.handle_frame(start(), frame).unwrap();
    }
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    let expected =
        [AdminEvent::Answered(second, Ok(topics)), AdminEvent::Answered(first, Err(refusal))];
    assert_eq!(events, expected);
}

#[test]
fn an_answer_over_a_frame_is_refused_instead() {
    let (mut client, mut server) = (AdminClient::new(), AdminServer::new());
    let id = client.ask(AdminAsk::Status(proto::GetStatus {}));
    for frame in frames(std::iter::from_fn(|| client.poll_transmit())).into_iter().skip(1) {
        server.handle_frame(start(), frame).unwrap();
    }
    let journal_id = Bytes::from(vec![0; 2 << 20]);
    let status = proto::Status { journal_id, ..proto::Status::default() };
    server.on_answered(id, Ok(AdminAnswer::Status(status)));
    for frame in frames(std::iter::from_fn(|| server.poll_transmit())) {
        client.handle_frame(start(), frame).unwrap();
    }
    assert!(matches!(client.poll_event(), Some(AdminEvent::Answered(answered, Err(refusal)))
        if answered == id && refusal.code == ErrorCode::TooLarge));
}

#[test]
fn a_number_used_twice_closes_the_session() {
    let mut server = AdminServer::new();
    let body = Some(AdminAsk::Status(proto::GetStatus {}));
    let ask = || one(ControlBody::AdminRequest(proto::AdminRequest { id: 4, body: body.clone() }));
    server.handle_frame(start(), ask()).unwrap();
    assert!(server.handle_frame(start(), ask()).is_err());
    assert!(server.is_closed() && server.poll_event().is_none());
}

#[test]
fn a_request_of_a_newer_peer_is_answered() {
    let mut server = AdminServer::new();
    let ask = one(ControlBody::AdminRequest(proto::AdminRequest { id: 4, body: None }));
    server.handle_frame(start(), ask).unwrap();
    assert!(server.poll_transmit().is_some() && !server.is_closed());
}

#[test]
fn a_stream_begins_with_a_hello_of_this_version() {
    let hello = |major, kind| one(ControlBody::Hello(proto::Hello { major, minor: 9, kind }));
    assert_eq!(accept(hello(1, 1)), Ok(StreamKind::Producer));
    assert_eq!(accept(hello(2, 1)), Err(SessionError::Version { major: 2 }));
    assert_eq!(accept(hello(2, 1)).unwrap_err().code(), ErrorCode::Version);
    assert!(accept(hello(1, 9)).is_err());
    assert!(accept(one(ControlBody::Credit(proto::Credit { bytes: 1 }))).is_err());
}
