//! All transitions of one event: where it is, how its attempt ends, and where it is then.

use std::iter::successors;

use super::*;

/// Policy, place of the event before its attempt, and what happened [since](Since) the last refusal
/// ten minutes ago. Then what becomes of the event, and the ends of the attempt that lead to it.
/// After a comma: what the stream does next.
const TABLE: &str = "\
live, New, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
live, New, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    held           <- denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
live, Queued, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
live, Queued, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    set aside      <- denied, unauthenticated, failed, unavailable, timed out
    queued, park   <- blocked
live, Held, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    held, pause    <- failed, unavailable, timed out
    held, park     <- blocked
live, Held, AnotherHeld:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    held, pause    <- failed, unavailable, timed out
    held, park     <- blocked
live, Aside, Nothing:
    delivered      <- accepted
    aside          <- by item, permanent, denied, unauthenticated, failed, unavailable, timed out
    aside, park    <- blocked
live, Aside, AnotherHeld:
    delivered      <- accepted
    aside, park    <- by item, permanent, denied, unauthenticated
    aside, pause   <- failed, unavailable, timed out
    aside, park    <- blocked
live, Aside, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    aside          <- denied, unauthenticated, failed, unavailable, timed out
    aside, park    <- blocked
live, Aside, LastRound:
    delivered      <- accepted
    dead           <- by item, permanent, denied
    aside          <- unauthenticated
    dead           <- failed
    aside          <- unavailable, timed out
    aside, park    <- blocked
replay, New, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
replay, New, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    held           <- denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
replay, Queued, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
replay, Queued, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    waiting        <- denied, unauthenticated, failed, unavailable, timed out
    queued, park   <- blocked
replay, Held, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    held, pause    <- failed, unavailable, timed out
    held, park     <- blocked
replay, Held, AnotherHeld:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated
    held, pause    <- failed, unavailable, timed out
    held, park     <- blocked
replay, Waiting, Nothing:
    delivered      <- accepted
    held           <- by item, permanent, denied, unauthenticated, failed
    waiting, pause <- unavailable, timed out
    waiting, park  <- blocked
replay, Waiting, AnotherHeld:
    delivered      <- accepted
    waiting, park  <- by item, permanent, denied, unauthenticated
    waiting, pause <- failed, unavailable, timed out
    waiting, park  <- blocked
replay, Waiting, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    waiting        <- denied, unauthenticated, failed, unavailable, timed out
    waiting, park  <- blocked
replay, Waiting, LastRound:
    delivered      <- accepted
    dead           <- by item, permanent, denied
    waiting        <- unauthenticated
    dead           <- failed
    waiting        <- unavailable, timed out
    waiting, park  <- blocked
own position, New, Nothing:
    delivered      <- accepted
    dead           <- by item
    queued, park   <- permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
own position, New, Accepted:
    delivered      <- accepted
    dead           <- by item
    queued, park   <- permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
own position, Queued, Nothing:
    delivered      <- accepted
    dead           <- by item
    queued, park   <- permanent, denied, unauthenticated
    queued, pause  <- failed, unavailable, timed out
    queued, park   <- blocked
own position, Queued, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    waiting        <- denied, unauthenticated, failed, unavailable, timed out
    queued, park   <- blocked
own position, Waiting, Nothing:
    delivered      <- accepted
    dead           <- by item
    waiting, park  <- permanent, denied, unauthenticated
    waiting, pause <- failed, unavailable, timed out
    waiting, park  <- blocked
own position, Waiting, Accepted:
    delivered      <- accepted
    dead           <- by item, permanent
    waiting        <- denied, unauthenticated, failed, unavailable, timed out
    waiting, park  <- blocked
own position, Waiting, LastRound:
    delivered      <- accepted
    dead           <- by item, permanent, denied
    waiting        <- unauthenticated
    dead           <- failed
    waiting        <- unavailable, timed out
    waiting, park  <- blocked
