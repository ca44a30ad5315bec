//! One MQTT connection: a reader that decodes, a writer that empties the outbox, and the introduction to its tenant.
//!
//! Both run on the I/O arbiter that shook hands; the session lives with its tenant. What crosses between them is a
//! batch of packets one way and a batch of encoded bytes the other.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use muster_actors::{Credit, SharedClock};
use muster_mqtt::{
    Connection, DecodeError, Decoder, Effects, Input, Packet, PacketLimits, Request, SessionOptions,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::oneshot,
    time::{Sleep, sleep, timeout},
};
use tracing::info;

use crate::{
    address::PeerAddress,
    admission::{Admitted, NotAdmitted},
    counters::ListenerCounters,
    directory::{Directory, Entry},
    halves::halves,
    limits::{
        CLOSE_TIME_MAX, CONNECTION_BATCHES_MAX, CONNECTION_BYTES_MAX, HANDSHAKE_TIME_MAX, LINGER_TIME_MAX,
        READ_BYTES_MAX, WRITE_STALL_TIME_MAX,
    },
    outbox::{OutboxReader, outbox},
    pace::Cost,
    ration::Ration,
    session::{Arrived, Inbound, Permits},
    tenant::{OpenSession, Opened},
};

/// Most chunks offered to one vectored write.
const WRITE_SLICES_MAX: usize = 64;

/// What the connections of a bus share.
pub(crate) struct Surroundings {
    pub(crate) directory: Arc<Directory>,
    pub(crate) packets: Arc<PacketLimits>,
    pub(crate) counters: Arc<ListenerCounters>,
    pub(crate) ration: Arc<Ration>,
    pub(crate) clock: SharedClock,
}

/// A connection that has been introduced to its tenant: what its reader and its writer share.
pub(crate) struct Link<S> {
    stream: RefCell<S>,
    opened: Opened,
    outbox: OutboxReader,
    /// What its batches take: its own credit, its tenant's and the hub's. The narrowest first, so that who waits holds
    /// nothing that a wider circle waits for.
    credits: [Credit; 3],
    surroundings: Arc<Surroundings>,
}

impl<S> Link<S> {
    /// A link to this session, with the credit of its tenant and its hub.
    pub(crate) fn new(
        stream: S,
        (opened, outbox): (Opened, OutboxReader),
        [tenant, hub]: [Credit; 2],
        surroundings: Arc<Surroundings>,
    ) -> Box<Self> {
        let own = Credit::new("connection", CONNECTION_BATCHES_MAX, CONNECTION_BYTES_MAX);
        let (stream, credits) = (RefCell::new(stream), [own, tenant, hub]);
        Box::new(Self { stream, opened, outbox, credits, surroundings })
    }

    /// Ends the session: its peer is not let in after all.
    pub(crate) fn dismiss(&self, refusal: NotAdmitted) {
        self.surroundings.counters.not_admitted.add(1);
        // A report: there is one of it per connection.
        let arrived = Arrived::Dismissed(Box::new(refusal));
        self.opened.session.do_send(Inbound { arrived, permit: None });
    }
}

/// The way to a link; none if the peer was not let in, and was told so.
pub(crate) type Introduction<S> = Pin<Box<dyn Future<Output = Option<Box<Link<S>>>>>>;

/// Serves one connection to its end, and gives `held` back then.
///
/// Thousands of these wait at one time, so what happens once in a connection's life is boxed: it takes memory while it
/// happens only. And what is handed from one future to another is boxed, because both have room for it.
#[expect(clippy::manual_async_fn, reason = "an async function has room for its arguments twice")]
pub(crate) fn serve<S, H>(introduction: Introduction<S>, held: H) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    async move {
        if let Some(link) = introduction.await {
            carry(&link).await;
        }
        drop(held);
    }
}

/// Introduces a peer that was admitted to its tenant.
pub(crate) async fn introduce<S>(
    stream: S,
    peer: PeerAddress,
    admitted: Box<Admitted>,
    surroundings: Arc<Surroundings>,
) -> Option<Box<Link<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match open(peer, admitted, &surroundings).await {
        Ok((entry, opened, outbox)) => {
            let credits = [entry.credit.clone(), surroundings.directory.hub().clone()];
            Some(Link::new(stream, (opened, outbox), credits, surroundings))
        }
        Err(refusal) => {
            refuse(stream, peer, refusal, &surroundings).await;
            None
        }
    }
}

async fn open(
    peer: PeerAddress,
    admitted: Box<Admitted>,
    surroundings: &Surroundings,
) -> Result<(Arc<Entry>, Opened, OutboxReader), NotAdmitted> {
    let tenant = admitted.principal.tenant.clone();
    let entry = surroundings.directory.find(&tenant)?;
    let (sender, reader) = outbox();
    let (reply, opened) = oneshot::channel();
    entry.supervisor.do_send(OpenSession { admitted: *admitted, peer, outbox: sender, reply });
    match timeout(HANDSHAKE_TIME_MAX, opened).await {
        Ok(Ok(opened)) => opened.map(|opened| (entry, opened, reader)),
        // The supervisor ended with the question, or is too busy to answer.
        Ok(Err(_)) | Err(_) => Err(NotAdmitted::restarting(&tenant)),
    }
}

