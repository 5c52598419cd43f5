//! Examples that read like the design, and random graphs against brute force.

use super::*;
use proptest::prelude::*;

fn name(s: &str) -> Name {
    Name::new(s).expect(s)
}

fn names(list: &str) -> Vec<Name> {
    list.split_whitespace().map(name).collect()
}

/// A driver from `"name: provides | requires | any of; any of | conflicts | archs"`.
fn driver(text: &str) -> Driver {
    let (own, rest) = text.split_once(':').expect("a colon");
    let mut parts = rest.split('|').chain(std::iter::repeat(""));
    let mut next = || parts.next().expect("endless");
    let provides = names(next());
    let requires = names(next());
    let any = next().split(';').map(names).filter(|l| !l.is_empty()).collect();
    let conflicts = names(next());
    let arch: Vec<Arch> = next().split_whitespace().map(|a| a.parse().expect("an arch")).collect();
    Driver {
        name: name(own.trim()),
        source: crate::config::resolved::SourcePath { repo: "osier".into(), path: own.into() },
        description: String::new(),
        provides,
        requires,
        requires_any: any,
        conflicts,
        arch: if arch.is_empty() { Arch::ALL.to_vec() } else { arch },
        keeps: BTreeSet::new(),
    }
}

fn drivers(lines: &[&str]) -> BTreeMap<Name, Driver> {
    lines.iter().map(|l| driver(l)).map(|d| (d.name.clone(), d)).collect()
}

fn asks(list: &str) -> Vec<Ask> {
    let ask = |n| Ask { name: n, by: Asker::Selector, origin: Origin::Default };
    names(list).into_iter().map(ask).collect()
}