";

/// Returns the places of an event that was refused, one after the other. A new place does not
/// compile before it is part of the table.
fn places() -> impl Iterator<Item = Place> {
    successors(Some(Place::Queued), |place| match place {
        Place::Queued => Some(Place::Held),
        Place::Held => Some(Place::Waiting),
        Place::Waiting => Some(Place::Storing),
        Place::Storing => Some(Place::Aside),
        Place::Aside => None,
    })
}

/// Returns the ends of an attempt, one after the other.
fn attempts() -> impl Iterator<Item = (&'static str, Attempt)> {
    let rejected = || Attempt::PartlyRejected { rejected: vec![(0, "no".into())], refused: 0 };
    let first = ("accepted", Attempt::Accepted);
    successors(Some(first), move |(_, attempt)| match attempt {
        Attempt::Accepted => Some(("by item", rejected())),
        Attempt::PartlyRejected { .. } => Some(("permanent", refused(Class::Permanent))),
        Attempt::Refused { class: Class::Permanent, .. } => {
            Some(("denied", refused(Class::Denied)))
        }
        Attempt::Refused { class: Class::Denied, .. } => {
            Some(("unauthenticated", refused(Class::Unauthenticated)))
        }
        Attempt::Refused { class: Class::Unauthenticated, .. } => {
            Some(("failed", refused(Class::Failed)))
        }
        Attempt::Refused { class: Class::Failed | Class::Unavailable, .. } => {
            Some(("unavailable", unavailable()))
        }
        Attempt::Unavailable { .. } => {
            Some(("timed out", Attempt::TimedOut { reason: "no response".into() }))
        }
        Attempt::TimedOut { .. } => {
            Some(("blocked", Attempt::Blocked { reason: "disk full".into() }))
        }
        Attempt::Blocked { .. } => None,
    })
}

/// What happened since the destination last refused the event.
#[derive(Debug, Clone, Copy)]
enum Since {
    Nothing,
    /// Another event is held by a spell.
    AnotherHeld,
    /// Another event was accepted.
    Accepted,
    /// The same, and the next refusal completes the rounds of denials and failures.
    LastRound,
}

impl Since {
    const ALL: [Self; 4] = [Self::Nothing, Self::AnotherHeld, Self::Accepted, Self::LastRound];
}

/// Makes the next attempt of the event, ten minutes after the last action.
fn refuse_next(machine: &mut Machine, class: Class) {
    let attempt = if class == Class::Unavailable { unavailable() } else { refused(class) };
    machine.now += Duration::from_secs(600);
    assert!(launch(machine), "the event is tried");
    machine.resolution.on(attempt, machine.now);
}

/// Performs actions until the event is in flight alone. Another one is unavailable.
fn launch(machine: &mut Machine) -> bool {
    for _ in 0..100 {
        let mut action = machine.resolution.next(machine.now);
        if action == Action::Read {
            action = machine.resolution.exhausted(machine.now);
        }
        match action {
            Action::Deliver(delivery) if delivery.events[0].0 == 1 => return true,
            Action::Deliver(_) => machine.resolution.on(unavailable(), machine.now),
            Action::SetAside(aside) => {
                aside.iter().for_each(|aside| machine.resolution.stored(aside.event.0));
            }
            Action::BackOff { .. } | Action::SlowDown { .. } | Action::Crowded { .. } => {}
            Action::Park { .. } => machine.resolution.woken(),
            Action::DeadLetter(_) | Action::Read | Action::Wait(_) => return false,
        }
    }
    false
}

