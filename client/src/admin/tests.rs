use std::collections::VecDeque;

use takt_protocol::codes::ErrorCode;
use takt_protocol::session::Refusal;
use takt_protocol::session::admin::{AdminAnswer, AdminAsk, AdminServer};
use takt_protocol::wire::proto;
use takt_protocol::words::{Offset, OrderSequence};
use tokio::task::JoinHandle;

use super::messages::{Status, TopicInfo, TopicSettings};
use super::{Admin, AdminError, CursorTo};
use crate::connection::Client;
use crate::connection::session::now;
use crate::testing::event;
use crate::testing::log::partition;
use crate::tls::{Identity, TrustDomain};
use crate::transport::pipe;

type Answer = Result<AdminAnswer, Refusal>;

/// A node that gives these answers, one for each stream, and then none; it hands back what it was
/// asked.
fn node(answers: impl Into<VecDeque<Answer>>) -> (Admin, JoinHandle<Vec<AdminAsk>>) {
    let identity = Identity::operator(&TrustDomain::default(), "ada").unwrap();
    let (connector, mut listener) = pipe(identity);
    let mut answers: VecDeque<Answer> = answers.into();
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some(mut stream) = listener.accept().await {
            let mut server = AdminServer::new();
            stream.recv.recv().await.unwrap().expect("a hello");
            let frame = stream.recv.recv().await.unwrap().expect("a request");
            server.handle_frame(now(), frame).unwrap();
            let (id, ask) = server.poll_event().unwrap();
            asked.push(ask);
            let Some(answer) = answers.pop_front() else { continue };
            server.on_answered(id, answer);
            while let Some(frame) = server.poll_transmit() {
                stream.send.send(frame).await.unwrap();
            }
        }
        asked
    });
    (Client::over(connector).admin(), serving)
}

#[tokio::test]
async fn a_question_gets_its_answer() {
    let info = TopicInfo { name: "orders".to_owned(), keys: 7, ..TopicInfo::default() };
    let status = Status { node: "munich".to_owned(), ..Status::default() };
    let (admin, serving) = node([
        Ok(AdminAnswer::TopicCreated(info.clone())),
        Ok(AdminAnswer::Topics(proto::TopicList { topics: vec![info.clone()] })),
        Ok(AdminAnswer::Status(status.clone())),
        Ok(AdminAnswer::CursorSet(proto::CursorInfo::default())),
    ]);
    let settings = TopicSettings { partitions: 4, ..TopicSettings::default() };
    assert_eq!(admin.create_topic("orders", settings).await.unwrap(), info);
    assert_eq!(admin.topics().await.unwrap(), [info]);
    assert_eq!(admin.status().await.unwrap(), status);
    let to = CursorTo::Offsets(vec![(partition(), Offset::new(9))]);
    admin.set_cursor("orders", "erp", Some(true), to).await.unwrap();
    drop(admin);
    let asked = serving.await.unwrap();
    let created = proto::CreateTopic { name: "orders".to_owned(), settings: Some(settings) };
    assert_eq!(asked[0], AdminAsk::CreateTopic(created));
    let AdminAsk::SetCursor(set) = &asked[3] else { panic!("{:?}", asked[3]) };
    assert!(set.hold == Some(true) && !set.remove && set.to.is_some());
}

#[tokio::test]
async fn the_history_of_an_order_comes_as_events() {
    let record = proto::OrderRecord {
        origin: "munich".to_owned(),
        offset: 5,
        order_sequence: 2,
        event: Some(event("a", "PO-1").into()),
        ..proto::OrderRecord::default()
    };
    let history = proto::OrderHistory { records: vec![record], more: true };
    let (admin, _serving) = node([Ok(AdminAnswer::Order(history))]);
    let page = admin.order("orders", "PO-1", None, Some(Offset::new(4)), 10).await.unwrap();
    assert!(page.more);
    let [only] = &page.events[..] else { panic!("{page:?}") };
    assert_eq!((&only.partition, only.offset), (&partition(), Offset::new(5)));
    assert_eq!(only.order_sequence, Some(OrderSequence::new(2)));
    assert_eq!(only.event, event("a", "PO-1"));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let (admin, _serving) = node([
        Err(Refusal::new(ErrorCode::UnknownTopic, "nowhere")),
        Ok(AdminAnswer::Status(Status::default())),
    ]);
    let refused = admin.topic_info("nowhere").await.unwrap_err();
    assert!(matches!(refused, AdminError::Refused { code: ErrorCode::UnknownTopic, .. }));
    let other = admin.topics().await.unwrap_err();
    assert!(matches!(other, AdminError::Answer(_)));
    let ended = admin.status().await.unwrap_err();
    assert!(matches!(ended, AdminError::Ended));
}
