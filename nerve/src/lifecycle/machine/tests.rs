use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{DisableConfig, PreAvailable, Repeated, Unstable, WarmUpConfig};
use crate::lifecycle::warmup::Shape;

const SECOND: Duration = Duration::from_secs(1);

fn program() -> Program {
    Program {
        argv: vec!["true".to_owned()],
        env: Vec::new(),
        timeout: SECOND,
    }
}

fn repeated() -> Repeated {
    Repeated {
        program: program(),
        interval: SECOND,
    }
}

/// Every command is configured, or none.
fn config(commands: bool) -> LifecycleConfig {
    LifecycleConfig {
        pre_available: commands.then(|| PreAvailable {
            program: program(),
            retry: None,
        }),
        warm_up: Some(WarmUpConfig {
            interval: 2 * SECOND,
            max: 60 * SECOND,
            shape: Shape::Fibonacci,
            stable: commands.then(repeated),
            unstable: Unstable::Reset,
        }),
        disable: DisableConfig {
            shutdown: commands.then(program),
            gracefully_done: commands.then(repeated),
            max: 60 * SECOND,
            min: 3 * SECOND,
        },
    }
}

/// A machine with a clock.
struct Fixture {
    machine: Machine,
    now: Instant,
}

impl Fixture {
    fn new(config: LifecycleConfig) -> Self {
        Self {
            machine: Machine::new(Arc::new(config), 255, None),
            now: Instant::now(),
        }
    }

    fn step(&mut self, event: Event) {
        self.machine.step(event, self.now);
    }

    fn healthy(&mut self) {
        self.step(Event::Checked(Health::Healthy));
    }

    fn end(&mut self, success: bool) {
        let ticket = self.machine.command().expect("a command is wanted").ticket;
        self.step(Event::Ended { ticket, success });
    }

    /// Lets time pass to what is due next.
    fn tick(&mut self, reported: bool) {
        self.now = self.now.max(self.machine.wake_at().expect("something is due"));
        self.step(Event::Tick { reported });
    }

    fn phase(&self) -> &'static str {
        self.machine.stand().phase
    }

    fn wanted(&self) -> Option<CommandKind> {
        self.machine.command().map(|wanted| wanted.kind)
    }
}

#[test]
fn nothing_is_said_before_each_check_has_reported() {
    let mut bench = Fixture::new(config(false));
    assert_eq!(bench.machine.stand().available, None);
    bench.step(Event::Checked(Health::Unknown));
    assert_eq!(bench.machine.stand().available, None);
    bench.step(Event::Checked(Health::Unhealthy("tcp: refused".to_owned())));
    let stand = bench.machine.stand();
    assert_eq!(
        (stand.available, stand.weight, stand.reason.as_str()),
        (Some(false), 0, "tcp: refused")
    );
}

#[test]
fn a_warm_up_takes_thirteen_steps_and_ten_quiet_intervals() {
    let mut bench = Fixture::new(config(false));
    let started = bench.now;
    bench.healthy();
    let mut weights = vec![bench.machine.stand().weight];
    while bench.phase() == "warming up" {
        bench.tick(true);
        weights.push(bench.machine.stand().weight);
    }
    weights.dedup();
    assert_eq!(weights, [1, 2, 3, 4, 6, 9, 15, 23, 38, 61, 98, 158, 255]);
    assert_eq!(bench.now - started, 46 * SECOND);
    assert_eq!(bench.phase(), "up");
    assert_eq!(bench.machine.wake_at(), None);
}

#[test]
fn the_weight_does_not_grow_while_nobody_has_the_report() {
    let mut bench = Fixture::new(config(false));
    bench.healthy();
    for _ in 0..5 {
        bench.tick(false);
    }
    assert_eq!(bench.machine.stand().weight, 1);
    bench.tick(true);
    assert_eq!(bench.machine.stand().weight, 2);
}

#[test]
fn after_the_maximum_the_weight_is_full_whatever_happened() {
    let mut bench = Fixture::new(config(false));
    let started = bench.now;
    bench.healthy();
    while bench.phase() == "warming up" {
        bench.tick(false);
    }
    assert_eq!(bench.now - started, 60 * SECOND);
    assert_eq!(bench.machine.stand().weight, 255);
}

#[test]
fn without_a_warm_up_the_weight_is_full_at_once() {
    let mut bench = Fixture::new(LifecycleConfig {
        warm_up: None,
        ..config(false)
    });
    bench.healthy();
    assert_eq!((bench.phase(), bench.machine.stand().weight), ("up", 255));
}