/// Carries bytes both ways until either end has had enough.
async fn carry<S>(link: &Link<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Link { outbox, opened: Opened { session, .. }, .. } = link;
    let written = {
        let mut reading = pin!(async {
            let ended = read_packets(link).await;
            // A report: it never waits, and there is one of it per connection.
            session.do_send(Inbound { arrived: Arrived::Closed(ended.err()), permit: None });
        });
        let mut writing = pin!(async {
            let too_late = async {
                outbox.closed().await;
                Box::pin(sleep(CLOSE_TIME_MAX)).await;
            };
            tokio::select! {
                biased;
                result = write_chunks(link) => result,
                () = too_late => Err(io::ErrorKind::TimedOut.into()),
            }
        });
        // In this order, so that the same story goes the same way each time.
        tokio::select! {
            biased;
            () = &mut reading => writing.await,
            // The session has closed, or the peer takes no more bytes. What it still sends means nothing to anybody.
            result = &mut writing => result,
        }
    };
    match written {
        Ok(()) => Box::pin(part(&link.stream)).await,
        Err(error) => session.do_send(Inbound { arrived: Arrived::Closed(Some(error)), permit: None }),
    }
}

/// Says goodbye, and gives the peer time to hear it.
async fn part<S>(stream: &RefCell<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut read, mut write) = halves(stream);
    // All of this is only good manners: whether it works or not, the connection ends.
    if !matches!(timeout(CLOSE_TIME_MAX, write.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    let mut dropped = BytesMut::new();
    let listening = async {
        while matches!(read_some(&mut read, &mut dropped).await, Ok(1..)) {
            dropped.clear();
        }
    };
    let _ = timeout(LINGER_TIME_MAX, listening).await;
}

/// Reads, decodes and hands on batches, at the pace that the session, its tenant and the peer's own reading allow.
async fn read_packets<S>(link: &Link<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::new(link.surroundings.packets.clone());
    let mut expected = 0;
    loop {
        if !link.outbox.has_room() {
            Box::pin(room(link)).await?;
        }
        link.outbox.check_open()?;
        if read_some(&mut halves(&link.stream).0, decoder.buffer()).await? == 0 {
            return Ok(());
        }
        let buffered = decoder.buffer().len();
        let (packets, malformed) = decode(&mut decoder, expected);
        expected = packets.len();
        // A packet counts in the batch that completes it, with all of its bytes.
        let bytes = buffered - decoder.buffer().len();
        decoder.release_buffer();
        let malformed = malformed.map(Box::new);
        if let Some(waiting) = hand_on(link, packets, bytes) {
            waiting.await;
        }
        if let Some(error) = malformed {
            link.opened.session.do_send(Inbound { arrived: Arrived::Malformed(*error), permit: None });
            return Ok(());
        }
    }
}

/// Waits until the peer has read enough of what it was sent.
async fn room<S>(link: &Link<S>) -> io::Result<()> {
    let _paused = link.outbox.pause(&link.surroundings.clock);
    link.outbox.room().await
}

/// What a reader waits for before it reads on.
type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Hands a batch to the session. There is something to wait for if credit is short, or the peer ahead of its pace.
fn hand_on<S>(link: &Link<S>, packets: Vec<Packet>, bytes: usize) -> Option<Waiting<'_>> {
    if packets.is_empty() {
        return None;
    }
    match try_acquire(&link.credits, bytes) {
        Some(permits) => send(link, packets, bytes, permits),
        None => Some(Box::pin(async move {
            let permits = acquire(link, bytes).await;
            if let Some(waiting) = send(link, packets, bytes, permits) {
                waiting.await;
            }
        })),
    }
}

fn send<S>(link: &Link<S>, packets: Vec<Packet>, bytes: usize, permits: Permits) -> Option<Waiting<'_>> {
    let Opened { session, throttle } = &link.opened;
    let cost = Cost::of(&packets, bytes);
    // Rides on its permits. The mailbox's own bound counts what others send there as well, so it is not asked.
    session.do_send(Inbound { arrived: Arrived::Packets { packets, bytes }, permit: Some(permits) });
    // What was read goes its way; who was ahead of its pace is not read for a while.
    throttle.keep(&link.outbox, &link.surroundings.clock, cost)
}

/// Takes credit for a batch, if there is enough of each.
fn try_acquire([own, tenant, hub]: &[Credit; 3], bytes: usize) -> Option<Permits> {
    Some([own.try_acquire(bytes)?, tenant.try_acquire(bytes)?, hub.try_acquire(bytes)?])
}

