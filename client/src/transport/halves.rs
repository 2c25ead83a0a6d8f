//! The two directions of a stream.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn::VarInt;
use takt_protocol::codes::ErrorCode;
use takt_protocol::limits::FRAME_BYTES_MAX;
use takt_protocol::wire::{Frame, FrameDecoder, FrameError, OutFrame};
use tokio::sync::mpsc;

use super::TransportError;

/// A stream of frames in both directions; take it apart to use them at the same time.
#[derive(Debug)]
pub struct FrameStream {
    /// What leaves.
    pub send: SendHalf,
    /// What arrives.
    pub recv: RecvHalf,
}

impl FrameStream {
    /// Over a QUIC stream.
    pub fn quic((send, recv): (quinn::SendStream, quinn::RecvStream)) -> Self {
        Self::new(Sink::Quic(send), Source::Quic(recv))
    }

    pub(super) fn piped(send: mpsc::Sender<Bytes>, recv: mpsc::Receiver<Bytes>) -> Self {
        Self::new(Sink::Pipe(Some(send)), Source::Pipe(recv))
    }

    fn new(sink: Sink, source: Source) -> Self {
        Self {
            send: SendHalf { sink, queue: VecDeque::new() },
            recv: RecvHalf { source, decoder: FrameDecoder::new() },
        }
    }
}

#[derive(Debug)]
enum Sink {
    Quic(quinn::SendStream),
    /// `None` once finished.
    Pipe(Option<mpsc::Sender<Bytes>>),
}

/// The direction in which frames leave. Dropping it ends the stream in this direction.
#[derive(Debug)]
pub struct SendHalf {
    sink: Sink,
    queue: VecDeque<Bytes>,
}

impl SendHalf {
    /// Puts a frame behind those that wait; nothing is written before [`SendHalf::flush`].
    pub fn queue(&mut self, frame: OutFrame) {
        self.queue.extend(frame.parts.into_iter().filter(|part| !part.is_empty()));
    }

    /// Whether something waits to be written.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Writes what waits. May be dropped and called again: nothing is lost or written twice.
    ///
    /// # Errors
    /// [`TransportError`] where the stream has ended.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        while !self.queue.is_empty() {
            match &mut self.sink {
                Sink::Quic(stream) => {
                    let written = stream.write_chunks(self.queue.make_contiguous()).await?;
                    self.queue.drain(..written.chunks);
                }
                Sink::Pipe(Some(pipe)) => {
                    let room = pipe.reserve().await.map_err(|_| gone())?;
                    if let Some(part) = self.queue.pop_front() {
                        room.send(part);
                    }
                }
                Sink::Pipe(None) => return Err(gone()),
            }
        }
        Ok(())
    }

    /// Writes a frame and all that waits before it.
    ///
    /// # Errors
    /// As [`SendHalf::flush`].
    pub async fn send(&mut self, frame: OutFrame) -> Result<(), TransportError> {
        self.queue(frame);
        self.flush().await
    }

    /// Says that nothing follows what has been written.
    pub fn finish(&mut self) {
        match &mut self.sink {
            // It fails only where the stream has ended already.
            Sink::Quic(stream) => drop(stream.finish()),
            Sink::Pipe(pipe) => *pipe = None,
        }
    }

    /// Ends the stream in this direction at once; what was not delivered is dropped.
    pub fn reset(&mut self, code: ErrorCode) {
        self.queue.clear();
        match &mut self.sink {
            Sink::Quic(stream) => drop(stream.reset(VarInt::from_u32(code.number()))),
            Sink::Pipe(pipe) => *pipe = None,
        }
    }

    /// Waits until the other side has everything that was written before [`SendHalf::finish`], or
    /// has gone.
    pub async fn delivered(&mut self) {
        match &mut self.sink {
            Sink::Quic(stream) => drop(stream.stopped().await),
            Sink::Pipe(_) => {}
        }
    }
}

#[derive(Debug)]
enum Source {
    Quic(quinn::RecvStream),
    Pipe(mpsc::Receiver<Bytes>),
}

/// The direction in which frames arrive.
#[derive(Debug)]
pub struct RecvHalf {
    source: Source,
    decoder: FrameDecoder,
}

impl RecvHalf {
    /// The next frame; `None` where the other side has ended the stream between two frames. May be
    /// dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`TransportError`] where the stream was cut or holds no frame.
    pub async fn recv(&mut self) -> Result<Option<Frame>, TransportError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            let part = match &mut self.source {
                Source::Quic(stream) => {
                    stream.read_chunk(FRAME_BYTES_MAX, true).await?.map(|chunk| chunk.bytes)
                }
                Source::Pipe(pipe) => pipe.recv().await,
            };
            match part {
                Some(part) => self.decoder.push(part),
                None if self.decoder.is_between_frames() => return Ok(None),
                None => return Err(TransportError::Cut),
            }
        }
    }

    /// Why what came is no frame, where [`RecvHalf::recv`] has said so.
    pub fn failure(&mut self) -> Option<FrameError> {
        self.decoder.next().err()
    }

    /// Tells the other side that nothing more will be read.
    pub fn stop(&mut self, code: ErrorCode) {
        match &mut self.source {
            Source::Quic(stream) => drop(stream.stop(VarInt::from_u32(code.number()))),
            Source::Pipe(pipe) => pipe.close(),
        }
    }
}

fn gone() -> TransportError {
    TransportError::lost("the other end of the pipe is gone")
}
