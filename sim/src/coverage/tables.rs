//! The states that facts can meet, the facts, and the answers allowed in each state.

baton::words! {
    /// The state of a connection that a fact meets.
    pub enum ConnectionAs {
        /// Never existed, or ended.
        Gone = "gone",
        /// The dial is in flight.
        Connecting = "connecting",
        /// Ready, below its limit.
        Available = "available",
        /// Ready, at its limit.
        InUse = "in_use",
        /// Silent, with a PING in flight.
        Suspect = "suspect",
        /// Accepts no new streams.
        Draining = "draining",
        /// Closed by the peer; some stream ends are not yet reported.
        Lost = "lost",
    }

    /// Facts about a connection.
    pub enum ConnectionFact {
        /// `Connected`
        Connected = "Connected",
        /// `ConnectFailed`
        ConnectFailed = "ConnectFailed",
        /// `MaxStreamsChanged`
        MaxStreamsChanged = "MaxStreamsChanged",
        /// `GoAwayReceived`
        GoAwayReceived = "GoAwayReceived",
        /// `KeepAliveAnnounced`
        KeepAliveAnnounced = "KeepAliveAnnounced",
        /// `FrameReceived`
        FrameReceived = "FrameReceived",
        /// `Pong`
        Pong = "Pong",
        /// `DeliveryChecked`
        DeliveryChecked = "DeliveryChecked",
        /// `ConnectionClosed`
        ConnectionClosed = "ConnectionClosed",
    }

    /// The state of a stream that a fact meets.
    pub enum StreamAs {
        /// Never existed, or ended.
        Gone = "gone",
        /// Ordered; its id is not yet reported.
        Ordered = "ordered",
        /// Opened, without a response.
        Opened = "opened",
        /// Response started.
        Responding = "responding",
        /// Reset ordered, not yet on the wire.
        Resetting = "resetting",
    }

    /// Facts about a stream.
    pub enum StreamFact {
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
        /// `UploadBlocked`
        UploadBlocked = "UploadBlocked",
    }

    /// The state of a backend that a fact meets.
    pub enum BackendAs {
        /// Never existed, or was freed.
        Gone = "gone",
        /// Receives streams.
        InService = "in service",
        /// Receives no streams, by order of the operator.
        Draining = "draining",
        /// Removed.
        Removed = "removed",
    }

    /// Facts about a backend.
    pub enum BackendFact {
        /// `BackendRemoved`
        BackendRemoved = "BackendRemoved",
        /// `DrainRequested`
        DrainRequested = "DrainRequested",
        /// `DrainCancelled`
        DrainCancelled = "DrainCancelled",
        /// `WeightChanged`
        WeightChanged = "WeightChanged",
        /// `HealthCheckFinished`
        HealthCheckFinished = "HealthCheckFinished",
    }

    /// The state of a request that a fact meets.
    pub enum RequestAs {
        /// Never existed, or ended.
        Gone = "gone",
        /// Waiting for a connection.
        Waiting = "waiting",
        /// Given to a connection.
        Sent = "sent",
        /// Response started.
        Responding = "responding",
    }

    /// Facts about a request.
    pub enum RequestFact {
        /// `ReplayBufferExceeded`
        ReplayBufferExceeded = "ReplayBufferExceeded",
        /// `RequestCancelled`
        RequestCancelled = "RequestCancelled",
    }

    /// The phase of a pool that a fact meets.
    pub enum PhaseAs {
        /// In service.
        Running = "running",
        /// Shutdown was requested.
        Draining = "draining",
        /// The shutdown's deadline passed.
        Over = "over",
    }

    /// The pool's answer to a fact.
    pub enum Answer {
        /// The fact was current.
        Done = "done",
        /// The fact is impossible.
        Refused = "refused",
        /// The fact concerns something that ended.
        Stale = "stale",
    }

    /// An operation of the operator or the driver on a pool, with its result.
    pub(super) enum Operation {
        Added = "BackendAdded: to a free slot",
        AddedForAnother = "BackendAdded: in place of a removed one",
        NotAdded = "BackendAdded: refused",
        Changed = "SettingChanged: done",
        NotChanged = "SettingChanged: refused",
    }
}

