//! What can happen, and what it does. Each action names the code that it stands for.

use stateright::{Model, Property};

use crate::rules::{Rules, Size};
use crate::world::{
    Admission, At, Beat, Broken, Claim, Execution, Instance, Left, Process, Row, Settle, Status, Who, World,
};

/// Rounds of release and insert before an admission gives up; as in `store/admission.rs`.
const ROUNDS_MAX: u8 = 8;

pub struct House {
    pub rules: Rules,
    pub size: Size,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A request comes: `actors/registry.rs` begins an admission.
    Ask {
        by: Who,
        identity: u8,
    },
    /// `store/admission.rs`, `release_set`.
    Release(Who),
    /// `store/admission.rs`, `insert_set`.
    Insert(Who),
    /// `store/admission.rs`, `holders_of_set` after a conflict.
    Look(Who),
    /// The admission's transaction ends; the answer leaves.
    Commit(Who),
    /// `store/claims.rs`, `claim_next`: the transaction. Its answer is under way.
    Claim {
        by: Who,
        row: At,
    },
    /// The answer arrives: `actors/board.rs`, `Board::enter`.
    Enter(Who),
    /// `store/claims.rs`, `is_canonical`.
    Check(Who),
    /// `graph/client.rs`, `send`: the execution has not been told to stop, so it calls.
    Call(Who),
    /// `execution/mod.rs`, `Executor::settle` sends the end of an attempt, or hands back what it was told to stop.
    Finish(Who),
    /// `store/settle.rs`, `settle`: the transaction.
    Settle(Settle),
    /// `daemon/pulse.rs` sends a heartbeat.
    Beat(Who),
    /// `store/instances.rs`, `heartbeat`: the transaction.
    Renew(Who),
    /// `daemon/pulse.rs`, `Pulse::renewed`.
    Renewed(Who),
    /// `daemon/pulse.rs`, `Pulse::fence`, after a sleep. In a process that runs it is part of [`Action::Tick`].
    Fence(Who),
    /// `store/reconcile.rs`, `observe`.
    Observe {
        by: Who,
        row: At,
    },
    /// `store/reconcile.rs`, `repair`.
    Repair(Who),
    /// The same two, of which the second looks at all again that the first has seen.
    TakeOver {
        by: Who,
        row: At,
    },
    /// Retention removes a completed run.
    Prune(At),
    Crash(Who),
    Pause(Who),
    Suspend(Who),
    Resume(Who),
    /// Time passes. The clock of `slow` stands still for this tick.
    Tick {
        slow: Option<Who>,
    },
}

impl House {
    fn fence_age(&self) -> u8 {
        self.size.lease - self.rules.fence_margin
    }

    fn fence_due(&self, instance: &Instance) -> bool {
        self.rules.fences && !instance.fenced && instance.age >= self.fence_age()
    }

    fn admission(&self, world: &World, by: Who, actions: &mut Vec<Action>) {
        match world.instances[by].admission {
            Admission::None => {
                if world.left.requests > 0 && world.now <= self.size.requests_until {
                    actions.extend((0..self.size.identities).map(|identity| Action::Ask { by, identity }));
                }
            }
            Admission::Asked { .. } => actions.push(Action::Release(by)),
            Admission::Released { .. } => actions.push(Action::Insert(by)),
            Admission::Conflicted { .. } => actions.push(Action::Look(by)),
            Admission::Inserted { .. } => actions.push(Action::Commit(by)),
        }
    }

    fn execution(&self, world: &World, by: Who, actions: &mut Vec<Action>) {
        let me = &world.instances[by];
        match &me.execution {
            Some(execution) if execution.stopped || execution.calls == self.size.calls => {
                actions.push(Action::Finish(by));
            }
            Some(execution) if !execution.checked && self.rules.checks_canonical => {
                actions.push(Action::Check(by))
            }
            Some(_) => actions.push(Action::Call(by)),
            None if me.claimed.is_some() => actions.push(Action::Enter(by)),
            None if !me.fenced && world.lives(by) => {
                let busy = world.rows.iter().any(|row| matches!(row.status, Status::Running(_)));
                let queued = world.rows.iter().position(|row| row.status == Status::Queued);
                actions.extend(
                    queued.filter(|_| !(busy && self.rules.claim_looks)).map(|row| Action::Claim { by, row }),
                );
            }
            None => {}
        }
    }

