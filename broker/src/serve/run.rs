//! The one loop around a session: frames in and out, requests to the writer and its answers, reads.

use std::sync::Arc;

use takt_client::tls::Identity;
use takt_protocol::batch::StoredBatch;
use takt_storage::store::Answer;
use takt_storage::view::{ReadError, View};
use tokio::sync::{mpsc, watch};

use super::{Stream, now, receive};
use crate::logic::{Read, Request, Session, SessionEvent, TicketError};
use crate::node::Inner;
use crate::writer::Ticket;

type Answers = mpsc::UnboundedSender<(u64, Result<Answer, TicketError>)>;

/// Serves a session until its stream ends or it closes.
pub(super) async fn run(
    node: &Arc<Inner>,
    peer: &Identity,
    mut stream: Stream,
    mut session: impl Session,
) -> Result<(), String> {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut durable = node.writer.commits();
    let mut replaced = None;
    let mut frame = None;
    let mut lost = false;
    let result = loop {
        if let Some(frame) = frame.take()
            && let Err(error) = session.handle_frame(now(), frame)
        {
            break Err(error.to_string());
        }
        loop {
            while let Some(request) = session.poll_request() {
                submit(node, &answers, request).await;
            }
            // An answer may be what the next request has waited for.
            let Ok((number, answer)) = answered.try_recv() else { break };
            session.on_answer(number, answer);
        }
        note_events(node, peer, &mut session, &mut replaced);
        // What becomes durable from here on is worth another look.
        durable.borrow_and_update();
        if !stream.send.has_queued() && !fill(node, &mut stream, &mut session).await {
            break Ok(());
        }
        if session.is_closed() {
            break Ok(());
        }
        let unsent = stream.send.has_queued();
        tokio::select! {
            sent = stream.send.flush(), if unsent => {
                if let Err(error) = sent {
                    lost = error.is_lost();
                    break Ok(());
                }
            }
            Some((number, answer)) = answered.recv() => session.on_answer(number, answer),
            changed = durable.changed(), if session.awaits_commits() && !unsent => {
                if changed.is_err() { break Ok(()); }
            }
            () = until(session.poll_timeout()) => session.handle_timeout(now()),
            () = becomes_true(replaced.as_mut()) => session.on_replaced(),
            received = receive(&mut stream.recv), if session.wants_frames(unsent) => match received {
                Ok(received) => frame = Some(received),
                Err(end) => {
                    lost = end.lost;
                    break end.result;
                }
            },
        }
    };
    // What was queued may be the reason for the end.
    stream.end(std::iter::from_fn(|| session.poll_transmit())).await;
    if replaced.as_ref().is_some_and(|replaced| *replaced.borrow()) {
        session.on_replaced();
    }
    if let Some(operation) = session.end(lost) {
        // A stopping node hears of it no more, and finds out at its next start.
        let _ = node.ask(operation).await;
    }
    note_events(node, peer, &mut session, &mut replaced);
    result
}

/// Gives an operation to the writer, as soon as the node has room for it. Its answer comes through
/// the channel, which is bounded by the session's limit of what is in flight.
async fn submit(node: &Arc<Inner>, answers: &Answers, request: Request) {
    let Request { number, operation, bytes } = request;
    let mut ticket = match number {
        Some(number) => Ticket::session(answers.clone(), number),
        None => Ticket::once().0,
    };
    if bytes > 0 {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        match Arc::clone(&node.budget).acquire_many_owned(kib).await {
            Ok(permit) => ticket.hold(permit),
            // The node stops; the ticket says so when it is dropped.
            Err(_) => return,
        }
    }
    node.writer.submit(operation, ticket);
}

/// Queues what the session has to send. Where it has nothing, it may read: one read at a time, and
/// only when the one before is on its way, so that the memory for a slow reader is one read and the
/// stream's window. Whether the node still reads.
async fn fill(node: &Inner, stream: &mut Stream, session: &mut impl Session) -> bool {
    loop {
        while let Some(frame) = session.poll_transmit() {
            stream.send.queue(frame);
        }
        if stream.send.has_queued() {
            return true;
        }
        let Some(read) = session.poll_read() else { return true };
        let Some(read) = run_read(&node.view, read).await else { return false };
        session.on_read(read);
    }
}

/// Reads where it holds up nobody. `None` where the process is ending.
pub(crate) async fn run_read(
    view: &View,
    read: Read,
) -> Option<Result<Vec<StoredBatch>, ReadError>> {
    let view = view.clone();
    tokio::task::spawn_blocking(move || read.run(&view)).await.ok()
}

fn note_events(
    node: &Inner,
    peer: &Identity,
    session: &mut impl Session,
    replaced: &mut Option<watch::Receiver<bool>>,
) {
    while let Some(event) = session.poll_event() {
        if let SessionEvent::LinkOpened(origin) = &event {
            *replaced = Some(node.take_over(origin));
        }
        node.note(peer, event);
    }
}

async fn until(time: Option<std::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn becomes_true(flag: Option<&mut watch::Receiver<bool>>) {
    match flag {
        // The sender lives in the node's table, so an error is a replacement too.
        Some(flag) => drop(flag.wait_for(|set| *set).await),
        None => std::future::pending().await,
    }
}
