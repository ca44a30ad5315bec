use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn batch(lines: usize) -> Batch {
    let mut batch = Batch::default();
    for line in 0..lines {
        let write = |out: &mut String| {
            out.push_str(&format!("m,line={line} x=1.0 1\n"));
            Ok::<_, ()>(())
        };
        batch.line(write).expect("written");
    }
    batch
}

/// The numbers of the lines in a request.
fn numbers(request: &str) -> Vec<usize> {
    let number = |line: &str| line.split(['=', ' ']).nth(1).and_then(|number| number.parse().ok());
    request.lines().map(|line| number(line).expect("a number")).collect()
}

/// Lets a server answer until the batch is through; says what it stored, and what was given up.
fn deliver(
    courier: &mut Courier,
    mut server: impl FnMut(&[usize], &mut BTreeSet<usize>) -> Answer,
) -> (BTreeSet<usize>, Vec<DeadLetter>, usize, Duration) {
    let (mut stored, mut letters, mut requests) = (BTreeSet::new(), Vec::new(), 0);
    #[expect(clippy::disallowed_methods, reason = "the time at which the story begins does not matter")]
    let start = Instant::now();
    let mut now = start;
    loop {
        let lines = match courier.next(now) {
            Next::Done => return (stored, letters, requests, now - start),
            Next::Wait(until) => {
                assert!(until > now);
                now = until;
                continue;
            }
            Next::Send(request) => numbers(request),
        };
        assert!(!lines.is_empty(), "nothing is not sent");
        requests += 1;
        assert!(requests < 100_000, "it ends");
        let answer = server(&lines, &mut stored);
        courier.answered(now, answer, &mut letters);
    }
}

#[test]
fn a_batch_goes_in_as_few_requests_as_it_may() {
    let mut courier = Courier::new(1);
    courier.load(batch(12_000));
    let (stored, letters, requests, took) = deliver(&mut courier, |lines, stored| {
        stored.extend(lines);
        Answer::Accepted
    });
    assert_eq!((stored.len(), letters.len(), requests, took), (12_000, 0, 3, Duration::ZERO));
}

#[test]
fn a_server_that_is_away_for_an_hour_is_asked_less_and_less_and_gets_everything() {
    let mut courier = Courier::new(2);
    courier.load(batch(10));
    let mut asked = 0;
    let (stored, letters, _, took) = deliver(&mut courier, |lines, stored| {
        asked += 1;
        // 80 attempts take more than an hour.
        if asked < 80 {
            return Answer::Later(Trouble::Unreachable("refused".to_owned()));
        }
        stored.extend(lines);
        Answer::Accepted
    });
    assert_eq!((stored.len(), letters.len()), (10, 0));
    assert!((Duration::from_secs(3_000)..=80 * BACKOFF_MAX).contains(&took), "{took:?}");
    assert_eq!(courier.trouble(), None);
}

#[test]
fn a_tenant_that_the_server_will_not_have_keeps_what_it_has() {
    let mut courier = Courier::new(3);
    courier.load(batch(3));
    #[expect(clippy::disallowed_methods, reason = "the time at which the story begins does not matter")]
    let now = Instant::now();
    let mut letters = Vec::new();
    assert!(matches!(courier.next(now), Next::Send(_)));
    courier.answered(now, Answer::Stopped(Trouble::Token(401)), &mut letters);
    assert!(courier.waits_until().is_some_and(|until| until >= now + STOPPED_MIN * 3 / 4));
    assert!(matches!(courier.next(now), Next::Wait(_)));
    courier.hurry();
    assert!(matches!(courier.next(now), Next::Send(lines) if numbers(lines).len() == 3));
    courier.unload();
    assert_eq!((courier.next(now), letters.len()), (Next::Done, 0));
    assert_eq!(courier.trouble(), Some(&Trouble::Token(401)));
}

#[test]
fn a_request_that_is_too_large_is_halved_and_grows_again() {
    let mut courier = Courier::new(4);
    courier.load(batch(2_000));
    let most = |most: usize| {
        move |lines: &[usize], stored: &mut BTreeSet<usize>| {
            if lines.len() > most {
                return Answer::TooLarge;
            }
            stored.extend(lines);
            Answer::Accepted
        }
    };
    let (stored, letters, requests, _) = deliver(&mut courier, most(10));
    assert_eq!((stored.len(), letters.len()), (2_000, 0));
    assert!(requests < 500, "{requests}");
    courier.load(batch(2_000));
    let (_, _, requests, _) = deliver(&mut courier, most(10_000));
    assert!(requests < 200, "{requests}");
    courier.load(batch(1));
    let (stored, letters, ..) = deliver(&mut courier, most(0));
    assert_eq!((stored.len(), letters.len()), (0, 1));
}