    fn heart(&self, world: &World, by: Who, actions: &mut Vec<Action>) {
        let me = &world.instances[by];
        // After a sleep it first stops, then asks, and believes no answer before it has stopped.
        let due = self.fence_due(me);
        if due {
            actions.push(Action::Fence(by));
        }
        match me.beat {
            Beat::None if !due && !me.has_beaten => actions.push(Action::Beat(by)),
            // An answer that took longer than the lease renews nothing.
            Beat::Written { age, .. }
                if !self.rules.stops_before_it_believes || !(due || age >= self.fence_age()) =>
            {
                actions.push(Action::Renewed(by));
            }
            _ => {}
        }
    }

    fn reconcile(&self, world: &World, by: Who, actions: &mut Vec<Action>) {
        if world.instances[by].seen.is_some() {
            return actions.push(Action::Repair(by));
        }
        for (row, run) in world.rows.iter().enumerate() {
            if matches!(run.status, Status::Running(owner) if !world.lives(owner)) {
                // A repair that looks again does what it would do on the spot, however old the observation is.
                let at_once = self.rules.repair_looks_again;
                actions.push(if at_once {
                    Action::TakeOver { by, row }
                } else {
                    Action::Observe { by, row }
                });
            }
        }
    }

    /// What goes wrong, and what brings it right again.
    fn faults(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now > self.size.faults_until {
            return;
        }
        let up = |instance: &Instance| instance.process == Process::Up;
        let someone_else = |who: Who| {
            world.instances.iter().enumerate().any(|(other, instance)| other != who && up(instance))
        };
        for (who, instance) in world.instances.iter().enumerate() {
            match instance.process {
                // The last one is left alone: without anybody nothing is promised.
                Process::Up if someone_else(who) => {
                    let faults = [
                        (world.left.crashes, Action::Crash(who)),
                        (world.left.pauses, Action::Pause(who)),
                        (world.left.suspends, Action::Suspend(who)),
                    ];
                    actions.extend(faults.into_iter().filter(|(left, _)| *left > 0).map(|(_, fault)| fault));
                }
                Process::Paused | Process::Suspended => actions.push(Action::Resume(who)),
                _ => {}
            }
        }
    }

    fn ticks(&self, world: &World, actions: &mut Vec<Action>) {
        let late = |instance: &Instance| instance.process == Process::Up && self.fence_due(instance);
        if world.now == self.size.ticks || world.instances.iter().any(late) {
            return;
        }
        actions.push(Action::Tick { slow: None });
        if world.left.drifts > 0 {
            let up = |who: &Who| world.instances[*who].process == Process::Up;
            let slow = (0..world.instances.len()).filter(up);
            actions.extend(slow.map(|who| Action::Tick { slow: Some(who) }));
        }
    }

    fn apply(&self, world: &mut World, action: Action) -> Option<()> {
        match action {
            Action::Ask { by, identity } => {
                world.left.requests -= 1;
                world.instances[by].admission = Admission::Asked { identity, rounds: 0 };
            }
            Action::Release(by) => self.release(world, by)?,
            Action::Insert(by) => self.insert(world, by)?,
            Action::Look(by) => self.look(world, by),
            Action::Commit(by) => commit(world, by),
            Action::Claim { by, row } => self.claim(world, by, row),
            Action::Enter(by) => {
                let me = &mut world.instances[by];
                let claim = me.claimed.take()?;
                if let Beat::Sent { old, .. } | Beat::Written { old, .. } = &mut me.beat {
                    *old |= me.slept;
                }
                me.execution = Some(Execution { claim, checked: false, calls: 0, stopped: me.fenced });
            }
            Action::Check(by) => {
                let execution = world.instances[by].execution.as_mut()?;
                let row = &world.rows[execution.claim.row];
                let canonical = matches!(row.status, Status::Running(_))
                    && row.token == execution.claim.token
                    && row.holds;
                (execution.checked, execution.stopped) = (canonical, !canonical);
            }
            Action::Call(by) => self.call(world, by)?,
            Action::Finish(by) => {
                let Execution { claim, stopped, .. } = world.instances[by].execution.take()?;
                let settle =
                    Settle { row: claim.row, token: claim.token, claim: claim.claim, completes: !stopped };
                world.wire.push(settle);
                world.wire.sort();
            }
            Action::Settle(settle) => self.settle(world, settle),
            Action::Beat(by) => {
                let me = &mut world.instances[by];
                me.has_beaten = self.size.prompt;
                me.beat = Beat::Sent {
                    age: 0,
                    executed: me.execution.map(|execution| execution.claim),
                    old: false,
                };
            }
            Action::Renew(by) => self.renew(world, by)?,
            Action::Renewed(by) => self.renewed(world, by)?,
            Action::Fence(by) => fence(&mut world.instances[by]),
            Action::Observe { by, row } => world.instances[by].seen = Some(row),
            Action::Repair(by) => {
                let row = world.instances[by].seen.take()?;
                self.repair(world, row);
            }
            Action::TakeOver { row, .. } => self.repair(world, row),
            Action::Prune(row) => {
                world.left.prunes -= 1;
                if world.rows[row].holds {
                    world.breaks(Broken::Holder);
                }
                let row = &mut world.rows[row];
                (row.status, row.holds) = (Status::Gone, false);
            }
            Action::Crash(who) => crash(world, who),
            Action::Pause(who) => {
                world.left.pauses -= 1;
                world.instances[who].process = Process::Paused;
            }
            Action::Suspend(who) => {
                world.left.suspends -= 1;
                world.instances[who].process = Process::Suspended;
            }
            Action::Resume(who) => {
                let due = self.fence_due(&world.instances[who]);
                let me = &mut world.instances[who];
                let suspended = me.process == Process::Suspended;
                (me.process, me.slept) = (Process::Up, due || suspended);
                if let Beat::Sent { old, .. } | Beat::Written { old, .. } = &mut me.beat {
                    *old |= suspended;
                }
            }
            Action::Tick { slow } => self.tick(world, slow),
        }
        Some(())
    }