fn run(lines: &[&str], wanted: &str, minus: &str) -> Result<String, String> {
    let request = SolveRequest {
        arch: Arch::X64,
        asks: asks(wanted),
        minus: names(minus).into_iter().collect(),
    };
    match solve(&drivers(lines), &request) {
        Ok(s) => Ok(s.names().map(Name::to_string).collect::<Vec<_>>().join(" ")),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn requirements_come_by_themselves() {
    let graph = [
        "virtio-blk: block | virtio",
        "virtio: | | virtio-pci virtio-mmio",
        "virtio-pci: | pci",
        "virtio-mmio:",
        "pci: | | | | x64",
        "acpi: | pci",
    ];
    assert_eq!(
        run(&graph, "virtio-blk virtio-mmio", ""),
        Ok("virtio virtio-blk virtio-mmio".into())
    );
    assert_eq!(run(&graph, "block virtio-pci", ""), Ok("pci virtio virtio-blk virtio-pci".into()));
    // The choice is made by something pulled in later, in whatever order.
    let later = ["a: | | x y", "b: | c", "c: | y", "x:", "y:"];
    assert_eq!(run(&later, "a b", ""), Ok("a b c y".into()));
    assert_eq!(run(&later, "b a", ""), Ok("a b c y".into()));
    // Without the one, the other is the sole candidate.
    assert_eq!(run(&graph, "virtio-blk", "virtio-pci"), Ok("virtio virtio-blk virtio-mmio".into()));
    // Two drivers that require each other are no problem.
    assert_eq!(run(&["a: | b", "b: | a"], "a", ""), Ok("a b".into()));
}

#[test]
fn what_cannot_be_met_names_the_chain_and_the_drivers() {
    let graph = [
        "zfs: | block",
        "nvme: block | pci",
        "ahci: block | pci",
        "pci: | | | | aarch64",
        "app: | zfs",
        "one: | | | two",
        "two:",
        "only: excl | | | excl",
        "other: excl",
        "lost: | one two",
    ];
    let cases = [
        (
            "app",
            "",
            "several drivers fill `block`: `ahci` and `nvme`\n  because `app` is asked for by \
             `+app`\n  because `app` requires `zfs`\n  because `zfs` requires `block`\n  help: \
             choose one: add `+ahci` or `+nvme` to the profile",
        ),
        (
            "app nvme",
            "",
            "no driver for x64 fills `pci`\n  because `nvme` is asked for by `+nvme`\n  because \
             `nvme` requires `pci`\n  help: `pci` is for aarch64",
        ),
        (
            "app",
            "zfs",
            "`zfs` is needed, but `zfs` was taken away by `~`\n  because `app` is asked for by \
             `+app`\n  because `app` requires `zfs`\n  help: leave out `~zfs`, or take away what \
             needs it",
        ),
        (
            "lost",
            "",
            "`one` and `two` cannot be in one kernel\n  because `lost` is asked for by \
             `+lost`\n  because `lost` requires `one`\n  because `lost` is asked for by \
             `+lost`\n  because `lost` requires `two`\n  help: take one of them away: `~one` or \
             `~two`",
        ),
        (
            "only other",
            "",
            "`only` cannot be in one kernel with another driver that fills `excl`, which `other` \
             does\n  because `only` is asked for by `+only`\n  because `other` is asked for by \
             `+other`\n  help: take one of them away: `~only` or `~other`",
        ),
        ("zsf", "", "unknown driver or role `zsf`\n  help: did you mean `zfs`?"),
        ("zfs nvme", "npci", "unknown driver or role `npci`\n  help: did you mean `pci`?"),
    ];
    for (wanted, minus, message) in cases {
        assert_eq!(run(&graph, wanted, minus), Err(message.to_owned()), "{wanted} ~{minus}");
    }
}

#[test]
fn the_chain_of_a_driver_begins_with_what_was_asked_for() {
    let graph = drivers(&["a: | b", "b: | | c d", "c: role", "d: | | | | aarch64"]);
    let request = SolveRequest { arch: Arch::X64, asks: asks("a"), minus: BTreeSet::new() };
    let solution = solve(&graph, &request).expect("it has a solution");
    let links: Vec<String> = solution.chain(&name("c")).iter().map(|(n, r)| link(n, r)).collect();
    assert_eq!(
        links,
        [
            "`a` is asked for by `+a`",
            "`a` requires `b`",
            "`b` requires any of `c` and `d`, which `c` alone fills"
        ]
    );
    assert_eq!(solution.chain(&name("d")), []);
}

/// A random graph of up to 7 drivers and 3 roles, small enough for brute force.
#[derive(Debug, Clone)]
struct Case {
    drivers: BTreeMap<Name, Driver>,
    request: SolveRequest,
}

fn any_name() -> impl Strategy<Value = Name> {
    // Seven drivers and three roles; what is not there is dropped below.
    prop_oneof![4 => 0..7usize, 2 => 7..10usize].prop_map(|i| name(LABELS[i]))
}

const LABELS: [&str; 10] = ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "r0", "r1", "r2"];

fn some(list: impl Strategy<Value = Name>, max: usize) -> impl Strategy<Value = Vec<Name>> {
    prop::collection::vec(list, 0..=max)
}

fn any_driver(i: usize) -> impl Strategy<Value = Driver> {
    let role = (7..10usize).prop_map(|i| name(LABELS[i]));
    let rare = |s| prop_oneof![3 => Just(Vec::new()), 1 => s];
    (
        some(role, 2),
        some(any_name(), 2),
        rare(prop::collection::vec(prop::collection::vec(any_name(), 1..=3), 1..=2).boxed()),
        prop_oneof![9 => Just(Vec::new()), 1 => some(any_name(), 1)],
        prop_oneof![14 => Just(""), 1 => Just("aarch64"), 1 => Just("x64")],
    )
        .prop_map(move |(provides, requires, any, conflicts, arch)| {
            let mut d = driver(&format!("{}: | | | | {arch}", LABELS[i]));
            d.provides = provides;
            d.requires = requires;
            d.requires_any = any;
            d.conflicts = conflicts.into_iter().filter(|c| *c != d.name).collect();
            d
        })
}

fn any_case() -> impl Strategy<Value = Case> {
    let graph = (
        any_driver(0),
        any_driver(1),
        any_driver(2),
        any_driver(3),
        any_driver(4),
        any_driver(5),
        any_driver(6),
    );
    let minus = prop_oneof![3 => Just(Vec::new()), 1 => some(any_name(), 2)];
    let strays = prop_oneof![4 => Just(false), 1 => Just(true)];
    (graph, prop::collection::vec(any_name(), 1..=3), minus, strays, 3..=7usize).prop_map(
        |((a, b, c, d, e, f, g), wanted, minus, strays, n)| {
            let all = [a, b, c, d, e, f, g];
            let mut drivers: BTreeMap<Name, Driver> =
                all.into_iter().take(n).map(|d| (d.name.clone(), d)).collect();
            let filled: BTreeSet<Name> = drivers
                .values()
                .flat_map(|d| std::iter::once(&d.name).chain(&d.provides).cloned())
                .collect();
            // Most graphs require only what some driver fills, so that many have solutions.
            for d in drivers.values_mut().filter(|_| !strays) {
                d.requires.retain(|r| filled.contains(r));
                d.requires_any.iter_mut().for_each(|any| any.retain(|r| filled.contains(r)));
                d.requires_any.retain(|any| !any.is_empty());
            }
            let ask = |name| Ask { name, by: Asker::Selector, origin: Origin::Default };
            let mut asks: Vec<Ask> =
                wanted.into_iter().filter(|n| filled.contains(n)).map(ask).collect();
            if asks.is_empty() {
                asks.push(ask(name("d0")));
            }
            let minus = minus.into_iter().filter(|n| filled.contains(n)).collect();
            Case { drivers, request: SolveRequest { arch: Arch::X64, asks, minus } }
        },
    )
}

/// A set of drivers as bits, in the order of their names.
type Set = u32;

/// The rules of design §2 over sets of drivers, without any notion of order or closure.
struct Oracle<'a> {
    list: Vec<&'a Driver>,
    usable: Set,
    asked: Vec<AnyOf>,
}