/// Waits for credit.
async fn acquire<S>(link: &Link<S>, bytes: usize) -> Permits {
    let _paused = link.outbox.pause(&link.surroundings.clock);
    let [own, tenant, hub] = &link.credits;
    [own.acquire(bytes).await, tenant.acquire(bytes).await, hub.acquire(bytes).await]
}

/// Appends what the socket has, waiting for it if need be; 0 is its end. A connection that waits holds no buffer, and a
/// message that is kept for a while keeps no more memory than was read with it.
async fn read_some<R>(read: &mut R, buffer: &mut BytesMut) -> io::Result<usize>
where
    R: AsyncRead + Unpin,
{
    thread_local! {
        /// Shared by all connections of an arbiter: it is filled and emptied within one poll.
        static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
    }
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut scratch = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *read).poll_read(cx, &mut scratch))?;
            buffer.extend_from_slice(scratch.filled());
            Poll::Ready(Ok(scratch.filled().len()))
        })
    })
    .await
}

/// Decodes what has arrived. A batch is about as large as the one before.
fn decode(decoder: &mut Decoder, expected: usize) -> (Vec<Packet>, Option<DecodeError>) {
    let mut packets = Vec::with_capacity(expected);
    loop {
        match decoder.next() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, None),
            Err(error) => return (packets, Some(error)),
        }
    }
}

/// Writes what the session put out, until it closes.
async fn write_chunks<S>(link: &Link<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let chunks = link.outbox.next().await;
        let Some(chunks) = chunks else { return Ok(()) };
        let mut queue = Chunks { chunks: chunks.into() };
        while queue.has_remaining() {
            let written = in_time(|cx| poll_write(&mut halves(&link.stream).1, cx, &queue)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            queue.advance(written);
            if link.outbox.written(written) {
                // Asked for, and at most once for each asking.
                link.opened.session.do_send(Inbound { arrived: Arrived::Drained, permit: None });
            }
        }
        in_time(|cx| Pin::new(&mut halves(&link.stream).1).poll_flush(cx)).await?;
    }
}

/// Waits for a socket that is given up when it makes no progress. The clock is asked only if there is a wait.
fn in_time<T>(
    mut step: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> impl Future<Output = io::Result<T>> {
    let mut stall: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |cx| {
        if let Poll::Ready(done) = step(cx) {
            return Poll::Ready(done);
        }
        let stall = stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_TIME_MAX)));
        stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
}

/// Writes as much as the socket takes at once.
fn poll_write<W>(write: &mut W, cx: &mut Context<'_>, queue: &Chunks) -> Poll<io::Result<usize>>
where
    W: AsyncWrite + Unpin,
{
    let mut slices = [io::IoSlice::new(&[]); WRITE_SLICES_MAX];
    let filled = queue.chunks_vectored(&mut slices);
    Pin::new(write).poll_write_vectored(cx, slices.get(..filled).unwrap_or_default())
}

/// Chunks of bytes as one buffer.
struct Chunks {
    chunks: std::collections::VecDeque<Bytes>,
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        self.chunks.iter().any(|chunk| !chunk.is_empty())
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.iter().find(|chunk| !chunk.is_empty()).map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [io::IoSlice<'a>]) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| !chunk.is_empty());
        slices.iter_mut().zip(chunks).map(|(slice, chunk)| *slice = io::IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let step = count.min(chunk.len());
            chunk.advance(step);
            count -= step;
            if !chunk.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
    }
}

/// Tells a peer that is not let in why, in the way of its protocol: it may send its CONNECT, and gets a CONNACK.
pub(crate) async fn refuse<S>(stream: S, peer: PeerAddress, refusal: NotAdmitted, surroundings: &Surroundings)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    surroundings.counters.not_admitted.add(1);
    if surroundings.ration.allows_peer(&peer.host(), "connection", refusal.code) {
        info!(%peer, code = %refusal.code, reason = %refusal.reason, "connection refused");
    }
    let stream = RefCell::new(stream);
    let (mut read, mut write) = halves(&stream);
    let telling = async {
        let now = surroundings.clock.now();
        let mut connection = Connection::new(PacketLimits::default(), SessionOptions::default(), now);
        let mut effects = Effects::default();
        let mut bytes = BytesMut::new();
        while read_some(&mut read, &mut bytes).await? > 0 {
            connection.receive(now, &bytes.split(), &mut effects);
            if effects.requests.drain(..).any(|request| matches!(request, Request::Admit(_))) {
                let answer = Input::Refused(refusal.code, Some(refusal.reason.clone()));
                connection.handle(now, answer, &mut effects);
            }
            for chunk in effects.outgoing.take_chunks() {
                write.write_all(&chunk).await?;
            }
            if connection.session().is_closed() {
                break;
            }
        }
        write.flush().await
    };
    // Whether the peer waits for the answer is its own affair.
    let told: Result<io::Result<()>, _> = timeout(HANDSHAKE_TIME_MAX, telling).await;
    if matches!(told, Ok(Ok(()))) {
        part(&stream).await;
    }
}
