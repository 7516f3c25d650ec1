//! The rules of the house, each of which can be taken away, and the size of the world that they are tried in.

/// A rule that is false is a mutant.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The unique index over holders (`operation_runs_holder_tenant`). Without it, admission looks and then inserts.
    pub holder_index: bool,
    /// Admission releases a holder whose cooldown has passed before it inserts.
    pub release_first: bool,
    /// The insert is `ON CONFLICT DO NOTHING`.
    pub on_conflict_nothing: bool,
    /// Cooldowns are compared with the database's clock, not the instance's.
    pub database_time: bool,
    /// A claim locks its tenant and looks whether a run of it is running.
    pub claim_looks: bool,
    /// A claim's token is larger than any before; else it starts again from the queue.
    pub token_grows: bool,
    /// A settlement is written only under the run's latest token.
    pub settle_checks_token: bool,
    /// The trigger that refuses changes of a completed run.
    pub completed_is_final: bool,
    /// The last look before the first call: the run is running under this token.
    pub checks_canonical: bool,
    /// An instance stops its executions when it could not renew its lease in time.
    pub fences: bool,
    /// How much earlier than its lease it does so.
    pub fence_margin: u8,
    /// After a sleep it does so before it believes the answer to a heartbeat that it had sent before.
    pub stops_before_it_believes: bool,
    /// A call looks at the lease's end itself, without waiting for the fence.
    pub calls_look_at_the_clock: bool,
    /// A repair looks at the run and its owner's lease again, in its own transaction.
    pub repair_looks_again: bool,
    /// The answer to a heartbeat names what the instance owns, and what it lost is stopped.
    pub beat_tells_losses: bool,
    /// Pruning spares rows that hold their identity.
    pub prune_spares_holders: bool,
}

impl Rules {
    /// As the code has them.
    pub const HOUSE: Self = Self {
        holder_index: true,
        release_first: true,
        on_conflict_nothing: true,
        database_time: true,
        claim_looks: true,
        token_grows: true,
        settle_checks_token: true,
        completed_is_final: true,
        checks_canonical: true,
        fences: true,
        fence_margin: 0,
        stops_before_it_believes: true,
        calls_look_at_the_clock: false,
        repair_looks_again: true,
        beat_tells_losses: true,
        prune_spares_holders: true,
    };
}

/// How large the world is, and how much may go wrong in it. Durations are ticks.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub instances: usize,
    pub identities: u8,
    /// Runs that were accepted before the world begins, each of an identity of its own.
    pub accepted: u8,
    /// Instances have leases and heartbeats; else they live for as long as their process.
    pub leases: bool,
    /// Requests at the most.
    pub requests: u8,
    /// No request after this tick.
    pub requests_until: u8,
    /// Where time ends.
    pub ticks: u8,
    pub lease: u8,
    pub cooldown: u8,
    /// Calls of an execution.
    pub calls: u8,
    /// Tries of a run.
    pub attempts: u8,
    /// Nothing goes wrong after this tick; what sleeps by then sleeps for ever.
    pub faults_until: u8,
    /// SIGKILL.
    pub crashes: u8,
    /// SIGSTOP: nothing moves, the clock goes on.
    pub pauses: u8,
    /// A machine put to sleep: its clock stands still, too.
    pub suspends: u8,
    /// Ticks that an instance's clock misses, of all instances together.
    pub drifts: u8,
    /// How far the clock of instance 1 is ahead.
    pub offset: u8,
    /// Rows that may be pruned.
    pub prunes: u8,
    /// Instances are not told apart: fewer states, but a path through them does not say who is who.
    pub alike: bool,
    /// Time passes only when nothing else is to be done: what is sent arrives, what is due is done.
    pub prompt: bool,
}

impl Size {
    /// Two instances, one identity, and nothing that goes wrong but delays of any length and lost messages.
    pub const SMALL: Self = Self {
        instances: 2,
        identities: 1,
        accepted: 1,
        leases: true,
        requests: 0,
        requests_until: u8::MAX,
        ticks: 5,
        lease: 2,
        cooldown: 2,
        calls: 1,
        attempts: 2,
        faults_until: u8::MAX,
        crashes: 0,
        pauses: 0,
        suspends: 0,
        drifts: 0,
        offset: 0,
        prunes: 0,
        alike: true,
        prompt: false,
    };
}
