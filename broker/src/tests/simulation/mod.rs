//! The simulation: real actors in virtual time, and everything that may go wrong, from one number.
//!
//! A seed decides who is there, what they do, when bytes come and when not, when the disk is full and after which group of
//! commits the bus crashes. It is printed with a failure, with the command that repeats it.

mod cable;
mod chance;
mod client;
mod ledger;
mod life;

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use muster_actors::world;

use self::{
    chance::Chance,
    client::Client,
    ledger::Ledger,
    life::{Cast, Fate, TENANTS},
};

/// Seeds that the test runs, unless `MUSTER_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;
/// The command that repeats one of them.
const REPEAT: &str = "MUSTER_SEED={} cargo test -p muster-broker --lib -- simulation::one_seed --nocapture";

/// What a story left behind.
struct Told {
    trace: String,
    faults: Vec<String>,
}

fn tell(seed: u64) -> Told {
    let mut chance = Chance::new(seed);
    // In memory where the machine has a place for that: nothing has to outlive the story.
    let shared_memory = Path::new("/dev/shm");
    let dir = match shared_memory.is_dir() {
        true => tempfile::tempdir_in(shared_memory),
        false => tempfile::tempdir(),
    };
    let dir = dir.unwrap();
    let clients = (0..4 + chance.pick(4)).map(|number| {
        let tenant = TENANTS[number % TENANTS.len()];
        Rc::new(RefCell::new(Client::new(number, tenant, &mut chance)))
    });
    let cast = Cast {
        clients: clients.collect(),
        ledger: Rc::<RefCell<Ledger>>::default(),
        before_ms: Rc::<Cell<u64>>::default(),
    };
    let crashes = chance.below(3);
    for life in 0..=crashes {
        let crash_after = (life < crashes).then(|| 1 + chance.below(150));
        let fate = Fate { crash_after, is_disturbed: true };
        let (cast, chance) = (cast.clone(), chance.fork());
        world::run(life::live(dir.path(), cast, fate, chance));
    }
    let mut ledger = cast.ledger.borrow_mut();
    Told { trace: std::mem::take(&mut ledger.trace), faults: std::mem::take(&mut ledger.faults) }
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn every_seed_ends_well() {
    let first = asked("MUSTER_SEED").unwrap_or(1);
    let seeds = first..first + asked("MUSTER_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(seeds.start);
    let failed = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= 10 {
                        return;
                    }
                    let faults = tell(seed).faults;
                    if !faults.is_empty() {
                        failed.lock().unwrap().push((seed, faults));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let commands: Vec<_> =
        failed.iter().map(|(seed, faults)| (REPEAT.replace("{}", &seed.to_string()), faults)).collect();
    assert!(failed.is_empty(), "of the seeds {seeds:?}, repeat these: {commands:#?}");
}

#[test]
#[expect(clippy::print_stderr, reason = "for whoever looks into a failure")]
fn one_seed_goes_the_same_way_twice() {
    let seed = asked("MUSTER_SEED").unwrap_or(1);
    eprintln!("seed {seed}");
    let first = tell(seed);
    if asked("MUSTER_SEED").is_some() {
        eprintln!("{}", first.trace);
    }
    assert_eq!(first.faults, [""; 0], "of seed {seed}");
    let second = tell(seed);
    assert!(first.trace.lines().count() > 50, "nothing happened");
    for (line, (first, second)) in first.trace.lines().zip(second.trace.lines()).enumerate() {
        assert_eq!(first, second, "line {line} of seed {seed}");
    }
    assert_eq!(first.trace, second.trace);
}
