use std::collections::BTreeSet;

use common::ratio::PerMille;
use common::zk::reflector::Freshness;
use proptest::prelude::*;

use super::*;
use crate::config::{Guard, GuardPolicy};
use crate::desired::Server;
use crate::health::Check;

/// A service under guard, and its own clock.
struct Fixture {
    memory: GuardState,
    now: Instant,
    state: Arc<WatcherState>,
    failing: BTreeSet<SocketAddr>,
    last: Option<Step>,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn candidate(port: u16) -> Candidate {
    Candidate {
        server: Server {
            node: Arc::from(format!("node-{port:05}")),
            name: String::new(),
            address: address(port),
            weight: None,
            options: String::new(),
            labels: BTreeMap::new(),
            created: 0,
            backup: false,
        },
        czxid: 1,
        unavailable: None,
    }
}

fn listing(ports: impl IntoIterator<Item = u16>, freshness: Freshness) -> WatcherState {
    WatcherState {
        freshness,
        candidates: ports.into_iter().map(candidate).collect(),
        ..WatcherState::default()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Fixture {
    fn new(policy: Guard) -> Self {
        Self::after_start(policy, None)
    }

    fn after_start(policy: Guard, remembered: Option<WatcherState>) -> Self {
        let now = Instant::now();
        Self {
            memory: GuardState::new(policy, remembered.map(Arc::new), now),
            now,
            state: Arc::default(),
            failing: BTreeSet::new(),
            last: None,
        }
    }

    /// A source that has listed these for a long time.
    fn settled(policy: Guard, ports: impl IntoIterator<Item = u16>) -> Self {
        let mut bench = Self::new(policy);
        bench.list(ports);
        bench.wait(seconds(3600));
        bench
    }

    fn step(&mut self) -> Vec<u16> {
        let fails = |address| self.failing.contains(&address).then_some(Check::Failing);
        let step = self.memory.step(&self.state, fails, self.now);
        let ports = step
            .guarded
            .state
            .candidates
            .iter()
            .map(|one| one.server.address.port());
        let ports = ports.collect();
        self.last = Some(step);
        ports
    }

    fn publish(&mut self, state: WatcherState) -> Vec<u16> {
        self.state = Arc::new(state);
        self.step()
    }

    fn list(&mut self, ports: impl IntoIterator<Item = u16>) -> Vec<u16> {
        self.publish(listing(ports, Freshness::Live))
    }

    /// The source is lost, with its last content.
    fn lose(&mut self) -> Vec<u16> {
        let state = WatcherState::clone(&self.state);
        let freshness = Freshness::Stale { since: self.now };
        self.publish(WatcherState { freshness, ..state })
    }

    fn wait(&mut self, span: Duration) -> Vec<u16> {
        self.now += span;
        self.step()
    }

    fn fail(&mut self, port: u16) -> Vec<u16> {
        self.failing.insert(address(port));
        self.step()
    }

    /// The held with their reasons.
    fn held(&self) -> Vec<(u16, &'static str)> {
        let step = self.last.as_ref().expect("a step was made");
        let held = step.guarded.held.iter();
        held.map(|(address, held)| (address.port(), held.why.label())).collect()
    }

    fn ended(&self) -> BTreeSet<ReleaseReason> {
        let step = self.last.as_ref().expect("a step was made");
        step.ended.iter().map(|(_, why)| *why).collect()
    }

    fn wake_at(&self) -> Option<Duration> {
        let step = self.last.as_ref().expect("a step was made");
        step.wake_at.map(|at| at.saturating_duration_since(self.now))
    }
}

fn policy() -> Guard {
    Guard::default()
}

#[test]
fn one_that_leaves_a_settled_source_is_gone_at_once() {
    for count in [1, 2, 3, 10] {
        let mut bench = Fixture::settled(policy(), 1..=count);
        assert_eq!(bench.list(1..count), (1..count).collect::<Vec<_>>());
        assert_eq!(bench.held(), []);
    }
}

#[test]
fn more_than_half_and_at_least_three_stay() {
    let mut bench = Fixture::settled(policy(), 1..=6);
    assert_eq!(bench.list([1, 2, 3]), [1, 2, 3], "half is not more than half");
    let mut bench = Fixture::settled(policy(), 1..=3);
    assert_eq!(bench.list([1]), [1], "two are not three");
    let mut bench = Fixture::settled(policy(), 1..=5);
    assert_eq!(bench.list([1, 2]), [1, 2, 3, 4, 5]);
    assert_eq!(bench.held(), [(3, "share"), (4, "share"), (5, "share")]);
    assert_eq!(bench.wake_at(), Some(policy().hold_time));
    assert_eq!(bench.wait(seconds(299)), [1, 2, 3, 4, 5]);
    assert_eq!(bench.wait(seconds(1)), [1, 2]);
    assert_eq!(bench.ended(), BTreeSet::from([ReleaseReason::Time]));
    assert_eq!(bench.wake_at(), None);
}

#[test]
fn those_that_go_one_by_one_are_counted_together_within_the_window() {
    let mut bench = Fixture::settled(policy(), 1..=6);
    bench.list([1, 2, 3, 4, 5]);
    bench.now += seconds(10);
    bench.list([1, 2, 3, 4]);
    bench.now += seconds(10);
    assert_eq!(bench.list([1, 2, 3]), [1, 2, 3]);
    bench.now += seconds(9);
    assert_eq!(bench.list([1, 2]), [1, 2, 3], "the fourth of six within 30 s");
    let mut bench = Fixture::settled(policy(), 1..=6);
    for left in (0..6).rev() {
        bench.now += seconds(31);
        assert_eq!(bench.list(1..=left).len(), usize::from(left), "slowly, all may go");
    }
}

#[test]
fn a_burst_that_arrives_one_by_one_is_held_whole() {
    let mut bench = Fixture::settled(policy(), 1..=5);
    for left in [4, 3] {
        assert_eq!(bench.list(1..=left).len(), usize::from(left));
        bench.now += Duration::from_millis(300);
    }
    assert_eq!(bench.list([1, 2]), [1, 2, 3, 4, 5]);
    let mut bench = Fixture::settled(policy(), 1..=5);
    bench.list(1..=4);
    bench.now += seconds(1);
    bench.fail(4);
    assert_eq!(
        bench.list([1]),
        [1, 2, 3],
        "the fifth went in order, the fourth has failed"
    );
}

#[test]
fn the_last_of_two_stays() {
    let mut bench = Fixture::settled(policy(), [1, 2]);
    assert_eq!(bench.list([]), [1, 2]);
    assert_eq!(bench.held(), [(1, "empty"), (2, "empty")]);
}

#[test]
fn replacements_trigger_nothing() {
    // Blue and green: the new come, the old go.
    let mut bench = Fixture::settled(policy(), 1..=10);
    bench.list(1..=20);
    bench.now += seconds(5);
    assert_eq!(bench.list(11..=20), (11..=20).collect::<Vec<_>>());
    // Rolling, three at a time, at other addresses.
    let mut bench = Fixture::settled(policy(), 1..=6);
    for (gone, come) in [(1..=6, 4..=6), (4..=9, 7..=9), (7..=12, 10..=12)] {
        bench.now += seconds(2);
        let now: Vec<u16> = gone.filter(|port| come.contains(port) || *port > *come.end()).collect();
        assert_eq!(bench.list(now.clone()), now);
        bench.now += seconds(2);
        bench.list(*come.start()..=come.end() + 3);
        assert_eq!(bench.held(), []);
    }
}

#[test]
fn the_held_go_when_as_many_are_listed_as_there_were() {
    let mut bench = Fixture::settled(policy(), 1..=4);
    assert_eq!(bench.list([]), [1, 2, 3, 4]);
    assert_eq!(bench.list([11, 12, 13]), [1, 2, 3, 4, 11, 12, 13]);
    assert_eq!(bench.list([11, 12, 13, 14]), [11, 12, 13, 14]);
    assert_eq!(bench.ended(), BTreeSet::from([ReleaseReason::Replaced]));
}

#[test]
fn the_held_go_when_their_checks_fail_and_when_they_are_listed_again() {
    let mut bench = Fixture::settled(policy(), 1..=12);
    assert_eq!(bench.list([1, 2]).len(), 12);
    assert_eq!(bench.fail(3).len(), 11);
    assert_eq!(bench.ended(), BTreeSet::from([ReleaseReason::Failing]));
    assert_eq!(bench.list([1, 2, 4]).len(), 11);
    assert_eq!(bench.ended(), BTreeSet::from([ReleaseReason::Listed]));
    for port in 5..=12 {
        bench.fail(port);
    }
    assert_eq!(bench.step(), [1, 2, 4]);
}

#[test]
fn two_witnesses_agree() {
    let mut bench = Fixture::settled(policy(), 1..=12);
    for port in 3..=12 {
        bench.fail(port);
    }
    assert_eq!(bench.list([1, 2]), [1, 2], "HAProxy has seen them fail");
    assert_eq!(bench.list([1]), [1], "and they count for nothing afterwards");
}

#[test]
fn an_instance_that_is_not_available_is_not_missing() {
    let mut bench = Fixture::settled(policy(), 1..=6);
    let mut state = listing(1..=6, Freshness::Live);
    for candidate in &mut state.candidates[1..] {
        candidate.unavailable = Some("drained".to_owned());
    }
    bench.publish(state);
    assert_eq!(bench.held(), []);
    assert_eq!(bench.list([1]), [1]);
    assert_eq!(bench.list([]), Vec::<u16>::new());
}

#[test]
fn a_move_to_another_address_or_node_is_no_vanishing() {
    let mut bench = Fixture::settled(policy(), 1..=4);
    let mut state = listing(1..=4, Freshness::Live);
    for candidate in &mut state.candidates {
        let port = candidate.server.address.port();
        candidate.server.address.set_port(port + 100);
    }
    bench.publish(state);
    assert_eq!(bench.held(), []);
    let mut state = listing(101..=104, Freshness::Live);
    for (n, candidate) in state.candidates.iter_mut().enumerate() {
        candidate.server.node = Arc::from(format!("other-{n}"));
    }
    bench.publish(state);
    assert_eq!(bench.held(), []);
}

#[test]
fn a_young_source_is_not_believed_about_a_single_one() {
    let mut bench = Fixture::settled(policy(), 1..=10);
    bench.lose();
    bench.now += seconds(60);
    assert_eq!(bench.list(1..=9).len(), 10);
    assert_eq!(bench.held(), [(10, "young")]);
    assert_eq!(bench.wake_at(), Some(policy().settle));
    bench.now += seconds(5);
    assert_eq!(bench.list(1..=8).len(), 10);
    bench.wait(seconds(24));
    assert_eq!(bench.wait(seconds(1)), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bench.ended(), BTreeSet::from([ReleaseReason::Believed]));
    assert_eq!(bench.list(1..=7), (1..=7).collect::<Vec<_>>(), "it is settled");
}

#[test]
fn a_wiped_registry_is_doubted_until_the_hold_time_is_over() {
    let mut bench = Fixture::settled(policy(), 1..=10);
    bench.lose();
    bench.now += seconds(20);
    assert_eq!(bench.list([]).len(), 10);
    bench.now += seconds(3);
    assert_eq!(bench.list(1..=4).len(), 10, "some have registered again");
    assert_eq!(bench.wait(policy().settle).len(), 10, "too many are still missing");
    assert_eq!(bench.held()[0], (5, "share"));
    assert_eq!(bench.wait(policy().hold_time), [1, 2, 3, 4]);
}

#[test]
fn a_blip_makes_no_source_young() {
    let mut bench = Fixture::settled(policy(), 1..=10);
    bench.lose();
    bench.now += Duration::from_millis(900);
    assert_eq!(bench.list(1..=9).len(), 9);
}

#[test]
fn no_hold_expires_while_the_source_is_away() {
    let mut bench = Fixture::settled(policy(), 1..=4);
    bench.list([]);
    bench.lose();
    assert_eq!(bench.wake_at(), None);
    assert_eq!(bench.wait(seconds(86_400)), [1, 2, 3, 4]);
    assert_eq!(bench.fail(1), [2, 3, 4]);
    assert_eq!(bench.list([]), [2, 3, 4], "back, and young");
    assert_eq!(bench.wait(policy().settle), Vec::<u16>::new());
}

#[test]
fn an_operators_word_outweighs_the_rules() {
    let mut bench = Fixture::settled(policy(), 1..=4);
    bench.list([]);
    let ended = bench.memory.apply_command(GuardCommand::Release, bench.now);
    assert_eq!(ended.len(), 4);
    assert_eq!(bench.step(), Vec::<u16>::new());

    let mut bench = Fixture::settled(policy(), 1..=4);
    bench.list([]);
    bench.memory.apply_command(GuardCommand::Keep(seconds(3600)), bench.now);
    assert_eq!(bench.list(11..=14).len(), 8, "kept, regardless of what is listed");
    assert_eq!(bench.wait(seconds(3599)).len(), 8);
    assert_eq!(bench.fail(1).len(), 7, "a server that fails is of no use");
    assert_eq!(bench.wait(seconds(1)), [11, 12, 13, 14]);

    let mut bench = Fixture::settled(policy(), 1..=4);
    bench.lose();
    bench.now += seconds(60);
    bench.list([1]);
    bench.memory.apply_command(GuardCommand::Release, bench.now);
    assert_eq!(bench.step(), [1]);
    assert_eq!(bench.list([]), Vec::<u16>::new(), "removals apply from now on");
}

#[test]
fn policy_trust_holds_no_instance() {
    let trust = Guard {
        policy: GuardPolicy::Trust,
        ..policy()
    };
    let mut bench = Fixture::settled(trust, 1..=10);
    assert_eq!(bench.list([]), Vec::<u16>::new());
    bench.list(1..=10);
    bench.lose();
    bench.now += seconds(60);
    assert_eq!(bench.list([]), Vec::<u16>::new());
}

#[test]
fn those_in_whose_place_others_help_are_not_used_and_not_forgotten() {
    let defaults = Guard {
        policy: GuardPolicy::Defaults,
        ..policy()
    };
    let mut bench = Fixture::settled(defaults, 1..=5);
    let guarded = |bench: &Fixture| bench.last.as_ref().unwrap().guarded.clone();
    assert!(!guarded(&bench).needs_help());
    assert_eq!(bench.list([1]), [1]);
    assert_eq!(bench.held().len(), 4);
    assert!(guarded(&bench).needs_help());
    assert_eq!(guarded(&bench).whole().candidates.len(), 5);
    assert_eq!(bench.wait(policy().hold_time), [1]);
    assert!(!guarded(&bench).needs_help());
    assert_eq!(guarded(&bench).whole().candidates.len(), 1);
}

#[test]
fn what_is_remembered_serves_and_is_then_judged() {
    let day_old = |now: Instant| Freshness::Stale {
        since: now.checked_sub(seconds(86_400)).unwrap_or(now),
    };
    let remembered = || Some(listing(1..=10, day_old(Instant::now())));
    let mut bench = Fixture::after_start(policy(), remembered());
    assert_eq!(bench.step().len(), 10);
    assert!(bench.last.as_ref().unwrap().guarded.remembered);
    assert_eq!(bench.wait(seconds(5)).len(), 10);
    assert_eq!(bench.list(1..=9).len(), 10, "it took long to answer: young");
    assert!(!bench.last.as_ref().unwrap().guarded.remembered);
    assert_eq!(bench.wait(policy().settle).len(), 9);

    let mut bench = Fixture::after_start(policy(), remembered());
    bench.step();
    bench.now += Duration::from_millis(100);
    assert_eq!(bench.list(1..=9).len(), 9, "it answered at once");
    let mut bench = Fixture::after_start(policy(), remembered());
    assert_eq!(bench.list(101..=110).len(), 10, "replaced since");
    let mut bench = Fixture::after_start(policy(), remembered());
    assert_eq!(bench.list(1..=2).len(), 10);
    assert_eq!(bench.wait(policy().hold_time).len(), 2);
}

/// What may happen to a service.
#[derive(Debug, Clone)]
enum Event {
    List(BTreeSet<u16>),
    Lose,
    Fail(u16),
    Recover,
    Tell(GuardCommand),
    Nothing,
}

fn events() -> impl Strategy<Value = Vec<(Event, Duration)>> {
    let event = prop_oneof![
        4 => proptest::collection::btree_set(1_u16..12, 0..12).prop_map(Event::List),
        1 => Just(Event::Lose),
        1 => (1_u16..12).prop_map(Event::Fail),
        1 => Just(Event::Recover),
        1 => prop_oneof![Just(GuardCommand::Release), (1_u64..1000).prop_map(|span| GuardCommand::Keep(seconds(span)))].prop_map(Event::Tell),
        2 => Just(Event::Nothing),
    ];
    let wait = prop_oneof![Just(0), 0_u64..2_000, 0_u64..400_000].prop_map(Duration::from_millis);
    proptest::collection::vec((event, wait), 1..40)
}

fn policies() -> impl Strategy<Value = Guard> {
    (1_u8..=100, 1_usize..5, 0_u64..100, 0_u64..100, 1_u64..500).prop_map(|(percent, least, window, settle, hold)| {
        Guard {
            policy: GuardPolicy::Hold,
            share: PerMille::from_percent(percent),
            least,
            window: seconds(window),
            settle: seconds(settle),
            hold_time: seconds(hold),
        }
    })
}

proptest! {
    #[test]
    fn whatever_happens_the_listed_stay_and_a_hold_ends(policy in policies(), events in events(), remembered in any::<bool>()) {
        let start = remembered.then(|| listing(1..=5, Freshness::Stale { since: Instant::now() }));
        let mut bench = Fixture::after_start(policy, start);
        let mut longest = policy.hold_time + policy.settle;
        for (event, wait) in events {
            bench.now += wait;
            let (shown, released) = match event {
                Event::List(ports) => (bench.list(ports), false),
                Event::Lose if bench.state.freshness == Freshness::Never => {
                    let shown = bench.step();
                    prop_assert_eq!(shown.len(), if remembered { 5 } else { 0 }, "a source that never answered empties nothing");
                    (shown, false)
                }
                Event::Lose => (bench.lose(), false),
                Event::Fail(port) => (bench.fail(port), false),
                Event::Recover => {
                    bench.failing.clear();
                    (bench.step(), false)
                }
                Event::Tell(command) => {
                    bench.memory.apply_command(command, bench.now);
                    if let GuardCommand::Keep(span) = command {
                        longest = longest.max(span + policy.settle);
                    }
                    (bench.step(), command == GuardCommand::Release)
                }
                Event::Nothing => (bench.step(), false),
            };
            let listed: BTreeSet<u16> = bench.state.candidates.iter().map(|one| one.server.address.port()).collect();
            let step = bench.last.as_ref().unwrap();
            let held: BTreeSet<u16> = step.guarded.held.keys().map(SocketAddr::port).collect();
            if !step.guarded.remembered {
                prop_assert_eq!(shown.len(), listed.len() + held.len());
                prop_assert!(listed.is_disjoint(&held));
                prop_assert_eq!(shown.into_iter().collect::<BTreeSet<u16>>(), &listed | &held);
            }
            prop_assert!(step.began.iter().all(|(_, count)| *count > 0));
            prop_assert!(held.iter().all(|port| !bench.failing.contains(&address(*port))));
            prop_assert!(!released || held.is_empty(), "an operator released them");
            let live = bench.state.freshness == Freshness::Live;
            prop_assert_eq!(step.wake_at.is_some(), live && !held.is_empty());
        }
        // Nothing happens any more, but time goes on, and it is looked when a look is due.
        if bench.state.freshness == Freshness::Live {
            let begun = bench.now;
            let mut looks = 0;
            while let Some(wait) = bench.wake_at() {
                bench.wait(wait);
                looks += 1;
                prop_assert!(looks < 50);
            }
            prop_assert_eq!(bench.held(), []);
            prop_assert!(bench.now - begun <= longest);
        }
    }

    #[test]
    fn a_single_removal_from_a_settled_source_passes(count in 1_u16..50, gone in any::<prop::sample::Index>(), policy in policies()) {
        let policy = Guard { least: policy.least.max(2), ..policy };
        let mut bench = Fixture::settled(policy, 1..=count);
        let gone = u16::try_from(gone.index(count.into())).unwrap() + 1;
        let left: Vec<u16> = (1..=count).filter(|port| *port != gone).collect();
        prop_assert_eq!(bench.list(left.clone()), left);
    }

    #[test]
    fn more_than_its_share_never_goes_within_the_window(count in 6_u16..40, order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let mut bench = Fixture::settled(policy(), 1..=count);
        let mut left: Vec<u16> = (1..=count).collect();
        for gone in order {
            if !left.is_empty() {
                left.remove(gone.index(left.len()));
            }
            bench.now += Duration::from_millis(700);
            let shown = bench.list(left.clone());
            prop_assert!(shown.len() * 2 >= usize::from(count), "{} of {count} are left", shown.len());
        }
    }
}