    // --- admission ---------------------------------------------------------------------------------------------

    fn release(&self, world: &mut World, by: Who) -> Option<()> {
        let Admission::Asked { identity, rounds } = world.instances[by].admission else { return None };
        let ahead = if by == 1 && !self.rules.database_time { self.size.offset } else { 0 };
        let over = |row: &Row| row.status == Status::Completed && row.cooldown_until <= world.now + ahead;
        if let Some(holder) =
            world.holder(identity).filter(|&at| self.rules.release_first && over(&world.rows[at]))
        {
            // A row that another transaction has locked is waited for.
            if world.rows[holder].released_by.is_some() {
                return None;
            }
            world.rows[holder].released_by = Some(by);
        }
        world.instances[by].admission = Admission::Released { identity, rounds };
        Some(())
    }

    fn insert(&self, world: &mut World, by: Who) -> Option<()> {
        let Admission::Released { identity, rounds } = world.instances[by].admission else { return None };
        let mut conflict = false;
        for row in world.rows.iter().filter(|row| row.identity == identity && row.holds) {
            match row.status {
                Status::Gone => {}
                // With the index the outcome of the other transaction is waited for; without it it is not even seen.
                Status::Uncommitted(_) if self.rules.holder_index => return None,
                Status::Uncommitted(_) => {}
                _ if row.released_by == Some(by) => {}
                _ if row.released_by.is_some() && self.rules.holder_index => return None,
                _ => conflict = true,
            }
        }
        if conflict && !self.rules.on_conflict_nothing {
            world.breaks(Broken::Index);
        }
        world.instances[by].admission = if conflict {
            Admission::Conflicted { identity, rounds }
        } else {
            let row = world.rows.len();
            world.rows.push(new_row(identity, Status::Uncommitted(by)));
            Admission::Inserted { row }
        };
        Some(())
    }

    fn look(&self, world: &mut World, by: Who) {
        let Admission::Conflicted { identity, rounds } = world.instances[by].admission else { return };
        let holds = |row: &Row| row.is_committed() && row.identity == identity && row.holds;
        let holder = world.rows.iter().find(|row| holds(row));
        let held = holder.is_some_and(|row| row.is_active() || row.cooldown_until > world.now);
        let me = &mut world.instances[by];
        if held {
            me.admission = Admission::None;
        } else if rounds < ROUNDS_MAX {
            me.admission = Admission::Asked { identity, rounds: rounds + 1 };
        } else {
            me.admission = Admission::None;
            world.breaks(Broken::Verdict);
        }
    }

    // --- execution ---------------------------------------------------------------------------------------------

    fn claim(&self, world: &mut World, by: Who, row: At) {
        let busy = world.rows.iter().any(|row| matches!(row.status, Status::Running(_)));
        if busy {
            // The unique index over running runs refuses it.
            return world.breaks(Broken::Index);
        }
        let run = &mut world.rows[row];
        run.status = Status::Running(by);
        run.attempt += 1;
        run.token += 1;
        run.claims += 1;
        world.instances[by].claimed = Some(Claim { row, token: run.token, claim: run.claims });
    }