#[test]
fn the_pre_available_command_runs_once_before_anything_is_said() {
    let mut bench = Fixture::new(config(true));
    bench.healthy();
    assert_eq!(bench.wanted(), Some(CommandKind::PreAvailable));
    assert_eq!(bench.machine.stand().available, None);
    let ticket = bench.machine.command().expect("wanted").ticket;
    bench.healthy();
    assert_eq!(bench.machine.command().expect("the same run").ticket, ticket);
    // Its failure changes nothing.
    bench.end(false);
    assert_eq!(bench.machine.stand().available, Some(true));
    assert_eq!(bench.wanted(), None);
}

#[test]
fn a_service_that_falls_while_it_prepares_is_not_announced() {
    let mut bench = Fixture::new(config(true));
    bench.healthy();
    let ticket = bench.machine.command().expect("wanted").ticket;
    bench.step(Event::Checked(Health::Unhealthy("gone".to_owned())));
    assert_eq!(bench.wanted(), None);
    bench.step(Event::Ended { ticket, success: true });
    assert_eq!(bench.machine.stand().available, Some(false));
}

#[test]
fn the_stability_command_runs_at_once_and_its_failure_starts_the_ramp_again() {
    let mut bench = Fixture::new(config(true));
    bench.healthy();
    bench.end(true);
    bench.tick(true);
    assert_eq!(bench.wanted(), Some(CommandKind::CheckStable));
    bench.end(true);
    while bench.machine.stand().weight < 6 {
        bench.tick(true);
        if bench.wanted().is_some() {
            bench.end(true);
        }
    }
    while bench.wanted().is_none() {
        bench.tick(true);
    }
    bench.end(false);
    assert_eq!(bench.machine.stand().weight, 1);
}

/// With a stability command whose failure does `unstable`, warmed up to the weight 6.
fn warming_up(unstable: Unstable) -> Fixture {
    let mut config = config(true);
    config.pre_available = None;
    if let Some(warm_up) = &mut config.warm_up {
        warm_up.unstable = unstable;
    }
    let mut bench = Fixture::new(config);
    bench.healthy();
    while bench.machine.stand().weight < 6 {
        pass(&mut bench, true);
    }
    bench
}

/// Lets time pass to what is due next; should that be the stability command, it ends so.
fn pass(bench: &mut Fixture, stable: bool) {
    bench.tick(true);
    if bench.wanted().is_some() {
        bench.end(stable);
    }
}

#[test]
fn the_weight_does_not_grow_while_the_stability_command_fails() {
    for (unstable, weight) in [(Unstable::Reset, 1), (Unstable::Hold, 6)] {
        let mut bench = warming_up(unstable);
        let started = bench.now;
        while bench.now - started < 20 * SECOND {
            pass(&mut bench, false);
        }
        assert_eq!(bench.machine.stand().weight, weight, "{unstable:?}");
        while bench.machine.stand().weight < 9 {
            pass(&mut bench, true);
        }
    }
}

#[test]
fn a_restart_goes_on_where_the_ramp_was() {
    let mut before = warming_up(Unstable::Hold);
    let progress = before.machine.progress(before.now).expect("it is warming up");
    assert_eq!((progress.step, progress.ran), (4, 8000));
    before.step(Event::Checked(Health::Unhealthy("x".to_owned())));
    assert_eq!(before.machine.progress(before.now), None, "a failure resets it");

    let restarted = |progress| Fixture {
        machine: Machine::new(Arc::new(config(false)), 255, Some(progress)),
        now: Instant::now(),
    };
    let mut after = restarted(progress);
    assert_eq!(
        after.machine.progress(after.now),
        Some(progress),
        "still known before the first word"
    );
    after.healthy();
    assert_eq!(after.machine.stand().weight, 6);
    let started = after.now;
    while after.phase() == "warming up" {
        after.tick(false);
    }
    assert_eq!(after.now - started, 52 * SECOND, "what it ran before counts");

    let mut warm = restarted(WarmUpProgress::WARM);
    warm.healthy();
    assert_eq!((warm.phase(), warm.machine.stand().weight), ("up", 255));

    for end in [
        Event::Checked(Health::Unhealthy("x".to_owned())),
        Event::Disable { shutdown: false },
    ] {
        let mut failed = restarted(WarmUpProgress::WARM);
        failed.step(end);
        failed.step(Event::Enable { force: false });
        failed.healthy();
        assert_eq!(failed.machine.stand().weight, 1);
    }
}