impl<'a> Oracle<'a> {
    fn new(case: &'a Case) -> Self {
        let list: Vec<&Driver> = case.drivers.values().collect();
        let usable = |d: &Driver| {
            d.arch.contains(&Arch::X64) && !case.request.minus.iter().any(|m| d.fills(m))
        };
        let usable = bits(&list, usable);
        let asked = case.request.asks.iter().map(|a| vec![a.name.clone()]).collect();
        Self { list, usable, asked }
    }

    fn fillers(&self, any_of: &[Name]) -> Set {
        bits(&self.list, |d| any_of.iter().any(|r| d.fills(r)))
    }

    /// All requirements that hold once `set` is chosen.
    fn requirements(&self, set: Set) -> Vec<AnyOf> {
        let members = self.list.iter().enumerate().filter(|(i, _)| set & (1 << i) != 0);
        self.asked.iter().cloned().chain(members.flat_map(|(_, d)| requirements(d))).collect()
    }

    fn is_model(&self, set: Set) -> bool {
        set & !self.usable == 0 && self.requirements(set).iter().all(|r| self.fillers(r) & set != 0)
    }

    /// Whether every requirement's sole candidate is in `set`.
    fn is_closed(&self, set: Set) -> bool {
        self.requirements(set).iter().all(|r| {
            let candidates = self.fillers(r) & self.usable;
            candidates.count_ones() != 1 || candidates & set != 0
        })
    }

    fn has_conflict(&self, set: Set) -> bool {
        self.list.iter().enumerate().any(|(i, d)| {
            let foes = bits(&self.list, |o| d.conflicts.iter().any(|c| o.fills(c)));
            set & (1 << i) != 0 && foes & set & !(1 << i) != 0
        })
    }

    fn subsets(&self) -> impl Iterator<Item = Set> + '_ {
        (0..1u32 << self.list.len()).filter(|s| s & !self.usable == 0)
    }

    /// The least closed set: the intersection of all of them.
    fn least_closed(&self) -> Set {
        self.subsets().filter(|s| self.is_closed(*s)).fold(self.usable, |a, b| a & b)
    }
}

fn bits(list: &[&Driver], wanted: impl Fn(&Driver) -> bool) -> Set {
    list.iter().enumerate().filter(|(_, d)| wanted(d)).fold(0, |set, (i, _)| set | 1 << i)
}

/// Every link of a chain is true: the first is asked for, each later one is required by
/// the one before and is the only usable driver that fills the requirement.
fn assert_chain(case: &Case, oracle: &Oracle<'_>, chain: &[(Name, Reason)]) {
    let sole = |any_of: &[Name], name: &Name| {
        let candidates = oracle.fillers(any_of) & oracle.usable;
        assert_eq!(candidates.count_ones(), 1, "{any_of:?}");
        assert_eq!(oracle.list[candidates.trailing_zeros() as usize].name, *name);
    };
    for (i, (name, reason)) in chain.iter().enumerate() {
        match reason {
            Reason::Asked(ask) => {
                assert_eq!(i, 0, "only the first link is asked for");
                assert!(case.request.asks.contains(ask));
                sole(std::slice::from_ref(&ask.name), name);
            }
            Reason::Required { by, any_of } => {
                assert_eq!(*by, chain[i - 1].0);
                assert!(requirements(&case.drivers[by]).any(|r| r == *any_of));
                sole(any_of, name);
            }
        }
    }
}