    fn call(&self, world: &mut World, by: Who) -> Option<()> {
        let asleep = self.fence_due(&world.instances[by]);
        if asleep && self.rules.calls_look_at_the_clock {
            return None;
        }
        let slept = world.instances[by].slept;
        let execution = world.instances[by].execution.as_mut()?;
        execution.calls += 1;
        let claim = execution.claim;
        if !world.owns(by, claim) {
            // The bound: an instance that slept, and has not come to its fence yet, or to the answer to its next beat.
            world.breaks(if slept { Broken::LateCall } else { Broken::Canonical });
        }
        Some(())
    }

    fn settle(&self, world: &mut World, settle: Settle) {
        let at = world.wire.iter().position(|one| *one == settle).expect("only what is on the wire arrives");
        world.wire.remove(at);
        let row = &world.rows[settle.row];
        let applies = match row.status {
            Status::Running(_) => !self.rules.settle_checks_token || row.token == settle.token,
            Status::Completed => !self.rules.settle_checks_token && !self.rules.completed_is_final,
            _ => false,
        };
        if !applies {
            return;
        }
        if row.claims != settle.claim {
            world.breaks(Broken::Stale);
        }
        if world.rows[settle.row].status == Status::Completed {
            world.breaks(Broken::Final);
        }
        if settle.completes {
            self.complete(world, settle.row);
        } else {
            let row = &mut world.rows[settle.row];
            row.attempt = row.attempt.saturating_sub(1);
            self.requeue(row);
        }
    }

    fn complete(&self, world: &mut World, row: At) {
        world.rows[row].status = Status::Completed;
        world.rows[row].cooldown_until = world.now + self.size.cooldown;
    }

    fn requeue(&self, row: &mut Row) {
        row.status = Status::Queued;
        if !self.rules.token_grows {
            row.token = 0;
        }
    }

    // --- leases ------------------------------------------------------------------------------------------------

    fn renew(&self, world: &mut World, by: Who) -> Option<()> {
        let Beat::Sent { age, executed, old } = world.instances[by].beat else { return None };
        let lost = executed.filter(|claim| !world.owns(by, *claim));
        let until = world.now + self.size.lease;
        let me = &mut world.instances[by];
        me.lease_until = until;
        me.beat = if me.process == Process::Dead { Beat::None } else { Beat::Written { age, lost, old } };
        Some(())
    }

    fn renewed(&self, world: &mut World, by: Who) -> Option<()> {
        let me = &mut world.instances[by];
        let Beat::Written { age, lost, old } = me.beat else { return None };
        (me.beat, me.age, me.fenced) = (Beat::None, age, false);
        me.slept &= old;
        if let Some(execution) = me.execution.as_mut().filter(|one| Some(one.claim) == lost) {
            execution.stopped |= self.rules.beat_tells_losses;
        }
        Some(())
    }

    fn repair(&self, world: &mut World, at: At) {
        let row = &mut world.rows[at];
        if !matches!(row.status, Status::Running(_)) {
            return;
        }
        if row.attempt < self.size.attempts {
            self.requeue(row);
        } else {
            self.complete(world, at);
        }
    }

    /// Drops what makes no difference any more.
    fn forget(&self, world: &mut World) {
        if self.rules.settle_checks_token && self.rules.token_grows {
            let rows = &world.rows;
            let matters =
                |one: &Settle| rows[one.row].status != Status::Completed && rows[one.row].token == one.token;
            world.wire.retain(matters);
        }
        for row in &mut world.rows {
            row.cooldown_until = if row.cooldown_until > world.now { row.cooldown_until } else { 0 };
        }
        for instance in &mut world.instances {
            instance.lease_until = if instance.lease_until > world.now { instance.lease_until } else { 0 };
            instance.age = if instance.fenced { 0 } else { instance.age };
        }
    }

    fn tick(&self, world: &mut World, slow: Option<Who>) {
        world.now += 1;
        world.left.drifts -= u8::from(slow.is_some());
        let lease = self.size.lease;
        if !self.size.leases {
            world.instances.iter_mut().for_each(|instance| instance.lease_until = world.now + lease);
            return;
        }
        for (who, instance) in world.instances.iter_mut().enumerate() {
            instance.has_beaten = false;
            let stands = matches!(instance.process, Process::Suspended | Process::Dead);
            if stands || slow == Some(who) {
                continue;
            }
            instance.age = (instance.age + 1).min(lease);
            match &mut instance.beat {
                Beat::None => {}
                Beat::Sent { age, .. } | Beat::Written { age, .. } => *age = (*age + 1).min(lease),
            }
            let given_up =
                matches!(instance.beat, Beat::Sent { age, .. } | Beat::Written { age, .. } if age == lease);
            if instance.process == Process::Up {
                // The beat has a timeout as long as the lease.
                if given_up {
                    instance.beat = Beat::None;
                }
                if self.rules.fences && instance.age >= self.fence_age() {
                    fence(instance);
                }
            }
        }
    }
}

