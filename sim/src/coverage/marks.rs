//! Rare situations that a long run must meet.

baton::words! {
    /// A rare situation. If a long run never meets one, the faults or the workload have a gap.
    pub enum Mark {
        /// A retry after GOAWAY while the queue is full.
        RetryAfterGoAwayWithFullQueue = "a retry after GOAWAY with a full queue",
        /// GOAWAY arrived while an order to open a stream was pending.
        GoAwayCrossedOpen = "GOAWAY crossed an order to open a stream",
        /// GOAWAY arrived during the dial.
        GoAwayWhileConnecting = "GOAWAY before the connection was reported up",
        /// A second GOAWAY with a lower last id.
        GoAwayFell = "a second GOAWAY with a lower last id",
        /// A second GOAWAY with a higher last id, which is illegal.
        GoAwayRose = "a second GOAWAY with a higher last id",
        /// A non-idempotent request was retried.
        PostRetried = "a non-idempotent request was retried",
        /// A non-idempotent request ended because its evidence forbids a retry.
        PostNotRetried = "a non-idempotent request was not retried for lack of evidence",
        /// A request used up its attempts.
        AttemptsUsedUp = "a request used up its attempts",
        /// A retry waited for a place in the budget.
        BudgetEmpty = "a retry waited for a place in the budget",
        /// The body of a failed attempt could not be replayed.
        NotReplayable = "a failed attempt whose body could not be replayed",
        /// The stream limit was lowered below the load.
        LimitBelowLoad = "the stream limit fell below the load",
        /// The stream limit was zero while requests waited.
        LimitZeroWithWaiters = "a stream limit of zero while requests waited",
        /// A suspect connection recovered.
        SuspectRecovered = "a suspect connection recovered",
        /// A suspect connection was closed.
        SuspectClosed = "a suspect connection was closed",
        /// The host of a suspect connection acknowledges what it gets.
        BusyBackend = "a suspect connection has a host that acknowledges",
        /// A suspect connection was closed because the system cannot tell if its host is alive.
        DeliveryUnknown = "a suspect connection was closed without knowledge of its host",
        /// A drain deadline passed with streams open.
        DrainDeadline = "a drain deadline passed with streams open",
        /// A dial passed its deadline.
        ConnectDeadline = "a dial passed its deadline",
        /// A connection was closed because it was idle.
        IdleClosed = "an idle connection was closed",
        /// An idle connection was closed because another one was dead.
        StaleClosed = "an idle connection was closed because another one was dead",
        /// All requests that waited for a dial were cancelled during the dial.
        DialOutlivedItsCause = "every waiting request was cancelled during a dial",
        /// A request waited longer than the queue timeout.
        QueueDeadline = "a request passed its queue deadline",
        /// A response head did not arrive in time.
        ResponseDeadline = "a request passed its response deadline",
        /// Fail-open used an unhealthy backend.
        FailOpen = "a stream on an unhealthy backend, because too few were healthy",
        /// Requests waited and no backend was in service.
        NoneInService = "requests waited while no backend was in service",
        /// The ejection limit kept a backend in service.
        EjectionOverflow = "a backend was not ejected because of the ejection limit",
        /// Gateway failures ejected a backend.
        GatewayEjected = "a backend was ejected for gateway failures",
        /// Health checks took a backend down.
        CheckedDown = "health checks took a backend down",
        /// Health checks brought a backend up.
        CheckedUp = "health checks brought a backend up",
        /// A health check was lost.
        HealthCheckLost = "a health check passed its deadline",
        /// A backend is down in a pool because another worker's checks failed.
        DownByReport = "a worker took a backend down for the health checks of another",
        /// A pool that replaced another one served a request.
        Succeeded = "a pool that replaced another one served a request",
        /// A removed backend with streams finished them.
        GoneAfterWork = "a removed backend finished its streams and was freed",
        /// The drain deadline of a backend ended its streams.
        DrainedByForce = "the deadline of a drained or removed backend ended its streams",
        /// A backend slot was used again.
        PlaceReused = "a backend slot was used again",
        /// A request body made no progress until its deadline.
        BodyStalled = "a request body stalled until its deadline",
        /// A backend took no more of a request body until the deadline.
        UploadBlocked = "a backend took no more of a request body until the deadline",
        /// A response made no progress until its deadline.
        ResponseStalled = "a response stalled until its deadline",
        /// A backend in slow start got a stream.
        StartedSlowly = "a stream on a backend in slow start",
        /// An ejected backend answered.
        AnsweredWhileHalfOpen = "an ejected backend answered again",
        /// A response was cut short.
        CutShort = "a response was cut short",
        /// A response ended before its request.
        EarlyResponse = "a response ended before its request did",
        /// A client cancelled while its response was in flight.
        CancelWhileResponding = "a client cancelled in the middle of its response",
        /// Every connection broke while the queue was full.
        DisconnectWithFullQueue = "every connection broke while the queue was full",
        /// A shutdown was requested while requests waited or were being answered.
        ShutdownUnderLoad = "a shutdown while requests waited or were being answered",
        /// The shutdown's deadline ended a request.
        ShutdownCut = "the shutdown's deadline ended a request",
        /// A response was complete although its connection was lost.
        AnswerAfterLoss = "a response was complete although its connection was lost",
        /// A reset was written on a draining connection.
        ResetWhileDraining = "a reset was written on a draining connection",
        /// A slot was retired because it reached the generation limit.
        SlotRetired = "a slot was retired at its generation limit",
        /// A slot was used a second time.
        SlotReused = "a slot was used again",
        /// The peer refused a stream within its own limit.
        RefusedStream = "a stream was refused and retried",
        /// A backend sent ENHANCE_YOUR_CALM after PINGs.
        EnhanceYourCalm = "a backend sent ENHANCE_YOUR_CALM after PINGs",
        /// A backend switched to HTTP/1.1.
        ProtocolSwitched = "a backend switched to HTTP/1.1",
        /// The clock went back.
        ClockBack = "the clock went back",
    }
}

/// Records a rare situation when it is met.
macro_rules! sometimes {
    ($coverage:expr, $mark:ident, $met:expr) => {
        if $met {
            $coverage.mark($crate::coverage::Mark::$mark);
        }
    };
}
pub(crate) use sometimes;
