//! The administrator's session: requests and their answers, each by its number, in any order.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::codes::ErrorCode;
use crate::wire::{ControlBody, Frame, OutFrame, decode_control, encode_control, proto};

use super::error::SessionError;
use super::hello::{StreamKind, hello};
use super::outbox::Outbox;
use super::refusal::Refusal;

/// What is asked.
pub type AdminAsk = proto::admin_request::Body;
/// What is answered.
pub type AdminAnswer = proto::admin_response::Body;

/// The most requests without an answer on one stream.
const REQUESTS_MAX: usize = 64;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum AdminEvent {
    /// A request has its answer.
    Answered(u64, Result<AdminAnswer, Refusal>),
    /// The node ends the session; no request gets an answer any more.
    Closed(Refusal),
}

/// The asking half. It does not survive its stream: ask again where asking twice does no harm.
#[derive(Debug)]
pub struct AdminClient {
    next_id: u64,
    asked: BTreeSet<u64>,
    outbox: Outbox,
    events: VecDeque<AdminEvent>,
}

impl Default for AdminClient {
    fn default() -> Self {
        Self::new()
    }
}

impl AdminClient {
    /// For a stream that has just been opened.
    pub fn new() -> Self {
        let mut outbox = Outbox::default();
        outbox.small(hello(StreamKind::Admin));
        Self { next_id: 1, asked: BTreeSet::new(), outbox, events: VecDeque::new() }
    }

    /// Asks. The number comes back with the answer.
    pub fn ask(&mut self, ask: AdminAsk) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = proto::AdminRequest { id, body: Some(ask) };
        match self.outbox.control(ControlBody::AdminRequest(request)) {
            Ok(()) => {
                self.asked.insert(id);
            }
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::TooLarge, error.to_string());
                self.events.push_back(AdminEvent::Answered(id, Err(refusal)));
            }
        }
        id
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`SessionError`] where the server broke the protocol: drop the stream.
    pub fn handle_frame(&mut self, _now: Instant, frame: Frame) -> Result<(), SessionError> {
        let body = decode_control(frame)?;
        if let ControlBody::Error(error) = body {
            self.events.push_back(AdminEvent::Closed(error.into()));
            return Ok(());
        }
        let ControlBody::AdminResponse(response) = body else {
            return Err(SessionError::unexpected("a control message that no administrator gets"));
        };
        if !self.asked.remove(&response.id) {
            return Err(SessionError::unexpected("an answer to no request"));
        }
        let answer = match response.body {
            Some(AdminAnswer::Error(error)) => Err(error.into()),
            Some(answer) => Ok(answer),
            None => return Err(SessionError::unexpected("an answer of an unknown kind")),
        };
        self.events.push_back(AdminEvent::Answered(response.id, answer));
        Ok(())
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<AdminEvent> {
        self.events.pop_front()
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.outbox.pop()
    }
}

/// The answering half.
#[derive(Debug, Default)]
pub struct AdminServer {
    open: BTreeSet<u64>,
    closed: bool,
    outbox: Outbox,
    requests: VecDeque<(u64, AdminAsk)>,
}

impl AdminServer {
    /// For a stream whose hello has been accepted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the session is over: send what is left to send, then close the stream.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`SessionError`] where the client broke the protocol. The session is closed and the error
    /// waits to be sent.
    pub fn handle_frame(&mut self, _now: Instant, frame: Frame) -> Result<(), SessionError> {
        if self.closed {
            return Ok(());
        }
        self.receive(frame).inspect_err(|error| self.close(error.refusal()))
    }

    /// The next request, with its number: answer with [`Self::on_answered`].
    pub fn poll_event(&mut self) -> Option<(u64, AdminAsk)> {
        self.requests.pop_front()
    }

    /// The answer to a request. One that does not fit a frame is refused as `TooLarge`.
    pub fn on_answered(&mut self, id: u64, answer: Result<AdminAnswer, Refusal>) {
        if self.closed || !self.open.remove(&id) {
            return;
        }
        let body = answer.unwrap_or_else(|refusal| AdminAnswer::Error(refusal.into_error(None)));
        let response = |body| {
            let response = proto::AdminResponse { id, body: Some(body) };
            encode_control(ControlBody::AdminResponse(Box::new(response)))
        };
        let too_large = || {
            let refusal = Refusal::new(ErrorCode::TooLarge, "the answer is larger than 1 MiB");
            response(AdminAnswer::Error(refusal.into_error(None)))
        };
        let frame = response(body).or_else(|_| too_large());
        self.outbox.push(frame.expect("a refusal fits a frame"));
    }

    /// Ends the session.
    pub fn close(&mut self, refusal: Refusal) {
        if !self.closed {
            self.closed = true;
            self.requests.clear();
            self.outbox.error(refusal);
        }
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.outbox.pop()
    }

    fn receive(&mut self, frame: Frame) -> Result<(), SessionError> {
        let ControlBody::AdminRequest(request) = decode_control(frame)? else {
            return Err(SessionError::unexpected("a control message that no administrator sends"));
        };
        if self.open.len() == REQUESTS_MAX || !self.open.insert(request.id) {
            return Err(SessionError::unexpected("too many requests, or a number used twice"));
        }
        if let Some(ask) = request.body {
            self.requests.push_back((request.id, ask));
        } else {
            let refusal = Refusal::new(ErrorCode::BadRequest, "a request of an unknown kind");
            self.on_answered(request.id, Err(refusal));
        }
        Ok(())
    }
}