#[test]
fn a_blocking_command_keeps_the_service_away_until_it_succeeds() {
    let mut config = config(true);
    config.pre_available = Some(PreAvailable {
        program: program(),
        retry: Some(5 * SECOND),
    });
    let mut bench = Fixture::new(config);
    bench.healthy();
    assert_eq!(bench.machine.stand().available, None);
    for _ in 0..3 {
        bench.end(false);
        assert_eq!((bench.wanted(), bench.machine.stand().available), (None, Some(false)));
        let failed = bench.now;
        bench.tick(true);
        assert_eq!(bench.now - failed, 5 * SECOND);
        assert_eq!(bench.wanted(), Some(CommandKind::PreAvailable));
        assert_eq!(bench.machine.stand().available, Some(false));
    }
    bench.end(true);
    assert_eq!(bench.phase(), "warming up");
}

#[test]
fn an_advisory_check_lowers_the_weight_alone() {
    let degraded_reason = Health::Degraded {
        share: PerMille::parse_factor("0.5").expect("a factor"),
        reason: "slow".to_owned(),
    };
    let mut bench = Fixture::new(LifecycleConfig {
        warm_up: None,
        ..config(false)
    });
    bench.step(Event::Checked(degraded_reason));
    let stand = bench.machine.stand();
    assert_eq!(
        (stand.available, stand.weight, stand.degraded_reason.as_str()),
        (Some(true), 128, "slow")
    );
    bench.step(Event::Enable { force: true });
    assert_eq!(bench.machine.stand().weight, 255, "whatever the checks say");
    bench.step(Event::Enable { force: false });
    bench.healthy();
    assert_eq!((bench.machine.stand().weight, bench.phase()), (255, "up"));
}

#[test]
fn disabling_runs_its_commands_then_waits_for_the_minimum() {
    let mut bench = Fixture::new(config(true));
    bench.healthy();
    bench.step(Event::Disable { shutdown: true });
    assert_eq!(bench.machine.stand().available, Some(false));
    assert_eq!(bench.machine.stand().reason, DISABLED);
    assert_eq!(bench.wanted(), Some(CommandKind::DisableShutdown));
    bench.end(true);
    assert_eq!(bench.wanted(), Some(CommandKind::DisableGraceful));
    bench.end(false);
    assert_eq!(bench.wanted(), None);
    bench.tick(true);
    assert_eq!(bench.wanted(), Some(CommandKind::DisableGraceful));
    bench.end(true);
    assert_eq!(bench.machine.settled(), None);
    let started = bench.now;
    bench.tick(true);
    assert_eq!(bench.machine.settled(), Some(Settled::GracefullyDone));
    assert_eq!(bench.now - started, 2 * SECOND);
}

#[test]
fn the_graceful_command_gets_no_longer_than_the_maximum() {
    let mut bench = Fixture::new(config(true));
    let started = bench.now;
    bench.healthy();
    bench.step(Event::Disable { shutdown: false });
    while bench.machine.settled().is_none() {
        if bench.wanted().is_some() && bench.now - started < 59 * SECOND {
            bench.end(false);
        } else {
            bench.tick(true);
        }
    }
    assert_eq!(bench.machine.settled(), Some(Settled::Maximum));
    assert_eq!(bench.now - started, 60 * SECOND);
    assert_eq!(bench.wanted(), None, "a command that ran over the maximum is killed");
}

#[test]
fn a_stop_joins_a_disable_and_runs_the_shutdown_command() {
    let mut bench = Fixture::new(config(true));
    bench.healthy();
    bench.step(Event::Disable { shutdown: false });
    assert_eq!(bench.wanted(), Some(CommandKind::DisableGraceful));
    bench.step(Event::Disable { shutdown: true });
    assert_eq!(bench.wanted(), Some(CommandKind::DisableShutdown));
    bench.end(true);
    bench.end(true);
    bench.tick(true);
    assert_eq!(bench.machine.settled(), Some(Settled::GracefullyDone));
    // A further disable has nothing to wait for; nothing runs twice.
    bench.step(Event::Disable { shutdown: true });
    assert_eq!(
        (bench.wanted(), bench.machine.settled()),
        (None, Some(Settled::GracefullyDone))
    );
}

#[test]
fn a_stop_after_a_disable_runs_the_shutdown_command_alone() {
    let mut bench = Fixture::new(config(true));
    bench.healthy();
    bench.step(Event::Disable { shutdown: false });
    bench.end(true);
    bench.tick(true);
    assert!(bench.machine.settled().is_some());
    bench.step(Event::Disable { shutdown: true });
    assert_eq!(bench.wanted(), Some(CommandKind::DisableShutdown));
    bench.end(true);
    assert!(bench.machine.settled().is_some());
}

#[test]
fn enabling_ends_a_disable() {
    let mut bench = Fixture::new(config(false));
    bench.healthy();
    bench.step(Event::Disable { shutdown: false });
    bench.step(Event::Enable { force: false });
    assert_eq!(bench.phase(), "warming up");
    assert_eq!(bench.machine.settled(), None);
}

