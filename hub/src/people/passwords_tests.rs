use super::*;

fn name(id: &str) -> [Tried; 2] {
    let source = IpAddr::from([192, 0, 2, 1]);
    [Tried::Source(source), Tried::Name(source, "acme".parse().expect("id"), id.parse().expect("id"))]
}

#[test]
fn a_name_is_tried_a_few_times_and_then_waits() {
    let (mut tries, now) = (Tries::default(), muster_actors::world::clock().now());
    for _ in 0..NAME.burst {
        assert!(tries.take(&name("meter"), now));
    }
    assert!(!tries.take(&name("meter"), now));
    assert!(tries.take(&name("other"), now), "another device of the same site");
    assert!(tries.take(&name("meter"), now + std::time::Duration::from_secs(1)));
}

#[test]
fn what_was_right_does_not_count() {
    let (mut tries, now) = (Tries::default(), muster_actors::world::clock().now());
    for _ in 0..SOURCE.burst * 2 {
        assert!(tries.take(&name("meter"), now));
        tries.give_back(&name("meter"));
    }
}

#[test]
fn a_flood_of_names_and_sources_is_bounded_in_memory_and_in_tries() {
    let (mut tries, now) = (Tries::default(), muster_actors::world::clock().now());
    let taken = (0..1_000).filter(|n| tries.take(&name(&format!("d{n}")), now)).count();
    assert_eq!(taken, SOURCE.burst as usize, "one source tries no more, whatever names it says");
    for n in 0..20_000_u32 {
        tries.take(&[Tried::Source(IpAddr::from(n.to_be_bytes()))], now);
    }
    assert!(tries.allowances.len() <= LEGACY_TRIED_MAX);
    // When they have waited they are forgotten, and others are watched.
    let later = now + std::time::Duration::from_secs(60);
    assert!(tries.take(&name("meter"), later));
}

#[test]
fn the_addresses_of_one_network_are_one_source() {
    let of = |text: &str| network(text.parse().expect("an address"));
    assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

#[actix::test]
async fn a_flood_of_passwords_is_refused_as_busy_before_it_is_hashed() {
    let checks = Checks::default();
    let hash = PasswordHash::of_nobody();
    // All that may be checked or wait are taken: whoever comes now is not hashed for.
    let _taken = checks.waiting.clone().acquire_many_owned(128).await.expect("open");
    assert_eq!(checks.check(hash.clone(), Bytes::from_static(b"x")).await, None);
    drop(_taken);
    assert_eq!(checks.check(hash, Bytes::from_static(b"x")).await, Some(false));
    assert_eq!(checks.at_a_time.available_permits(), LEGACY_CHECKS_MAX);
}
