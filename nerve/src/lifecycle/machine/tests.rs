use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::warmup_shape::Shape;
use crate::config::{DisableConfig, PreAvailable, Repeated, Unstable, WarmUpConfig};

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

/// All commands are configured, or none.
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

fn intent(intent: Intent) -> Event {
    Event::Overrides(Effective {
        intent,
        ..Effective::default()
    })
}

fn disabled(shutdown: bool) -> Event {
    Event::Overrides(Effective {
        intent: Intent::Disabled,
        shutdown,
        ..Effective::default()
    })
}

fn weight(weight: u8) -> Event {
    Event::Overrides(Effective {
        weight: Some(weight),
        ..Effective::default()
    })
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
        let run = self.machine.command().expect("a command should run").id;
        self.step(Event::Ended { run, success });
    }

    /// Advances the time to the next tick that is due.
    fn tick(&mut self, reported: bool) {
        self.now = self.now.max(self.machine.wake_at().expect("something is due"));
        self.step(Event::Tick { reported });
    }

    fn phase(&self) -> &'static str {
        self.machine.status().phase.as_str()
    }

    fn command(&self) -> Option<CommandKind> {
        self.machine.command().map(|command| command.kind)
    }
}

#[test]
fn nothing_is_reported_before_each_check_has_a_result() {
    let mut fixture = Fixture::new(config(false));
    assert_eq!(fixture.machine.status().available, None);
    fixture.step(Event::Checked(Health::Unknown));
    assert_eq!(fixture.machine.status().available, None);
    fixture.step(Event::Checked(Health::Unhealthy("tcp: refused".to_owned())));
    let status = fixture.machine.status();
    assert_eq!(
        (status.available, status.weight, status.reason.as_str()),
        (Some(false), 0, "tcp: refused")
    );
}

#[test]
fn a_warm_up_takes_thirteen_steps_and_ten_quiet_intervals() {
    let mut fixture = Fixture::new(config(false));
    let started = fixture.now;
    fixture.healthy();
    let mut weights = vec![fixture.machine.status().weight];
    while fixture.phase() == "warming up" {
        fixture.tick(true);
        weights.push(fixture.machine.status().weight);
    }
    weights.dedup();
    assert_eq!(weights, [1, 2, 3, 4, 6, 9, 15, 23, 38, 61, 98, 158, 255]);
    assert_eq!(fixture.now - started, 46 * SECOND);
    assert_eq!(fixture.phase(), "up");
    assert_eq!(fixture.machine.wake_at(), None);
}

#[test]
fn the_weight_does_not_grow_until_a_report_is_delivered() {
    let mut fixture = Fixture::new(config(false));
    fixture.healthy();
    for _ in 0..5 {
        fixture.tick(false);
    }
    assert_eq!(fixture.machine.status().weight, 1);
    fixture.tick(true);
    assert_eq!(fixture.machine.status().weight, 2);
}

#[test]
fn the_weight_is_full_after_the_maximum_duration() {
    let mut fixture = Fixture::new(config(false));
    let started = fixture.now;
    fixture.healthy();
    while fixture.phase() == "warming up" {
        fixture.tick(false);
    }
    assert_eq!(fixture.now - started, 60 * SECOND);
    assert_eq!(fixture.machine.status().weight, 255);
}

#[test]
fn without_a_warm_up_the_weight_is_full_at_once() {
    let mut fixture = Fixture::new(LifecycleConfig {
        warm_up: None,
        ..config(false)
    });
    fixture.healthy();
    assert_eq!((fixture.phase(), fixture.machine.status().weight), ("up", 255));
}

#[test]
fn the_pre_available_command_runs_once_before_the_first_report() {
    let mut fixture = Fixture::new(config(true));
    fixture.healthy();
    assert_eq!(fixture.command(), Some(CommandKind::PreAvailable));
    assert_eq!(fixture.machine.status().available, None);
    let run = fixture.machine.command().expect("a command should run").id;
    fixture.healthy();
    assert_eq!(fixture.machine.command().expect("the same run").id, run);
    // Its failure changes nothing.
    fixture.end(false);
    assert_eq!(fixture.machine.status().available, Some(true));
    assert_eq!(fixture.command(), None);
}