/// Returns a machine that attempts an event in this place; none for an event that is new. Returns
/// `None` if the policy has no such event, or does not attempt it there.
fn attempting(policy: Policy, place: Option<Place>, since: Since) -> Option<Machine> {
    let is_early = matches!(place, None | Some(Place::Queued | Place::Held));
    if is_early && matches!(since, Since::LastRound) {
        return None;
    }
    let mut machine = Machine::new(policy);
    machine.resolution.add(events(1..=1));
    let history: &[Class] = match (place, since) {
        (None, _) => &[],
        (Some(Place::Queued), Since::Nothing | Since::AnotherHeld) => &[Class::Unavailable],
        (Some(Place::Queued | Place::Held), _) => &[Class::Denied],
        (_, Since::LastRound) => &[[Class::Failed; 8].as_slice(), &[Class::Denied; 2]].concat(),
        _ => &[Class::Denied; 2],
    };
    for (number, class) in history.iter().enumerate() {
        if number > 0 {
            machine.resolution.accepted_elsewhere(machine.now);
        }
        refuse_next(&mut machine, *class);
    }
    if place == Some(Place::Aside) {
        machine.step(|_| unreachable!("the event is stored"));
    }
    machine.now += Duration::from_secs(600);
    match since {
        Since::Nothing => {}
        Since::AnotherHeld => machine.resolution.add(events(2..=2)),
        Since::Accepted | Since::LastRound => machine.resolution.accepted_elsewhere(machine.now),
    }
    let is_there = |machine: &Machine| machine.resolution.place(1) == place;
    if matches!(since, Since::AnotherHeld) {
        for _ in 0..100 {
            machine.step(|_| unavailable());
            if machine.resolution.place(2) == Some(Place::Held) {
                break;
            }
        }
        if machine.resolution.place(2) != Some(Place::Held) {
            return None;
        }
        machine.now += Duration::from_secs(600);
    }
    (is_there(&machine) && launch(&mut machine) && is_there(&machine)).then_some(machine)
}

/// Returns what becomes of the event.
fn outcome(mut machine: Machine, attempt: Attempt) -> String {
    let resolution = &mut machine.resolution;
    resolution.on(attempt, machine.now);
    let place = match resolution.place(1) {
        None if !resolution.dead.is_empty() => "dead",
        None if resolution.resolved.iter().any(|it| it.seq == 1) => "delivered",
        None => "queued",
        Some(Place::Queued) => "queued",
        Some(Place::Held) => "held",
        Some(Place::Waiting) => "waiting",
        Some(Place::Storing) => "set aside",
        Some(Place::Aside) => "aside",
    };
    let mode = match resolution.mode {
        Mode::Normal => "",
        Mode::Pause { .. } => ", pause",
        Mode::Slow { .. } => ", slow",
        Mode::Parked { .. } => ", park",
    };
    format!("{place}{mode}")
}

#[test]
fn each_attempt_of_an_event_leads_to_its_place_and_mode() {
    let replay = Policy { may_set_aside: false, ..live() };
    let keeps_position = Policy { may_skip: false, may_set_aside: false, ..live() };
    let policies = [("live", live()), ("replay", replay), ("own position", keeps_position)];
    let mut table = String::new();
    for (name, policy) in policies {
        for place in [None].into_iter().chain(places().map(Some)) {
            for since in Since::ALL {
                if attempting(policy, place, since).is_none() {
                    continue;
                }
                let text = place.map_or("New".into(), |place| format!("{place:?}"));
                let _ = writeln!(table, "{name}, {text}, {since:?}:");
                let mut outcomes = Vec::<(String, String)>::new();
                for (end, attempt) in attempts() {
                    let machine = attempting(policy, place, since).unwrap();
                    let outcome = outcome(machine, attempt);
                    match outcomes.last_mut().filter(|(_, last)| *last == outcome) {
                        Some((ends, _)) => *ends += &format!(", {end}"),
                        None => outcomes.push((end.into(), outcome)),
                    }
                }
                for (ends, outcome) in outcomes {
                    let _ = writeln!(table, "    {outcome:<14} <- {ends}");
                }
            }
        }
    }
    assert_eq!(table, TABLE, "\n{table}");
}
