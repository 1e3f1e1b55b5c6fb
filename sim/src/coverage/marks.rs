//! Situations that must be met sometimes.

use super::catalogue;

catalogue! {
    /// A rare situation. A long run that never met one is a gap in the faults or the workload.
    Mark {
        /// A retry after GOAWAY while the queue is full.
        RetryAfterGoAwayWithFullQueue = "a retry after GOAWAY with a full queue",
        /// GOAWAY while a request was on its way to be opened.
        GoAwayCrossedOpen = "an order to open a stream crossed a GOAWAY",
        /// GOAWAY during the dial.
        GoAwayWhileConnecting = "GOAWAY before the connection was reported up",
        /// A second GOAWAY with a lower last id.
        GoAwayFell = "a second GOAWAY with a lower last id",
        /// A second GOAWAY with a higher last id, which is illegal.
        GoAwayRose = "a second GOAWAY with a higher last id",
        /// A request that is not idempotent was retried.
        PostRetried = "a request that is not idempotent was retried",
        /// A request ended because its evidence forbids a retry.
        PostNotRetried = "a request that is not idempotent failed for lack of evidence",
        /// A request used up its attempts.
        AttemptsUsedUp = "a request used up its attempts",
        /// The retry budget was empty.
        BudgetEmpty = "the retry budget was empty",
        /// The body could not be replayed.
        NotReplayable = "a failed attempt whose body could not be replayed",
        /// The limit was lowered below the load.
        LimitBelowLoad = "the stream limit fell below the load",
        /// The limit was zero while requests waited.
        LimitZeroWithWaiters = "a stream limit of zero while requests waited",
        /// A suspect connection recovered.
        SuspectRecovered = "a suspect connection recovered",
        /// A suspect connection was closed.
        SuspectClosed = "a suspect connection was closed",
        /// A drain deadline passed with streams open.
        DrainDeadline = "a drain deadline passed with streams open",
        /// A dial passed its deadline.
        ConnectDeadline = "a dial passed its deadline",
        /// A connection was closed because it was idle.
        IdleClosed = "an idle connection was closed",
        /// The request that caused a dial was cancelled before the dial ended.
        DialOutlivedItsCause = "every waiting request was cancelled while a dial was under way",
        /// A request waited longer than the queue deadline.
        QueueDeadline = "a request passed its queue deadline",
        /// A response head did not come.
        ResponseDeadline = "a request passed its response deadline",
        /// So few backends were healthy that all were used.
        Panic = "a stream on a backend that was out, because too few were healthy",
        /// Nobody could serve.
        NobodyInService = "requests waited while no backend was in service",
        /// A backend was spared.
        Spared = "a backend was not ejected because enough were",
        /// Gateway failures.
        GatewayEjected = "a backend was ejected for its statuses",
        /// Probes.
        ProbedDown = "probes took a backend down",
        /// Probes.
        ProbedUp = "probes brought a backend back",
        /// A probe that got lost.
        ProbeLost = "a probe passed its deadline",
        /// A removed backend that had streams.
        GoneAfterWork = "a removed backend finished its streams and was gone",
        /// A drained backend's deadline.
        DrainedByForce = "the deadline of a drained or removed backend ended its streams",
        /// A place was used again.
        PlaceReused = "a place was taken by another backend",
        /// A body that stood still.
        BodyStalled = "a request body stood still for too long",
        /// A response that stood still.
        ResponseStalled = "a response stood still for too long",
        /// Slow start.
        StartedSlowly = "a stream on a backend that starts slowly",
        /// A backend that was ejected answered.
        AnsweredOnTrial = "an ejected backend answered again",
        /// A response was cut short.
        CutShort = "a response was cut short",
        /// A response ended before its request.
        EarlyResponse = "a response ended before its request did",
        /// A cancel met a response in flight.
        CancelWhileResponding = "a client went away in the middle of its response",
        /// Mass disconnect with a full queue.
        DisconnectWithFullQueue = "every connection broke while the queue was full",
        /// Shutdown with requests waiting and responding.
        ShutdownUnderLoad = "a shutdown while requests waited or were answered",
        /// The shutdown's deadline cut something.
        ShutdownCut = "the shutdown's deadline ended a request",
        /// A lost connection whose response arrived after all.
        AnswerAfterLoss = "a response was complete although its connection was lost",
        /// A stream was reset after the connection drained.
        ResetWhileDraining = "a reset was written on a draining connection",
        /// A slot's generations were spent.
        SlotRetired = "a slot was retired because its generations were spent",
        /// A slot was used a second time.
        SlotReused = "a slot was used again",
        /// The peer refused a stream that we were allowed to open.
        RefusedStream = "a stream was refused and tried again",
        /// The peer asked for calm.
        EnhanceYourCalm = "a backend asked for calm after PINGs",
        /// HTTP/1.1 after HTTP/2.
        ProtocolSwitched = "a backend went on with HTTP/1.1",
        /// The clock went back.
        ClockBack = "the clock went back",
    }
}

/// Notes a rare situation when it is met.
macro_rules! sometimes {
    ($coverage:expr, $mark:ident, $met:expr) => {
        if $met {
            $coverage.mark($crate::coverage::Mark::$mark);
        }
    };
}
pub(crate) use sometimes;