#[test]
fn a_service_that_fails_while_preparing_is_not_registered() {
    let mut fixture = Fixture::new(config(true));
    fixture.healthy();
    let run = fixture.machine.command().expect("a command should run").id;
    fixture.step(Event::Checked(Health::Unhealthy("gone".to_owned())));
    assert_eq!(fixture.command(), None);
    fixture.step(Event::Ended { run, success: true });
    assert_eq!(fixture.machine.status().available, Some(false));
}

#[test]
fn a_failure_of_the_stability_command_restarts_the_ramp() {
    let mut fixture = Fixture::new(config(true));
    fixture.healthy();
    fixture.end(true);
    fixture.tick(true);
    assert_eq!(fixture.command(), Some(CommandKind::CheckStable));
    fixture.end(true);
    while fixture.machine.status().weight < 6 {
        fixture.tick(true);
        if fixture.command().is_some() {
            fixture.end(true);
        }
    }
    while fixture.command().is_none() {
        fixture.tick(true);
    }
    fixture.end(false);
    assert_eq!(fixture.machine.status().weight, 1);
}

/// A service with a stability command whose failure does `unstable`, warmed up to the weight 6.
fn warming_up(unstable: Unstable) -> Fixture {
    let mut config = config(true);
    config.pre_available = None;
    if let Some(warm_up) = &mut config.warm_up {
        warm_up.unstable = unstable;
    }
    let mut fixture = Fixture::new(config);
    fixture.healthy();
    while fixture.machine.status().weight < 6 {
        pass(&mut fixture, true);
    }
    fixture
}

/// Advances the time to the next tick that is due, and ends the stability command if that runs.
fn pass(fixture: &mut Fixture, stable: bool) {
    fixture.tick(true);
    if fixture.command().is_some() {
        fixture.end(stable);
    }
}

#[test]
fn the_weight_does_not_grow_while_the_stability_command_fails() {
    for (unstable, weight) in [(Unstable::Reset, 1), (Unstable::Hold, 6)] {
        let mut fixture = warming_up(unstable);
        let started = fixture.now;
        while fixture.now - started < 20 * SECOND {
            pass(&mut fixture, false);
        }
        assert_eq!(fixture.machine.status().weight, weight, "{unstable:?}");
        while fixture.machine.status().weight < 9 {
            pass(&mut fixture, true);
        }
    }
}

#[test]
fn a_restart_resumes_the_ramp() {
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
        "still known before the first check"
    );
    after.healthy();
    assert_eq!(after.machine.status().weight, 6);
    let started = after.now;
    while after.phase() == "warming up" {
        after.tick(false);
    }
    assert_eq!(after.now - started, 52 * SECOND, "its earlier warm-up counts");

    let mut warm = restarted(WarmUpProgress::WARM);
    warm.healthy();
    assert_eq!((warm.phase(), warm.machine.status().weight), ("up", 255));

    for end in [Event::Checked(Health::Unhealthy("x".to_owned())), disabled(false)] {
        let mut failed = restarted(WarmUpProgress::WARM);
        failed.step(end);
        failed.step(intent(Intent::Enabled));
        failed.healthy();
        assert_eq!(failed.machine.status().weight, 1);
    }
}

#[test]
fn a_blocking_command_keeps_the_service_down_until_it_succeeds() {
    let mut config = config(true);
    config.pre_available = Some(PreAvailable {
        program: program(),
        retry: Some(5 * SECOND),
    });
    let mut fixture = Fixture::new(config);
    fixture.healthy();
    assert_eq!(fixture.machine.status().available, None);
    for _ in 0..3 {
        fixture.end(false);
        assert_eq!(
            (fixture.command(), fixture.machine.status().available),
            (None, Some(false))
        );
        let failed = fixture.now;
        fixture.tick(true);
        assert_eq!(fixture.now - failed, 5 * SECOND);
        assert_eq!(fixture.command(), Some(CommandKind::PreAvailable));
        assert_eq!(fixture.machine.status().available, Some(false));
    }
    fixture.end(true);
    assert_eq!(fixture.phase(), "warming up");
}