/// The chain of an unmet requirement is true and ends in it.
fn assert_unmet(
    case: &Case,
    oracle: &Oracle<'_>,
    chain: &[(Name, Reason)],
    reason: &Reason,
    any_of: &AnyOf,
) {
    assert_chain(case, oracle, chain);
    match reason {
        Reason::Asked(ask) => {
            assert!(chain.is_empty() && case.request.asks.contains(ask));
            assert_eq!(std::slice::from_ref(&ask.name), any_of.as_slice());
        }
        Reason::Required { by, .. } => {
            assert_eq!(chain.last().map(|(n, _)| n), Some(by));
            assert!(requirements(&case.drivers[by]).any(|r| r == *any_of));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_are_solved_as_by_brute_force(case in any_case()) {
        let oracle = Oracle::new(&case);
        let least = oracle.least_closed();
        let satisfiable = oracle.is_model(least) && !oracle.has_conflict(least);
        match solve(&case.drivers, &case.request) {
            Ok(solution) => {
                let chosen = bits(&oracle.list, |d| solution.drivers.contains_key(&d.name));
                prop_assert!(satisfiable, "solved though it should not be");
                prop_assert_eq!(chosen, least);
                // It is the least of all sets in which every requirement is met.
                for model in oracle.subsets().filter(|s| oracle.is_model(*s)) {
                    prop_assert_eq!(chosen & model, chosen);
                }
                for name in solution.names() {
                    let chain = solution.chain(name);
                    prop_assert_eq!(chain.last().map(|(n, _)| n), Some(name));
                    assert_chain(&case, &oracle, &chain);
                }
            }
            Err(error) => {
                prop_assert!(!satisfiable, "not solved: {}", error);
                prop_assert!(!error.problems.is_empty());
                for problem in &error.problems {
                    check_problem(&case, &oracle, least, problem);
                }
            }
        }
        // The order in which things are asked for does not matter.
        let mut turned = case.request.clone();
        turned.asks.reverse();
        let sets = |r: Result<Solution, SolveError>| r.map(|s| s.drivers.into_keys().collect::<Vec<_>>()).map_err(|e| e.problems.len());
        prop_assert_eq!(sets(solve(&case.drivers, &turned)), sets(solve(&case.drivers, &case.request)));
    }
}

/// The problem is there, as described.
fn check_problem(case: &Case, oracle: &Oracle<'_>, least: Set, problem: &Problem) {
    let set = |list: &[Name]| bits(&oracle.list, |d| list.contains(&d.name));
    match problem {
        Problem::Unknown { name, .. } => panic!("`{name}` is known"),
        Problem::Unmet { chain, reason, any_of, elsewhere } => {
            assert_unmet(case, oracle, chain, reason, any_of);
            let fillers = oracle.fillers(any_of);
            let foreign = bits(&oracle.list, |d| !d.arch.contains(&Arch::X64));
            assert_eq!(fillers & !foreign, 0, "there is a driver for this arch");
            assert_eq!(elsewhere.len() as u32, fillers.count_ones());
        }
        Problem::Ambiguous { chain, reason, any_of, candidates } => {
            assert_unmet(case, oracle, chain, reason, any_of);
            assert!(candidates.len() > 1);
            assert_eq!(set(candidates), oracle.fillers(any_of) & oracle.usable);
            assert_eq!(set(candidates) & least, 0, "one of them is chosen");
        }
        Problem::Removed { chain, reason, any_of, removed } => {
            assert_unmet(case, oracle, chain, reason, any_of);
            assert_eq!(oracle.fillers(any_of) & oracle.usable, 0);
            assert!(!removed.is_empty());
            let minus = |d: &Driver| case.request.minus.iter().any(|m| d.fills(m));
            for name in removed {
                assert!(
                    minus(&case.drivers[name])
                        && any_of.iter().any(|r| case.drivers[name].fills(r))
                );
            }
        }
        Problem::Conflict { driver, over, other, chain, other_chain } => {
            assert_chain(case, oracle, chain);
            assert_chain(case, oracle, other_chain);
            assert_eq!(chain.last().map(|(n, _)| n), Some(driver));
            assert_eq!(other_chain.last().map(|(n, _)| n), Some(other));
            assert!(case.drivers[driver].conflicts.contains(over));
            assert!(case.drivers[other].fills(over) && driver != other);
        }
    }
}
