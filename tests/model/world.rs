//! What the world consists of: the ledger's rows, the instances, and what is under way between them.

/// An instance, by its place.
pub type Who = usize;
/// A row, by its place.
pub type At = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The database's clock.
    pub now: u8,
    /// `operation_runs`, oldest first; rolled back and pruned rows stay as `Gone`.
    pub rows: Vec<Row>,
    pub instances: Vec<Instance>,
    /// Settlements that were sent. They arrive at any time, in any order, also after their sender's death; or never.
    pub wire: Vec<Settle>,
    pub left: Left,
    /// What was broken in a step; see [`Broken`].
    pub broken: u16,
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub requests: u8,
    pub crashes: u8,
    pub pauses: u8,
    pub suspends: u8,
    pub drifts: u8,
    pub prunes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Inserted by a transaction of this instance that has not ended.
    Uncommitted(Who),
    Queued,
    Running(Who),
    Completed,
    /// Rolled back, or pruned.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub identity: u8,
    pub status: Status,
    pub holds: bool,
    /// A transaction of this instance has released it and has not ended.
    pub released_by: Option<Who>,
    pub attempt: u8,
    pub token: u8,
    /// How many claims there were. The rules do not know this number; it tells apart what the token should.
    pub claims: u8,
    pub cooldown_until: u8,
}

impl Row {
    pub fn is_active(&self) -> bool {
        matches!(self.status, Status::Queued | Status::Running(_))
    }

    pub fn is_committed(&self) -> bool {
        !matches!(self.status, Status::Uncommitted(_) | Status::Gone)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    Up,
    /// SIGSTOP.
    Paused,
    /// The machine sleeps.
    Suspended,
    Dead,
}

/// A claim, as its execution knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    pub row: At,
    pub token: u8,
    /// Which of the row's claims this is.
    pub claim: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance {
    pub process: Process,
    /// In the database.
    pub lease_until: u8,
    /// Time since it sent the beat that was answered last, by its own clock.
    pub age: u8,
    /// Its board is closed.
    pub fenced: bool,
    /// It has slept: past its fence, which it has not come to yet; or with its clock, and no beat has been answered
    /// that was sent afterwards and after what executes began.
    pub slept: bool,
    pub beat: Beat,
    /// One beat each tick, where everything is prompt.
    pub has_beaten: bool,
    pub admission: Admission,
    /// A claim that was committed, and whose answer is under way.
    pub claimed: Option<Claim>,
    pub execution: Option<Execution>,
    /// What reconcile has seen: a run whose lease is gone.
    pub seen: Option<At>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Beat {
    None,
    /// Sent, with what executed at that time; `old` when the machine has slept since, or began since what
    /// executes after a sleep.
    Sent {
        age: u8,
        executed: Option<Claim>,
        old: bool,
    },
    /// Written, the answer is under way; it names what the instance had lost.
    Written {
        age: u8,
        lost: Option<Claim>,
        old: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Admission {
    None,
    Asked {
        identity: u8,
        rounds: u8,
    },
    /// The release was done, where there was something to release.
    Released {
        identity: u8,
        rounds: u8,
    },
    Inserted {
        row: At,
    },
    /// The insert met a holder, which is looked at in a new statement.
    Conflicted {
        identity: u8,
        rounds: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Execution {
    pub claim: Claim,
    /// The ledger has confirmed the claim.
    pub checked: bool,
    pub calls: u8,
    /// It was told to stop.
    pub stopped: bool,
}

/// A settlement on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Settle {
    pub row: At,
    pub token: u8,
    pub claim: u8,
    /// Else it hands the run back.
    pub completes: bool,
}

/// What a step broke.
pub enum Broken {
    Cooldown = 1,
    Final = 2,
    Canonical = 4,
    Index = 8,
    Holder = 16,
    Stale = 32,
    Verdict = 64,
    /// A call of a run that was taken away, by an instance that slept: within the bound, but worth a look.
    LateCall = 128,
}

impl World {
    pub fn has(&self, broken: Broken) -> bool {
        self.broken & broken as u16 != 0
    }

    pub fn breaks(&mut self, broken: Broken) {
        self.broken |= broken as u16;
    }

    /// The instance's row says that it lives.
    pub fn lives(&self, who: Who) -> bool {
        self.instances[who].lease_until > self.now
    }

    /// The run is running under this claim.
    pub fn owns(&self, who: Who, claim: Claim) -> bool {
        let row = &self.rows[claim.row];
        row.status == Status::Running(who) && row.claims == claim.claim
    }

    /// The identity's row that holds it, committed or not.
    pub fn holder(&self, identity: u8) -> Option<At> {
        self.rows.iter().position(|row| row.identity == identity && row.holds && row.status != Status::Gone)
    }

    /// The same world with its instances in an order that does not depend on their places: they are all alike.
    pub fn without_names(self) -> Self {
        let of = |who: Who| {
            let mine = |row: &Row| {
                let status = matches!(row.status, Status::Uncommitted(by) | Status::Running(by) if by == who);
                (status, row.released_by == Some(who))
            };
            (&self.instances[who], self.rows.iter().map(mine).collect::<Vec<_>>())
        };
        let mut order: Vec<Who> = (0..self.instances.len()).collect();
        order.sort_by(|a, b| of(*a).cmp(&of(*b)));
        if order.is_sorted() {
            return self;
        }
        let place = |who: Who| order.iter().position(|one| *one == who).expect("everybody has a place");
        let instances = order.iter().map(|who| self.instances[*who].clone()).collect();
        let mut rows = self.rows.clone();
        for row in &mut rows {
            row.released_by = row.released_by.map(place);
            row.status = match row.status {
                Status::Uncommitted(by) => Status::Uncommitted(place(by)),
                Status::Running(by) => Status::Running(place(by)),
                other => other,
            };
        }
        Self { instances, rows, ..self }
    }
}