#[test]
fn an_advisory_check_only_lowers_the_weight() {
    let degraded_reason = Health::Degraded {
        share: PerMille::parse_factor("0.5").expect("a factor"),
        reason: "slow".to_owned(),
    };
    let mut fixture = Fixture::new(LifecycleConfig {
        warm_up: None,
        ..config(false)
    });
    fixture.step(Event::Checked(degraded_reason));
    let status = fixture.machine.status();
    assert_eq!(
        (status.available, status.weight, status.degraded_reason.as_str()),
        (Some(true), 128, "slow")
    );
    fixture.step(intent(Intent::Forced));
    assert_eq!(fixture.machine.status().weight, 255, "independent of the checks");
    fixture.step(intent(Intent::Enabled));
    fixture.healthy();
    assert_eq!((fixture.machine.status().weight, fixture.phase()), (255, "up"));
}

#[test]
fn disabling_runs_its_commands_then_waits_for_the_minimum() {
    let mut fixture = Fixture::new(config(true));
    fixture.healthy();
    fixture.step(disabled(true));
    assert_eq!(fixture.machine.status().available, Some(false));
    assert_eq!(fixture.machine.status().reason, DISABLED);
    assert_eq!(fixture.command(), Some(CommandKind::DisableShutdown));
    fixture.end(true);
    assert_eq!(fixture.command(), Some(CommandKind::DisableGraceful));
    fixture.end(false);
    assert_eq!(fixture.command(), None);
    fixture.tick(true);
    assert_eq!(fixture.command(), Some(CommandKind::DisableGraceful));
    fixture.end(true);
    assert_eq!(fixture.machine.settled(), None);
    let started = fixture.now;
    fixture.tick(true);
    assert_eq!(fixture.machine.settled(), Some(Settled::GracefullyDone));
    assert_eq!(fixture.now - started, 2 * SECOND);
}

#[test]
fn the_graceful_command_ends_at_the_maximum() {
    let mut fixture = Fixture::new(config(true));
    let started = fixture.now;
    fixture.healthy();
    fixture.step(disabled(false));
    while fixture.machine.settled().is_none() {
        if fixture.command().is_some() && fixture.now - started < 59 * SECOND {
            fixture.end(false);
        } else {
            fixture.tick(true);
        }
    }
    assert_eq!(fixture.machine.settled(), Some(Settled::Maximum));
    assert_eq!(fixture.now - started, 60 * SECOND);
    assert_eq!(fixture.command(), None, "a command that ran over the maximum is killed");
}

#[test]
fn a_stop_joins_a_disable_and_runs_the_shutdown_command() {
    let mut fixture = Fixture::new(config(true));
    fixture.healthy();
    fixture.step(disabled(false));
    assert_eq!(fixture.command(), Some(CommandKind::DisableGraceful));
    fixture.step(disabled(true));
    assert_eq!(fixture.command(), Some(CommandKind::DisableShutdown));
    fixture.end(true);
    fixture.end(true);
    fixture.tick(true);
    assert_eq!(fixture.machine.settled(), Some(Settled::GracefullyDone));
    // A further disable waits for nothing; no command runs twice.
    fixture.step(disabled(true));
    assert_eq!(
        (fixture.command(), fixture.machine.settled()),
        (None, Some(Settled::GracefullyDone))
    );
}

#[test]
fn a_stop_after_a_disable_runs_only_the_shutdown_command() {
    let mut fixture = Fixture::new(config(true));
    fixture.healthy();
    fixture.step(disabled(false));
    fixture.end(true);
    fixture.tick(true);
    assert!(fixture.machine.settled().is_some());
    fixture.step(disabled(true));
    assert_eq!(fixture.command(), Some(CommandKind::DisableShutdown));
    fixture.end(true);
    assert!(fixture.machine.settled().is_some());
}

#[test]
fn enabling_ends_a_disable() {
    let mut fixture = Fixture::new(config(false));
    fixture.healthy();
    fixture.step(disabled(false));
    fixture.step(intent(Intent::Enabled));
    assert_eq!(fixture.phase(), "warming up");
    assert_eq!(fixture.machine.settled(), None);
}

#[test]
fn a_forced_service_is_available_until_it_is_enabled() {
    let mut fixture = Fixture::new(config(false));
    fixture.step(Event::Checked(Health::Unhealthy("x".to_owned())));
    fixture.step(intent(Intent::Forced));
    assert_eq!(fixture.machine.status().available, Some(true));
    fixture.step(intent(Intent::Enabled));
    assert_eq!(fixture.machine.status().available, Some(false));
}

