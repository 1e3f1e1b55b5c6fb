//! The states that facts can meet, the facts, and what each may be answered in each.

use super::catalogue;

catalogue! {
    /// The state of a connection that a fact meets.
    ConnectionAs {
        /// Never was, or is over.
        Gone = "gone",
        /// Dialled.
        Connecting = "connecting",
        /// Ready, below its limit.
        Available = "available",
        /// Ready, at its limit.
        InUse = "in use",
        /// Silent.
        Suspect = "suspect",
        /// Takes no new streams.
        Draining = "draining",
        /// Closed by the peer, streams not yet reported.
        Lost = "lost",
    }
}

catalogue! {
    /// Facts about a connection.
    ConnectionFact {
        /// `Connected`
        Connected = "Connected",
        /// `ConnectFailed`
        ConnectFailed = "ConnectFailed",
        /// `MaxStreamsChanged`
        MaxStreamsChanged = "MaxStreamsChanged",
        /// `GoAwayReceived`
        GoAwayReceived = "GoAwayReceived",
        /// `FrameReceived`
        FrameReceived = "FrameReceived",
        /// `Pong`
        Pong = "Pong",
        /// `ConnectionClosed`
        ConnectionClosed = "ConnectionClosed",
    }
}

catalogue! {
    /// The state of a stream that a fact meets.
    StreamAs {
        /// Never was, or is over.
        Gone = "gone",
        /// Ordered, its identifier not yet reported.
        Ordered = "ordered",
        /// Opened, no response.
        Opened = "opened",
        /// Response begun.
        Responding = "responding",
        /// Reset by order, not yet on the wire.
        Resetting = "resetting",
    }
}

catalogue! {
    /// Facts about a stream.
    StreamFact {
        /// `StreamOpened`
        StreamOpened = "StreamOpened",
        /// `RequestSent`
        RequestSent = "RequestSent",
        /// `ResponseStarted`
        ResponseStarted = "ResponseStarted",
        /// `ResponseEnded`
        ResponseEnded = "ResponseEnded",
        /// `StreamFailed`
        StreamFailed = "StreamFailed",
        /// `ResetSent`
        ResetSent = "ResetSent",
        /// `BodyProgressed`
        BodyProgressed = "BodyProgressed",
    }
}

catalogue! {
    /// The state of a backend that a fact meets.
    BackendAs {
        /// Never was, or is gone.
        Gone = "gone",
        /// Gets streams.
        InService = "in service",
        /// Gets none by order of the operator.
        Draining = "draining",
        /// Was removed.
        Leaving = "leaving",
    }
}

catalogue! {
    /// Facts about a backend.
    BackendFact {
        /// `BackendRemoved`
        BackendRemoved = "BackendRemoved",
        /// `DrainRequested`
        DrainRequested = "DrainRequested",
        /// `DrainCancelled`
        DrainCancelled = "DrainCancelled",
        /// `WeightChanged`
        WeightChanged = "WeightChanged",
        /// `ProbeFinished`
        ProbeFinished = "ProbeFinished",
    }
}

catalogue! {
    /// The state of a request that a fact meets.
    RequestAs {
        /// Never was, or is over.
        Gone = "gone",
        /// For any connection.
        Waiting = "waiting",
        /// Given to a connection.
        Sent = "sent",
        /// Response begun.
        Responding = "responding",
    }
}

catalogue! {
    /// Facts about a request.
    RequestFact {
        /// `ReplayBufferExceeded`
        ReplayBufferExceeded = "ReplayBufferExceeded",
        /// `RequestCancelled`
        RequestCancelled = "RequestCancelled",
    }
}

catalogue! {
    /// The phase of a pool that a fact meets.
    PhaseAs {
        /// In service.
        Running = "running",
        /// Shutdown was asked for.
        Draining = "draining",
        /// The shutdown's deadline passed.
        Over = "over",
    }
}

catalogue! {
    /// What the pool answers.
    Answer {
        /// The fact was current.
        Done = "done",
        /// It cannot be true.
        Refused = "refused",
        /// It is about something that is over.
        Stale = "stale",
    }
}

/// What a connection in a state may answer to a fact.
pub(super) fn connection_answers(state: ConnectionAs, fact: ConnectionFact) -> &'static [Answer] {
    use ConnectionAs as As;
    use ConnectionFact as Fact;
    match (state, fact) {
        (As::Gone, _) => &[Answer::Stale],
        (As::Connecting, Fact::MaxStreamsChanged | Fact::Pong)
        | (As::Lost, Fact::ConnectionClosed) => &[Answer::Refused],
        (As::Connecting, _) => &[Answer::Done],
        (_, Fact::Connected | Fact::ConnectFailed) => &[Answer::Refused],
        // A suspect connection always has a PING out.
        (As::Suspect, Fact::Pong) => &[Answer::Done],
        (_, Fact::Pong) => &[Answer::Done, Answer::Refused],
        (
            As::Available | As::InUse | As::Suspect | As::Draining | As::Lost,
            Fact::MaxStreamsChanged
            | Fact::GoAwayReceived
            | Fact::FrameReceived
            | Fact::ConnectionClosed,
        ) => &[Answer::Done],
    }
}

/// What a stream in a state may answer to a fact.
pub(super) fn stream_answers(state: StreamAs, fact: StreamFact) -> &'static [Answer] {
    use StreamAs as As;
    use StreamFact as Fact;
    match (state, fact) {
        (As::Gone, _) => &[Answer::Stale],
        (As::Resetting, Fact::ResetSent) => &[Answer::Done],
        (As::Resetting, _) => &[Answer::Stale],
        (_, Fact::ResetSent) => &[Answer::Refused],
        (As::Ordered, Fact::StreamOpened) => &[Answer::Done],
        (As::Opened | As::Responding, Fact::StreamOpened) => &[Answer::Refused],
        (_, Fact::RequestSent | Fact::StreamFailed | Fact::BodyProgressed) => &[Answer::Done],
        (As::Ordered | As::Opened, Fact::ResponseStarted) => &[Answer::Done],
        (As::Responding, Fact::ResponseStarted) => &[Answer::Refused],
        (As::Ordered | As::Opened, Fact::ResponseEnded) => &[Answer::Refused],
        (As::Responding, Fact::ResponseEnded) => &[Answer::Done],
    }
}

/// What a backend in a state may answer to a fact.
pub(super) fn backend_answers(state: BackendAs, fact: BackendFact) -> &'static [Answer] {
    use BackendAs as As;
    use BackendFact as Fact;
    match (state, fact) {
        (As::Gone, _) => &[Answer::Stale],
        (_, Fact::WeightChanged) => &[Answer::Done, Answer::Refused],
        // A removed backend is not probed; a late report is of nothing.
        (As::Leaving, Fact::ProbeFinished) => &[Answer::Refused, Answer::Stale],
        (_, Fact::ProbeFinished) => &[Answer::Done, Answer::Refused, Answer::Stale],
        (As::InService, Fact::DrainCancelled)
        | (As::Leaving, Fact::BackendRemoved | Fact::DrainRequested | Fact::DrainCancelled) => {
            &[Answer::Refused]
        }
        (
            As::InService | As::Draining,
            Fact::BackendRemoved | Fact::DrainRequested | Fact::DrainCancelled,
        ) => &[Answer::Done],
    }
}