fn commit(world: &mut World, by: Who) {
    let Admission::Inserted { row } = world.instances[by].admission else { return };
    let now = world.now;
    world.instances[by].admission = Admission::None;
    world.rows[row].status = Status::Queued;
    let identity = world.rows[row].identity;
    let mut cooling = false;
    for (at, other) in world.rows.iter_mut().enumerate() {
        if other.released_by == Some(by) {
            (other.released_by, other.holds) = (None, false);
        }
        cooling |= at != row && other.identity == identity && other.cooldown_until > now;
    }
    if cooling {
        world.breaks(Broken::Cooldown);
    }
}

fn fence(instance: &mut Instance) {
    instance.fenced = true;
    // An answer of before may open the board again.
    instance.slept &= matches!(instance.beat, Beat::Sent { old: true, .. } | Beat::Written { old: true, .. });
    if let Some(execution) = &mut instance.execution {
        execution.stopped = true;
    }
}

fn crash(world: &mut World, who: Who) {
    world.left.crashes -= 1;
    if let Admission::Inserted { row } = world.instances[who].admission {
        (world.rows[row].status, world.rows[row].holds) = (Status::Gone, false);
    }
    for row in world.rows.iter_mut().filter(|row| row.released_by == Some(who)) {
        row.released_by = None;
    }
    let me = &mut world.instances[who];
    // A beat that was sent may still be written.
    let beat = if matches!(me.beat, Beat::Sent { .. }) { me.beat } else { Beat::None };
    *me = Instance { process: Process::Dead, lease_until: me.lease_until, beat, ..fresh(0) };
}

fn new_row(identity: u8, status: Status) -> Row {
    Row {
        identity,
        status,
        holds: true,
        released_by: None,
        attempt: 0,
        token: 0,
        claims: 0,
        cooldown_until: 0,
    }
}

fn fresh(lease_until: u8) -> Instance {
    Instance {
        process: Process::Up,
        lease_until,
        age: 0,
        fenced: false,
        slept: false,
        beat: Beat::None,
        has_beaten: false,
        admission: Admission::None,
        claimed: None,
        execution: None,
        seen: None,
    }
}

impl Model for House {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let Size { requests, crashes, pauses, suspends, drifts, prunes, .. } = self.size;
        vec![World {
            now: 0,
            rows: (0..self.size.accepted).map(|identity| new_row(identity, Status::Queued)).collect(),
            instances: vec![fresh(self.size.lease); self.size.instances],
            wire: Vec::new(),
            left: Left { requests, crashes, pauses, suspends, drifts, prunes },
            broken: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (by, instance) in world.instances.iter().enumerate() {
            if instance.process == Process::Up {
                self.admission(world, by, actions);
                self.execution(world, by, actions);
                self.reconcile(world, by, actions);
                if self.size.leases {
                    self.heart(world, by, actions);
                }
            }
            if matches!(instance.beat, Beat::Sent { .. }) {
                actions.push(Action::Renew(by));
            }
        }
        actions.extend(world.wire.iter().map(|settle| Action::Settle(*settle)));
        actions.dedup();
        if world.left.prunes > 0 {
            let spared = |row: &Row| self.rules.prune_spares_holders && row.holds;
            let old =
                |row: &Row| row.status == Status::Completed && row.released_by.is_none() && !spared(row);
            let rows = world.rows.iter().enumerate().filter(|(_, row)| old(row));
            actions.extend(rows.map(|(at, _)| Action::Prune(at)));
        }
        // Where everything is prompt, time waits until all has been done but what nobody has asked for; an action that has to wait for another's
        // transaction is not one that can be done.
        let can = |action: &Action| {
            !matches!(action, Action::Ask { .. }) && self.next_state(world, action.clone()).is_some()
        };
        let waits = self.size.prompt && actions.iter().any(can);
        if !waits {
            self.ticks(world, actions);
        }
        self.faults(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        self.apply(&mut world, action)?;
        self.forget(&mut world);
        Some(if self.size.alike { world.without_names() } else { world })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}