#[test]
fn a_service_enabled_before_its_first_check_stays_down() {
    let mut fixture = Fixture::new(config(false));
    fixture.step(disabled(false));
    fixture.step(intent(Intent::Enabled));
    assert_eq!(fixture.machine.status().available, Some(false));
    fixture.healthy();
    assert_eq!(fixture.machine.status().available, Some(true));
}

#[test]
fn a_new_weight_applies_at_once_and_through_the_ramp() {
    let mut fixture = Fixture::new(config(false));
    fixture.healthy();
    fixture.step(weight(10));
    while fixture.phase() == "warming up" {
        fixture.tick(true);
    }
    assert_eq!(fixture.machine.status().weight, 10);
    fixture.step(weight(200));
    assert_eq!(fixture.machine.status().weight, 200);
}

#[derive(Debug, Clone)]
enum Step {
    Event(Event),
    EndCommand(bool),
    Pass(u64),
    Wake(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let health = prop_oneof![
        Just(Health::Unknown),
        Just(Health::Healthy),
        Just(Health::Unhealthy("x".to_owned())),
        (1..=1000_u16).prop_map(|share| Health::Degraded {
            share: PerMille::parse_factor(&format!("0.{share:04}")).expect("a factor"),
            reason: "slow".to_owned()
        })
    ];
    let step = prop_oneof![
        health.prop_map(|health| Step::Event(Event::Checked(health))),
        any::<bool>().prop_map(|shutdown| Step::Event(disabled(shutdown))),
        any::<bool>().prop_map(|forced| Step::Event(intent(if forced { Intent::Forced } else { Intent::Enabled }))),
        any::<u8>().prop_map(|full| Step::Event(weight(full))),
        (0..9_u64, any::<bool>()).prop_map(|(run, success)| Step::Event(Event::Ended { run, success })),
        any::<bool>().prop_map(Step::EndCommand),
        (0..90_000_u64).prop_map(Step::Pass),
        any::<bool>().prop_map(Step::Wake),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_invariants_hold_after_any_events(
        commands in any::<bool>(), blocking in any::<bool>(), steps in steps(),
    ) {
        let mut config = config(commands);
        if let (Some(command), true) = (&mut config.pre_available, blocking) {
            command.retry = Some(SECOND);
        }
        let mut fixture = Fixture::new(config);
        for step in steps {
            match step {
                Step::Event(event) => fixture.step(event),
                Step::EndCommand(success) => if fixture.command().is_some() { fixture.end(success) },
                Step::Pass(millis) => fixture.now += Duration::from_millis(millis),
                Step::Wake(reported) => fixture.step(Event::Tick { reported }),
            }
            let status = fixture.machine.status();
            // A disabled service is never available, and an unavailable one has no weight.
            prop_assert!(status.intent != Intent::Disabled || status.available == Some(false));
            prop_assert_eq!(status.available == Some(true), status.weight > 0);
            prop_assert!(status.weight <= status.full_weight);
            prop_assert_eq!(status.available == Some(true), status.reason.is_empty());
            // A desired command is configured, and a phase that waits has a command or a time to wake.
            if let Some(kind) = fixture.command() {
                prop_assert!(fixture.machine.program(kind).is_some());
            }
            let waits = matches!(status.phase.as_str(), "preparing" | "warming up" | "disabling");
            prop_assert!(!waits || fixture.command().is_some() || fixture.machine.wake_at().is_some());
            prop_assert!(waits || (fixture.command().is_none() && fixture.machine.wake_at().is_none()));
        }
    }

    #[test]
    fn a_disable_always_ends(steps in steps()) {
        let mut fixture = Fixture::new(config(true));
        for step in steps {
            if let Step::Event(event) = step {
                fixture.step(event);
            }
        }
        fixture.step(disabled(true));
        let started = fixture.now;
        while fixture.machine.settled().is_none() {
            if fixture.command() == Some(CommandKind::DisableShutdown) {
                fixture.end(false);
            } else {
                fixture.tick(false);
            }
        }
        prop_assert!(fixture.now - started <= 60 * SECOND);
    }
}