#[test]
fn a_forced_service_is_available_until_the_force_is_taken_back() {
    let mut bench = Fixture::new(config(false));
    bench.step(Event::Checked(Health::Unhealthy("x".to_owned())));
    bench.step(Event::Enable { force: true });
    assert_eq!(bench.machine.stand().available, Some(true));
    bench.step(Event::Enable { force: false });
    assert_eq!(bench.machine.stand().available, Some(false));
}

#[test]
fn enabled_again_before_its_checks_reported_it_stays_away() {
    let mut bench = Fixture::new(config(false));
    bench.step(Event::Disable { shutdown: false });
    bench.step(Event::Enable { force: false });
    assert_eq!(bench.machine.stand().available, Some(false));
    bench.healthy();
    assert_eq!(bench.machine.stand().available, Some(true));
}

#[test]
fn a_new_weight_holds_at_once_and_through_the_ramp() {
    let mut bench = Fixture::new(config(false));
    bench.healthy();
    bench.step(Event::Weight(10));
    while bench.phase() == "warming up" {
        bench.tick(true);
    }
    assert_eq!(bench.machine.stand().weight, 10);
    bench.step(Event::Weight(200));
    assert_eq!(bench.machine.stand().weight, 200);
}

#[derive(Debug, Clone)]
enum Act {
    Step(Event),
    EndCommand(bool),
    Pass(u64),
    Wake(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let health = prop_oneof![
        Just(Health::Unknown),
        Just(Health::Healthy),
        Just(Health::Unhealthy("x".to_owned())),
        (1..=1000_u16).prop_map(|share| Health::Degraded {
            share: PerMille::parse_factor(&format!("0.{share:04}")).expect("a factor"),
            reason: "slow".to_owned()
        })
    ];
    let act = prop_oneof![
        health.prop_map(|health| Act::Step(Event::Checked(health))),
        any::<bool>().prop_map(|shutdown| Act::Step(Event::Disable { shutdown })),
        any::<bool>().prop_map(|force| Act::Step(Event::Enable { force })),
        any::<u8>().prop_map(|weight| Act::Step(Event::Weight(weight))),
        (0..9_u64, any::<bool>()).prop_map(|(ticket, success)| Act::Step(Event::Ended { ticket, success })),
        any::<bool>().prop_map(Act::EndCommand),
        (0..90_000_u64).prop_map(Act::Pass),
        any::<bool>().prop_map(Act::Wake),
    ];
    proptest::collection::vec(act, 0..200)
}

proptest! {
    #[test]
    fn whatever_happens_the_machine_keeps_its_word(
        commands in any::<bool>(), blocking in any::<bool>(), acts in acts(),
    ) {
        let mut config = config(commands);
        if let (Some(command), true) = (&mut config.pre_available, blocking) {
            command.retry = Some(SECOND);
        }
        let mut bench = Fixture::new(config);
        for act in acts {
            match act {
                Act::Step(event) => bench.step(event),
                Act::EndCommand(success) => if bench.wanted().is_some() { bench.end(success) },
                Act::Pass(millis) => bench.now += Duration::from_millis(millis),
                Act::Wake(reported) => bench.step(Event::Tick { reported }),
            }
            let stand = bench.machine.stand();
            // A disabled service is never announced, and what is not announced has no weight.
            prop_assert!(stand.intent != Intent::Disabled || stand.available == Some(false));
            prop_assert_eq!(stand.available == Some(true), stand.weight > 0);
            prop_assert!(stand.weight <= stand.full_weight);
            prop_assert_eq!(stand.available == Some(true), stand.reason.is_empty());
            // A wanted command exists, and whoever waits has a command or a time to wake.
            if let Some(kind) = bench.wanted() {
                prop_assert!(bench.machine.program(kind).is_some());
            }
            let waits = matches!(stand.phase, "preparing" | "warming up" | "disabling");
            prop_assert!(!waits || bench.wanted().is_some() || bench.machine.wake_at().is_some());
            prop_assert!(waits || (bench.wanted().is_none() && bench.machine.wake_at().is_none()));
        }
    }

    #[test]
    fn a_disable_always_ends(acts in acts()) {
        let mut bench = Fixture::new(config(true));
        for act in acts {
            if let Act::Step(event) = act {
                bench.step(event);
            }
        }
        bench.step(Event::Disable { shutdown: true });
        let started = bench.now;
        while bench.machine.settled().is_none() {
            if bench.wanted() == Some(CommandKind::DisableShutdown) {
                bench.end(false);
            } else {
                bench.tick(false);
            }
        }
        prop_assert!(bench.now - started <= 60 * SECOND);
    }
}