/// The answers allowed for a connection in a state.
pub(crate) fn connection_answers(state: ConnectionAs, fact: ConnectionFact) -> &'static [Answer] {
    use ConnectionAs as As;
    use ConnectionFact as Fact;
    match (state, fact) {
        (As::Gone, _) => &[Answer::Stale],
        (
            As::Connecting,
            Fact::MaxStreamsChanged | Fact::KeepAliveAnnounced | Fact::Pong | Fact::DeliveryChecked,
        )
        | (As::Lost, Fact::ConnectionClosed) => &[Answer::Refused],
        (As::Connecting, _) => &[Answer::Done],
        (_, Fact::Connected | Fact::ConnectFailed) => &[Answer::Refused],
        (_, Fact::Pong | Fact::DeliveryChecked) => &[Answer::Done, Answer::Refused],
        (
            As::Available | As::InUse | As::Suspect | As::Draining | As::Lost,
            Fact::MaxStreamsChanged
            | Fact::KeepAliveAnnounced
            | Fact::GoAwayReceived
            | Fact::FrameReceived
            | Fact::ConnectionClosed,
        ) => &[Answer::Done],
    }
}

/// The answer of a stream in a state.
pub(crate) fn stream_answer(state: StreamAs, fact: StreamFact) -> Answer {
    use StreamAs as As;
    use StreamFact as Fact;
    match (state, fact) {
        (As::Gone, _) => Answer::Stale,
        (As::Resetting, Fact::ResetSent) => Answer::Done,
        (As::Resetting, _) => Answer::Stale,
        (_, Fact::ResetSent) => Answer::Refused,
        (As::Ordered, Fact::StreamOpened) => Answer::Done,
        (As::Opened | As::Responding, Fact::StreamOpened) => Answer::Refused,
        (
            _,
            Fact::RequestSent | Fact::StreamFailed | Fact::BodyProgressed | Fact::UploadBlocked,
        ) => Answer::Done,
        (As::Ordered | As::Opened, Fact::ResponseStarted) => Answer::Done,
        (As::Responding, Fact::ResponseStarted) => Answer::Refused,
        (As::Ordered | As::Opened, Fact::ResponseEnded) => Answer::Refused,
        (As::Responding, Fact::ResponseEnded) => Answer::Done,
    }
}

/// The answers allowed for a backend in a state.
pub(super) fn backend_answers(state: BackendAs, fact: BackendFact) -> &'static [Answer] {
    use BackendAs as As;
    use BackendFact as Fact;
    match (state, fact) {
        (As::Gone, _) => &[Answer::Stale],
        (_, Fact::WeightChanged) => &[Answer::Done, Answer::Refused],
        // A removed backend is not checked; a late result is stale.
        (As::Removed, Fact::HealthCheckFinished) => &[Answer::Refused, Answer::Stale],
        (_, Fact::HealthCheckFinished) => &[Answer::Done, Answer::Refused, Answer::Stale],
        (As::InService, Fact::DrainCancelled)
        | (As::Removed, Fact::BackendRemoved | Fact::DrainRequested | Fact::DrainCancelled) => {
            &[Answer::Refused]
        }
        (As::Draining, Fact::DrainRequested) => &[Answer::Done, Answer::Refused],
        (
            As::InService | As::Draining,
            Fact::BackendRemoved | Fact::DrainRequested | Fact::DrainCancelled,
        ) => &[Answer::Done],
    }
}

/// The answers allowed for a request in a state.
pub(super) fn request_answers(state: RequestAs, _: RequestFact) -> &'static [Answer] {
    if state == RequestAs::Gone { &[Answer::Stale] } else { &[Answer::Done] }
}