#[test]
fn of_a_partial_write_that_left_out_all_nothing_is_looked_for() {
    let mut courier = Courier::new(5);
    courier.load(batch(5_000));
    let (_, letters, requests, _) =
        deliver(&mut courier, |lines, _| Answer::Partial(Some(lines.len()), "type conflict".to_owned()));
    assert_eq!((letters.len(), requests), (1, 1));
    assert_eq!((letters[0].lines, letters[0].series.as_deref()), (5_000, Some("m,line=0")));
}

#[test]
fn the_search_for_lines_that_are_not_taken_ends_and_loses_no_other() {
    let mut courier = Courier::new(6);
    courier.load(batch(5_000));
    // Every second line: looking for all of them would take thousands of requests.
    let (stored, letters, requests, _) = deliver(&mut courier, |lines, stored| {
        let (good, bad): (Vec<usize>, Vec<usize>) = lines.iter().partition(|line| *line % 2 == 0);
        stored.extend(good);
        if bad.is_empty() { Answer::Accepted } else { Answer::Partial(Some(bad.len()), "no".to_owned()) }
    });
    assert_eq!(stored.len(), 2_500);
    assert_eq!(letters.iter().map(|letter| letter.lines).sum::<usize>(), 2_500);
    assert!(requests < 1_000, "{requests}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time at which the story begins does not matter")]
fn a_server_is_left_alone_for_as_long_as_it_says_and_not_for_ever() {
    let busy = || Trouble::Failing(429, String::new());
    for (said_s, least_s, most_s) in [(0, 0, 2), (7, 7, 9), (45, 45, 57), (1_000_000, 300, 376)] {
        for seed in 0..64 {
            let (mut courier, start) = (Courier::new(seed), Instant::now());
            courier.load(batch(3));
            let answer = Answer::NotBefore(busy(), Duration::from_secs(said_s));
            courier.answered(start, answer, &mut Vec::new());
            let waits = courier.waits_until().expect("it waits") - start;
            let bounds = Duration::from_secs(least_s)..=Duration::from_secs(most_s);
            assert!(bounds.contains(&waits), "{said_s}: {waits:?}");
            assert_eq!(courier.trouble(), Some(&busy()));
        }
    }
    // Our own wait holds where it is longer.
    let (mut courier, start) = (Courier::new(7), Instant::now());
    courier.load(batch(3));
    for _ in 0..5 {
        courier.answered(start, Answer::Later(busy()), &mut Vec::new());
    }
    courier.answered(start, Answer::NotBefore(busy(), Duration::from_secs(1)), &mut Vec::new());
    assert!(courier.waits_until().expect("it waits") - start >= Duration::from_secs(24));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a server does, in the end each line is stored or given up, and what it would take is stored.
    #[test]
    fn nothing_is_lost_between_a_server_and_its_moods(
        lines in 1_usize..400,
        bad in prop::collection::btree_set(0_usize..400, 0..6),
        moods in prop::collection::vec(0_u8..5, 0..40),
        partial in any::<bool>(),
        most in 1_usize..500,
        seed in any::<u64>(),
    ) {
        let mut courier = Courier::new(seed);
        courier.load(batch(lines));
        let mut moods = moods.into_iter();
        let (stored, letters, ..) = deliver(&mut courier, |sent, stored| {
            match moods.next() {
                Some(1) => return Answer::Later(Trouble::Silent),
                Some(2) => return Answer::Stopped(Trouble::Token(401)),
                // It stored everything that it would take, and the answer was lost.
                Some(3) => {
                    stored.extend(sent.iter().filter(|line| !bad.contains(line)));
                    return Answer::Later(Trouble::Silent);
                }
                _ => {}
            }
            if sent.len() > most {
                return Answer::TooLarge;
            }
            let refused = sent.iter().filter(|line| bad.contains(line)).count();
            if refused == 0 || partial {
                stored.extend(sent.iter().filter(|line| !bad.contains(line)));
            }
            match (refused, partial) {
                (0, _) => Answer::Accepted,
                (_, true) => Answer::Partial(Some(refused), "no".to_owned()),
                (_, false) => Answer::Refused("no".to_owned()),
            }
        });
        let wanted: BTreeSet<usize> = (0..lines).filter(|line| !bad.contains(line)).collect();
        prop_assert_eq!(&stored, &wanted);
        let given_up: usize = letters.iter().map(|letter| letter.lines).sum();
        prop_assert_eq!(given_up, lines - wanted.len());
    }
}
