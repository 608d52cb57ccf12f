//! Whatever is done to a tree: no child runs twice at a time, none is lost, none outlives the tree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Arc, Child, ChildSpec, Exit, Intensity, Mutex, Supervisor, SupervisorSpec, millis, seconds,
    settle,
};

#[derive(Debug, Clone)]
enum Deed {
    Add(u8),
    Remove(u8),
    PanicChild(u8),
    PanicSupervisor,
    Pass(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0_u8..6).prop_map(Deed::Add),
        2 => (0_u8..6).prop_map(Deed::Remove),
        4 => (0_u8..6).prop_map(Deed::PanicChild),
        1 => Just(Deed::PanicSupervisor),
        4 => (0_u64..3000).prop_map(Deed::Pass),
    ]
}

/// How many runs of each child are alive; and whether there ever were two.
#[derive(Clone, Default)]
struct Census(Arc<Mutex<BTreeMap<u8, u32>>>, Arc<Mutex<Vec<String>>>);

struct Living(Census, u8);

impl Census {
    fn enter(&self, child: u8) -> Living {
        let mut alive = self.0.lock().expect("no panic under it");
        let count = alive.entry(child).or_default();
        *count += 1;
        if *count > 1 {
            self.1
                .lock()
                .expect("no panic under it")
                .push(format!("two of {child}"));
        }
        Living(self.clone(), child)
    }

    fn alive(&self) -> Vec<u8> {
        let alive = self.0.lock().expect("no panic under it");
        alive
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(child, _)| *child)
            .collect()
    }

    fn complaints(&self) -> Vec<String> {
        self.1.lock().expect("no panic under it").clone()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let mut alive = self.0.0.lock().expect("no panic under it");
        *alive.entry(self.1).or_default() -= 1;
    }
}

fn name(child: u8) -> String {
    format!("child {child}")
}

fn worker(census: &Census, child: u8, slowness: u64) -> ChildSpec {
    let census = census.clone();
    ChildSpec::worker(name(child), move |line: Child| {
        let census = census.clone();
        async move {
            let _living = census.enter(child);
            tokio::time::sleep(millis(slowness)).await;
            line.ready();
            line.draining().await;
            tokio::time::sleep(millis(slowness * 3)).await;
            Ok(())
        }
    })
    .shutdown(millis(1000))
}

async fn run(
    strategy: crate::Strategy,
    slowness: u64,
    deeds: Vec<Deed>,
) -> Result<(), TestCaseError> {
    let census = Census::default();
    let service = SupervisorSpec::new("service")
        .strategy(strategy)
        .intensity(Intensity {
            restarts: 3,
            within: seconds(5),
        });
    let (handle, exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .intensity(Intensity::UNLIMITED)
            .child(ChildSpec::supervisor(service)),
    );
    let service = handle.child("service").expect("it is there");
    let mut wanted = Vec::new();
    for deed in deeds {
        match deed {
            Deed::Add(child) => {
                let added = service.add(worker(&census, child, slowness)).await;
                prop_assert_eq!(added.is_ok(), !wanted.contains(&child));
                if added.is_ok() {
                    wanted.push(child);
                }
            }
            Deed::Remove(child) => {
                let removed = service.remove(&name(child)).await;
                prop_assert_eq!(removed.is_ok(), wanted.contains(&child));
                wanted.retain(|other| *other != child);
                prop_assert!(
                    !census.alive().contains(&child),
                    "{} outlives its removal",
                    child
                );
            }
            Deed::PanicChild(child) => {
                handle.inject_panic(&format!("service/{}", name(child)));
            }
            Deed::PanicSupervisor => {
                handle.inject_panic("service");
            }
            Deed::Pass(time) => tokio::time::sleep(millis(time)).await,
        }
        prop_assert_eq!(census.complaints(), Vec::<String>::new());
    }
    // Traps that were set are stepped into first; then all must come to rest.
    settle().await;
    let ready = tokio::time::timeout(seconds(600), handle.wait_ready()).await;
    prop_assert!(ready.is_ok(), "never ready: {:#?}", handle.status());
    let names: Vec<_> = service
        .status()
        .children
        .into_iter()
        .map(|child| child.name)
        .collect();
    let expected: Vec<_> = wanted.iter().map(|child| name(*child)).collect();
    prop_assert_eq!(names, expected);
    wanted.sort_unstable();
    prop_assert_eq!(census.alive(), wanted);

    handle.shutdown(seconds(60)).await;
    prop_assert_eq!(census.alive(), Vec::<u8>::new());
    prop_assert_eq!(exit.await.ok(), Some(Exit::Stopped));
    prop_assert_eq!(census.complaints(), Vec::<String>::new());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_child_is_doubled_lost_or_left(
        strategy in prop_oneof![
            Just(crate::Strategy::OneForOne),
            Just(crate::Strategy::OneForAll),
            Just(crate::Strategy::RestForOne),
        ],
        slowness in prop_oneof![Just(0), 1_u64..300],
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        runtime.block_on(run(strategy, slowness, deeds))?;
    }
}
