use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::*;
use crate::world;

const SECOND: Duration = Duration::from_secs(1);

/// Acquires in a task of its own, notes its name when it is admitted, and holds the permit for a second.
fn visitor(credit: &Credit, bytes: usize, name: &'static str, order: &Arc<Mutex<Vec<&'static str>>>) {
    let (credit, order) = (credit.clone(), Arc::clone(order));
    spawn_local(async move {
        let _permit = credit.acquire(bytes).await;
        order.lock().unwrap().push(name);
        sleep(SECOND).await;
    });
}

#[test]
fn credit_is_bounded_in_count_and_in_bytes() {
    let credit = Credit::new("test", 2, 100);
    let first = credit.try_acquire(60).unwrap();
    assert!(credit.try_acquire(41).is_none(), "too many bytes");
    let _second = credit.try_acquire(40).unwrap();
    assert!(credit.try_acquire(0).is_none(), "too many things");
    assert_eq!(credit.in_use(), (2, 100));
    drop(first);
    assert_eq!(credit.in_use(), (1, 40));
}

#[test]
fn an_over_sized_request_is_admitted_alone() {
    let credit = Credit::new("test", 4, 10);
    let large = credit.try_acquire(1000).unwrap();
    assert!(credit.try_acquire(0).is_none(), "nothing goes beside it");
    drop(large);
    let _small = credit.try_acquire(1).unwrap();
    assert!(credit.try_acquire(1000).is_none(), "it waits until the pool is empty");
}

#[test]
fn a_permit_lost_in_a_panic_comes_back() {
    let credit = Credit::new("test", 1, 10);
    let permit = credit.try_acquire(10).unwrap();
    let lost = catch_unwind(AssertUnwindSafe(move || {
        let _permit = permit;
        panic!("while holding a permit");
    }));
    assert!(lost.is_err());
    assert_eq!(credit.in_use(), (0, 0));
}

#[test]
fn merged_permits_come_back_together() {
    let credit = Credit::new("test", 3, 100);
    let mut batch = credit.try_acquire(10).unwrap();
    batch.merge(credit.try_acquire(20).unwrap());
    batch.merge(credit.try_acquire(30).unwrap());
    assert_eq!((batch.count(), batch.bytes()), (3, 60));
    assert_eq!(credit.in_use(), (3, 60));
    drop(batch);
    assert_eq!(credit.in_use(), (0, 0));
}

#[test]
fn permits_of_two_pools_do_not_merge_and_are_not_lost() {
    let (one, two) = (Credit::new("one", 1, 1), Credit::new("two", 1, 1));
    let (mut mine, foreign) = (one.try_acquire(1).unwrap(), two.try_acquire(1).unwrap());
    assert!(catch_unwind(AssertUnwindSafe(|| mine.merge(foreign))).is_err());
    drop(mine);
    assert_eq!((one.in_use(), two.in_use()), ((0, 0), (0, 0)));
}

#[test]
fn who_asks_first_is_served_first() {
    world::run(async {
        let credit = Credit::new("test", 8, 10);
        let order = Arc::default();
        visitor(&credit, 8, "first", &order);
        visitor(&credit, 9, "large", &order);
        visitor(&credit, 1, "small", &order);
        sleep(SECOND / 2).await;
        assert!(credit.try_acquire(1).is_none(), "nobody overtakes those who wait");
        assert_eq!((*order.lock().unwrap()).clone(), ["first"]);
        sleep(SECOND).await;
        assert_eq!((*order.lock().unwrap()).clone(), ["first", "large", "small"]);
        sleep(SECOND * 2).await;
        assert_eq!(credit.in_use(), (0, 0));
    });
}

#[test]
fn waiting_is_counted_and_timed_also_when_given_up() {
    world::run(async {
        let credit = Credit::new("test", 1, 10);
        let permit = credit.acquire(1).await;
        assert_eq!((credit.waits(), credit.waited()), (0, Duration::ZERO));
        assert!(timeout(SECOND * 3, credit.acquire(1)).await.is_err());
        assert_eq!((credit.waits(), credit.waited()), (1, SECOND * 3));
        let order = Arc::default();
        visitor(&credit, 1, "second", &order);
        sleep(SECOND * 2).await;
        drop(permit);
        sleep(SECOND * 2).await;
        assert_eq!((credit.waits(), credit.waited()), (2, SECOND * 5));
    });
}

#[test]
fn a_large_request_that_gives_up_lets_the_small_ones_pass() {
    world::run(async {
        let credit = Credit::new("test", 4, 10);
        let _held = credit.acquire(5).await;
        let order = Arc::default();
        let large = spawn_local({
            let credit = credit.clone();
            async move { timeout(SECOND, credit.acquire(9)).await.is_err() }
        });
        tokio::task::yield_now().await;
        visitor(&credit, 5, "small", &order);
        sleep(SECOND / 2).await;
        assert_eq!(credit.waiting(), 2);
        assert!(large.await.unwrap(), "it gave up");
        sleep(SECOND / 4).await;
        assert_eq!((*order.lock().unwrap()).clone(), ["small"]);
        assert_eq!(credit.waiting(), 0);
    });
}

#[test]
fn a_permit_that_was_granted_and_not_fetched_comes_back() {
    world::run(async {
        let credit = Credit::new("test", 1, 10);
        let held = credit.acquire(1).await;
        let mut waits = Box::pin(credit.acquire(1));
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        drop(held);
        assert_eq!(credit.in_use(), (1, 1), "it is granted to the one who waits");
        drop(waits);
        assert_eq!(credit.in_use(), (0, 0));
    });
}

#[test]
fn permits_cross_threads_and_none_is_lost() {
    let credit = Credit::new("test", 3, 64);
    std::thread::scope(|threads| {
        for seed in 0..4_usize {
            let credit = credit.clone();
            threads.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for nth in 0..500 {
                        let permit = credit.acquire((seed * 31 + nth * 17) % 100).await;
                        let (count, _) = credit.in_use();
                        assert!(count <= 3);
                        if nth % 7 == 0 {
                            tokio::task::yield_now().await;
                        }
                        drop(permit);
                    }
                });
            });
        }
    });
    assert_eq!((credit.in_use(), credit.waiting()), ((0, 0), 0));
}
